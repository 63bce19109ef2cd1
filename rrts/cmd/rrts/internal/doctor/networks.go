package doctor

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/nic"
	"virtualservicesinc.com/rrts/config"
)

// networks looks at the NICs of the interconnect.
func (e *examination) networks(ctx context.Context) {
	all, err := e.NICs()
	if err != nil {
		e.add(Fail, "networks", "see ip link", "the NICs cannot be listed: %v", err)
		return
	}
	if e.machine == nil {
		e.freeNICs(all)
		return
	}
	if e.machine.NetworkA.IsZero() {
		e.noNetwork()
		return
	}
	var found []nic.NIC
	for _, n := range []struct {
		name string
		want config.NIC
	}{{"network A", e.machine.NetworkA}, {"network B", e.machine.NetworkB}} {
		if n.want.IsZero() {
			e.add(Warn, n.name, "plug a second NIC into a second switch, and name it in machine.toml as [network_b]", "there is none: the alarm network-not-redundant stands")
			continue
		}
		f, err := nic.Find(all, n.want)
		if err != nil {
			e.add(Fail, n.name, "plug it in, or correct machine.toml", "%s is missing", n.want)
			continue
		}
		found = append(found, f)
		e.nic(n.name, f, n.want.MTU)
	}
	if len(found) == 2 {
		e.twoNetworks(ctx, found)
	}
}

// freeNICs says what a machine without a configuration could give.
func (e *examination) freeNICs(all []nic.NIC) {
	var names []string
	for _, n := range nic.Fit(all) {
		names = append(names, n.String())
	}
	switch len(names) {
	case 0:
		e.add(Warn, "networks", "put in two NICs, or let UDP carry the frames", "no NIC is free for the interconnect")
	case 1:
		e.add(Warn, "networks", "put in a second one; with one network the alarm network-not-redundant stands", "one NIC is free: %s", names[0])
	default:
		e.add(OK, "networks", "", "free NICs: %s", strings.Join(names, ", "))
	}
}

// noNetwork says what it means that the machine has no NICs for the interconnect.
func (e *examination) noNetwork() {
	for _, c := range e.sfus {
		for _, p := range c.Peers() {
			if p.Via == config.PathEthernet {
				e.add(Fail, "networks", "name the NICs in machine.toml as [network_a] and [network_b]", "there are none, although raw frames go between %s and %s", c.Self.Name, p.Name)
				return
			}
		}
	}
	e.add(OK, "networks", "", "no NICs, and no SFU that needs them")
}

// nic holds one NIC to what rrts-net.service made of it.
func (e *examination) nic(check string, n nic.NIC, mtu int) {
	const again = "run: systemctl restart rrts-net"
	before := len(e.findings)
	bad := func(v Verdict, cure, what string, args ...any) {
		e.add(v, check, cure, "%s "+what, append([]any{n}, args...)...)
		if strings.HasPrefix(cure, again) {
			e.fix(command("systemctl", "restart", "rrts-net"))
		}
	}
	switch {
	case !n.Up:
		bad(Fail, again, "is down")
	case !n.Carrier:
		bad(Fail, "plug the cable in; see that the switch is on", "has no carrier")
	}
	if n.MTU != mtu {
		bad(Warn, again, "has an MTU of %d, not %d", n.MTU, mtu)
	}
	if n.Unfit != "" {
		bad(Warn, "take it from whoever uses it, or name another NIC in machine.toml", "is used: %s", n.Unfit)
	}
	if v, err := e.read(filepath.Join("/proc/sys/net/ipv6/conf", n.Name, "disable_ipv6")); err == nil && v != "1" {
		bad(Warn, again, "speaks IPv6")
	}
	if who := e.manager(n); who != "" {
		bad(Warn, again+"; if it stays, remove the NIC from its configuration", "is managed by %s", who)
	}
	if len(e.findings) == before {
		e.add(OK, check, "", "%s, up, MTU %d, nobody else's", n, n.MTU)
	}
}

// manager names the program that manages a NIC, if one does.
func (e *examination) manager(n nic.NIC) string {
	if text, err := e.read(fmt.Sprintf("/run/NetworkManager/devices/%d", n.Index)); err == nil && strings.Contains(text, "managed=true") {
		return "NetworkManager"
	}
	if text, err := e.read(fmt.Sprintf("/run/systemd/netif/links/%d", n.Index)); err == nil && strings.Contains(text, "ADMIN_STATE=") && !strings.Contains(text, "ADMIN_STATE=unmanaged") {
		return "systemd-networkd"
	}
	if text, err := e.read("/run/network/ifstate"); err == nil {
		for _, line := range strings.Split(text, "\n") {
			if name, _, _ := strings.Cut(line, "="); name == n.Name {
				return "ifupdown (/etc/network/interfaces)"
			}
		}
	}
	return ""
}

// surveyTime is long against the interval of announcements.
const surveyTime = time.Second

// twoNetworks holds that what leaves on one NIC does not arrive on the other.
func (e *examination) twoNetworks(ctx context.Context, found []nic.NIC) {
	s := &nic.Survey{Ports: []byte{1, 2}, EtherTypes: [2]uint16{e.cluster.Interconnect.EtherTypeA, e.cluster.Interconnect.EtherTypeB}}
	for _, n := range found {
		s.NICs = append(s.NICs, n.Name)
	}
	for _, b := range [][]byte{s.Key[:], s.Source[:]} {
		if _, err := rand.Read(b); err != nil {
			e.add(Warn, "two networks", "try again", "no randomness: %v", err)
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	heard, err := e.Survey(ctx, s)
	if err != nil {
		e.add(Warn, "two networks", "run this as root", "they could not be probed: %v", err)
		return
	}
	if _, _, err := nic.Assign(s.NICs, s.Source, heard); err != nil {
		e.add(Fail, "two networks", "plug them into two switches that nothing joins", "what leaves on %s arrives on %s", s.NICs[0], s.NICs[1])
		return
	}
	e.add(OK, "two networks", "", "%s and %s do not hear each other", s.NICs[0], s.NICs[1])
}
