// Package members turns the SFUs of a configuration into the roster that the
// cluster replicates, and back.
package members

import (
	"fmt"
	"net/netip"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Roster returns the SFUs of a configuration as a roster.
func Roster(c *config.Cluster) *txnpb.Roster {
	r := &txnpb.Roster{Version: c.Roster}
	for i := range c.SFUs {
		r.Members = append(r.Members, Record(&c.SFUs[i]))
		r.LastNumber = max(r.LastNumber, uint32(c.SFUs[i].Number))
	}
	return r
}

// Record returns one SFU as a member of a roster.
func Record(m *config.Member) txnpb.Member {
	return txnpb.Member{
		Number: uint32(m.Number), Name: m.Name, Type: string(m.Type), Machine: m.Machine, PublicKey: m.PublicKey[:],
		Carrier: string(m.Carrier), UdpA: address(m.UDPA), UdpB: address(m.UDPB), Gateways: m.Gateways, Voter: m.Voter,
		Overruled: m.Overruled,
	}
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Cluster returns the cluster with the members of a roster in the place of its SFUs,
// without those that are leaving. The error says, in the words of the configuration,
// why it cannot be one.
func Cluster(c *config.Cluster, r *txnpb.Roster) (*config.Cluster, error) {
	out := *c
	out.Roster, out.SFUs = r.Version, nil
	if r.Force != nil {
		out.Epoch = max(out.Epoch, r.Force.Epoch)
	}
	for i := range r.Members {
		if r.Members[i].Leaving {
			continue
		}
		m, err := Member(&r.Members[i])
		if err != nil {
			return nil, err
		}
		out.SFUs = append(out.SFUs, m)
	}
	if err := out.Validate(); err != nil {
		return nil, err
	}
	return &out, nil
}

// Member returns a member of a roster as an SFU of a configuration.
func Member(m *txnpb.Member) (config.Member, error) {
	out := config.Member{
		Number: uint16(m.Number), Name: m.Name, Type: config.Type(m.Type), Machine: m.Machine,
		Carrier: config.Carrier(m.Carrier), Gateways: m.Gateways, Voter: m.Voter,
		Overruled: m.Overruled,
	}
	if m.Number == 0 || m.Number > 0xffff {
		return out, fmt.Errorf("SFU %s has number %d, must be 1 to 65535", m.Name, m.Number)
	}
	if len(m.PublicKey) != len(out.PublicKey) {
		return out, fmt.Errorf("SFU %s has a public key of %d bytes, must be %d", m.Name, len(m.PublicKey), len(out.PublicKey))
	}
	copy(out.PublicKey[:], m.PublicKey)
	for _, a := range []struct {
		text string
		to   *netip.AddrPort
	}{{m.UdpA, &out.UDPA}, {m.UdpB, &out.UDPB}} {
		if a.text == "" {
			continue
		}
		var err error
		if *a.to, err = netip.ParseAddrPort(a.text); err != nil { // its text does not name the value
			return out, fmt.Errorf("SFU %s is reached by UDP at %q, must be IP:PORT", m.Name, a.text)
		}
	}
	return out, nil
}
