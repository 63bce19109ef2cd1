package arena

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

const (
	// nicA, nicB and nicClient are the NICs in each SFU's namespace.
	nicA, nicB, nicClient = "netA", "netB", "client"
	// gatewayPort is where gateways listen; each has an address of its own.
	gatewayPort = "7400"
	// mtu of the interconnect: that of a cheap switch.
	mtu = "1500"
)

// Namespaces are the network namespaces of an arena: one for each SFU with two
// NICs for the interconnect and one towards clients, one for the clients, and a
// hub that holds the three bridges. Root makes and deletes them with iproute2.
type Namespaces struct {
	prefix string
	sfus   int
}

// NewNamespaces makes namespaces for n SFUs. The caller deletes them.
func NewNamespaces(n int) (*Namespaces, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("arena: network namespaces need root: run it with sudo")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, errors.New("arena: the program ip is missing: apt install iproute2")
	}
	ns := &Namespaces{prefix: "rrts" + strconv.Itoa(os.Getpid()), sfus: n}
	if err := ns.build(); err != nil {
		ns.Delete()
		return nil, err
	}
	return ns, nil
}

// Attach returns the namespaces that another process made and named by Name.
func Attach(name string, n int) *Namespaces { return &Namespaces{prefix: name, sfus: n} }

// Name is what Attach wants.
func (n *Namespaces) Name() string { return n.prefix }

func (n *Namespaces) hub() string          { return n.prefix + "-hub" }
func (n *Namespaces) clients() string      { return n.prefix + "-c" }
func (n *Namespaces) sfu(i int) string     { return n.prefix + "-" + strconv.Itoa(i+1) }
func (n *Namespaces) address(i int) string { return "10.77.7." + strconv.Itoa(i+1) }

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("arena: ip %s: %s", strings.Join(args, " "), strings.TrimSpace(string(out)))
	}
	return nil
}

// all runs ip commands until one fails.
func all(commands ...string) error {
	for _, c := range commands {
		if err := ip(strings.Fields(c)...); err != nil {
			return err
		}
	}
	return nil
}

func (n *Namespaces) build() error {
	hub := n.hub()
	err := all("netns add "+hub,
		"-n "+hub+" link add name brA type bridge", "-n "+hub+" link set dev brA up",
		"-n "+hub+" link add name brB type bridge", "-n "+hub+" link set dev brB up",
		"-n "+hub+" link add name brC type bridge", "-n "+hub+" link set dev brC up",
		"netns add "+n.clients())
	if err != nil {
		return err
	}
	if err := n.plug(n.clients(), nicClient, "brC", "clients", "10.77.7.100/24"); err != nil {
		return err
	}
	for i := range n.sfus {
		id := strconv.Itoa(i + 1)
		err := errors.Join(ip("netns", "add", n.sfu(i)),
			n.plug(n.sfu(i), nicA, "brA", "a"+id, ""),
			n.plug(n.sfu(i), nicB, "brB", "b"+id, ""),
			n.plug(n.sfu(i), nicClient, "brC", "c"+id, n.address(i)+"/24"))
		if err != nil {
			return err
		}
	}
	return nil
}

// plug puts a NIC into a namespace and its other end on a bridge.
func (n *Namespaces) plug(ns, nic, bridge, port, address string) error {
	hub := n.hub()
	err := all("link add name "+nic+" netns "+ns+" mtu "+mtu+" type veth peer name "+port+" netns "+hub,
		"-n "+hub+" link set dev "+port+" master "+bridge+" up",
		"-n "+ns+" link set dev lo up")
	if err == nil && address != "" {
		err = ip("-n", ns, "addr", "add", address, "dev", nic)
	}
	if err == nil {
		err = ip("-n", ns, "link", "set", "dev", nic, "up")
	}
	return err
}

// command is what runs args in SFU i's namespace. `ip netns exec` becomes the
// program, so that its process id is the program's.
func (n *Namespaces) command(i int, args []string) []string {
	return append([]string{"ip", "netns", "exec", n.sfu(i)}, args...)
}

// ClientCommand is what runs args where the clients are.
func (n *Namespaces) ClientCommand(args []string) []string {
	return append([]string{"ip", "netns", "exec", n.clients()}, args...)
}

// cutA takes the switch of network A away, or gives it back: the SFUs' NICs keep
// their carrier, frames vanish.
func (n *Namespaces) cutA(cut bool) error {
	state := "up"
	if cut {
		state = "down"
	}
	return ip("-n", n.hub(), "link", "set", "dev", "brA", state)
}

// Delete deletes all of it; what is not there is no error.
func (n *Namespaces) Delete() {
	for i := range n.sfus {
		_ = ip("netns", "del", n.sfu(i))
	}
	_ = ip("netns", "del", n.clients())
	_ = ip("netns", "del", n.hub())
}
