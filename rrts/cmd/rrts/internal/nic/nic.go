// Package nic finds and prepares the network interfaces of the interconnect.
//
// List says what the machine has and why a NIC cannot be one of ours. Listen and
// Announce tell by frames which NICs are plugged into the same network, and into
// which of a running cluster's (see Beacon). Up takes a NIC from whoever else
// manages it and raises it.
package nic

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"virtualservicesinc.com/rrts/config"
)

// NIC is a network interface as it is now.
type NIC struct {
	Name    string
	MAC     net.HardwareAddr // the permanent one, where the driver knows one
	Index   int
	MTU     int // bytes
	Up      bool
	Carrier bool
	// Unfit says why the interconnect cannot have it; empty when it can.
	Unfit string

	routed  bool // the machine's default route goes through it
	stacked bool // on another one, whose address it shares: VLAN, bridge, bond
}

// linkAddress is the length of an Ethernet address, in bytes.
const linkAddress = 6

// listTries bounds how often the list is asked for when it changes while it is read.
const listTries = 10

// List returns the machine's interfaces in the order of their names.
func List() ([]NIC, error) {
	var links []netlink.Link
	var err error
	for range listTries {
		if links, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("nic: list of interfaces: %w", err)
	}
	routed, err := defaultRoutes()
	if err != nil {
		return nil, err
	}
	var all []NIC
	for _, l := range links {
		n := of(l)
		n.routed = routed[n.Index]
		if n.Unfit = kindFault(l); n.Unfit == "" && n.routed {
			n.Unfit = "the machine's default route goes through it"
		}
		if n.Unfit == "" {
			if n.Unfit, err = addressFault(l); err != nil {
				return nil, err
			}
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b NIC) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func of(l netlink.Link) NIC {
	a := l.Attrs()
	n := NIC{
		Name: a.Name, MAC: a.PermHWAddr, Index: a.Index, MTU: a.MTU,
		Up:      a.RawFlags&unix.IFF_UP != 0,
		Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0,
		stacked: l.Type() != "device" && l.Type() != "veth",
	}
	if len(n.MAC) != linkAddress {
		n.MAC = a.HardwareAddr
	}
	return n
}

// kindFault says why an interface is no Ethernet NIC of its own. A veth stands for
// one in containers and labs.
func kindFault(l netlink.Link) string {
	a := l.Attrs()
	switch {
	case a.Flags&net.FlagLoopback != 0:
		return "it is the loopback"
	case of(l).stacked:
		return "it is a " + l.Type() + ", not a NIC"
	case a.EncapType != "ether" || len(a.HardwareAddr) != linkAddress:
		return "it is not Ethernet"
	case wireless(a.Name):
		return "it is wireless"
	case a.MasterIndex != 0:
		return "it is part of a bridge or bond"
	}
	return ""
}

func wireless(name string) bool {
	_, err := os.Stat(filepath.Join("/sys/class/net", name, "wireless"))
	return err == nil
}

// addressFault says whether an operator uses the interface: it has an IP address
// that it did not give itself.
func addressFault(l netlink.Link) (string, error) {
	addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return "", fmt.Errorf("nic: addresses of %s: %w", l.Attrs().Name, err)
	}
	for _, a := range addresses {
		if !a.IP.IsLinkLocalUnicast() {
			return "it has the IP address " + a.IPNet.String(), nil
		}
	}
	return "", nil
}

// defaultRoutes returns the interfaces through which the machine reaches the world.
func defaultRoutes() (map[int]bool, error) {
	found := map[int]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // a machine without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("nic: routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst != nil {
				if ones, _ := r.Dst.Mask.Size(); ones > 0 {
					continue
				}
			}
			found[r.LinkIndex] = true
			for _, hop := range r.MultiPath {
				found[hop.LinkIndex] = true
			}
		}
	}
	return found, nil
}

// Find returns the NIC that the configuration names.
func Find(all []NIC, want config.NIC) (NIC, error) {
	for _, n := range all {
		if n.Is(want) {
			return n, nil
		}
	}
	var names []string
	for _, n := range all {
		if n.Unfit == "" {
			names = append(names, n.String())
		}
	}
	cure := "plug it in"
	if len(names) > 0 {
		cure = "free NICs are " + strings.Join(names, ", ")
	}
	return NIC{}, fmt.Errorf("nic: there is no %s; %s, or correct machine.toml", want, cure)
}

// Is reports whether the configuration means n.
func (n NIC) Is(want config.NIC) bool {
	if want.Name != "" {
		return n.Name == want.Name
	}
	return want.MAC != nil && slices.Equal(n.MAC, want.MAC) && !n.stacked
}

func (n NIC) String() string { return n.Name + " (" + n.MAC.String() + ")" }

// Fit returns the NICs that the interconnect can have.
func Fit(all []NIC) []NIC {
	return slices.DeleteFunc(slices.Clone(all), func(n NIC) bool { return n.Unfit != "" })
}

// Raise sets the NICs up and waits until all have a carrier, but not longer than
// patience: a cable may not be plugged in. It returns them as they are then.
func Raise(nics []NIC, patience time.Duration) ([]NIC, error) {
	for _, n := range nics {
		if n.Up {
			continue
		}
		l, err := netlink.LinkByIndex(n.Index)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			return nil, fmt.Errorf("nic: raising %s: %w", n.Name, err)
		}
	}
	raised := slices.Clone(nics)
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		waiting := false
		for i, n := range raised {
			l, err := netlink.LinkByIndex(n.Index)
			if err != nil {
				return nil, fmt.Errorf("nic: %s: %w", n.Name, err)
			}
			raised[i] = of(l)
			waiting = waiting || !raised[i].Carrier
		}
		if !waiting || time.Now().After(end) {
			return raised, nil
		}
	}
}

// Parse reads what an operator calls a NIC: its name or its MAC address.
func Parse(s string) (config.NIC, error) {
	if !strings.Contains(s, ":") {
		return config.NIC{Name: s}, nil
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != linkAddress {
		return config.NIC{}, fmt.Errorf("nic: %q is no MAC address", s)
	}
	return config.NIC{MAC: mac}, nil
}
