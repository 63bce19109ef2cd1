package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"golang.org/x/sys/cpu"

	"virtualservicesinc.com/comps/connector"
	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/engine"
)

// connector makes the Cluster Connector. Each one made is a life of its own on the
// interconnect, so that peers know that what the last one held is gone.
func (a *assembler) connector() (engine.Component, error) {
	incarnation, err := fabric.NextIncarnation(filepath.Join(a.cfg.SFU.StateDir, "incarnation"))
	if err != nil {
		return nil, err
	}
	ic := &a.cfg.Cluster.Interconnect
	base := session.Config{
		Local: a.cfg.Self.Number, PSK: a.secrets.PSK, ClusterHash: a.clusterHash(), Incarnation: incarnation,
		Key:  session.KeyPair{Private: a.secrets.Interconnect, Public: a.cfg.Self.PublicKey},
		Rand: rand.Reader, NoAES: !hasAES(),
		ProbeInterval: ic.ProbeInterval, Suspect: ic.SuspectAfter, Dead: ic.DeadAfter,
	}
	c, err := connector.New(connector.Config{Session: base, Peers: a.keeper.fabricPeers(), Open: a.openLinks, Roster: a.keeper.announced})
	if err != nil {
		return nil, err
	}
	a.networks.p.Store(c)
	a.keeper.setConnector(c)
	return c, nil
}

// clusterHash tells this cluster's frames from those of others on the same wire.
func (a *assembler) clusterHash() uint32 {
	sum := sha256.Sum256(a.cfg.Cluster.ID[:])
	return binary.BigEndian.Uint32(sum[:])
}

func hasAES() bool { return cpu.X86.HasAES || cpu.ARM64.HasAES }

// openLinks opens what the SFU's peers are reached by, those of today and, by what the
// machine has, those that may be added.
func (a *assembler) openLinks() (links fabric.Links, err error) {
	via := map[config.Path]bool{}
	for _, p := range a.cfg.Peers() {
		via[p.Via] = true
	}
	self := a.cfg.Self
	if via[config.PathEthernet] || self.Carrier == config.Ethernet && !a.cfg.Machine.NetworkA.IsZero() {
		err = a.openEthernet(&links)
	}
	if err == nil {
		err = a.openUDP(&links)
	}
	if err == nil {
		links[fabric.PortMachine], err = link.OpenUnix(link.UnixConfig{
			Dir: a.cfg.NetworkDir("a"), SFU: self.Number, Mode: 0o660,
		})
		if err != nil && !via[config.PathUnix] {
			a.log.Warn("another SFU of this machine could not be reached", "err", err)
			links[fabric.PortMachine], err = nil, nil
		}
	}
	if err != nil {
		for i, l := range links {
			if l != nil {
				err = errors.Join(err, l.Close())
				links[i] = nil
			}
		}
	}
	return links, err
}

func (a *assembler) openEthernet(links *fabric.Links) error {
	ic := &a.cfg.Cluster.Interconnect
	for _, n := range []struct {
		port        fabric.Port
		nic         config.NIC
		kind, other uint16
	}{{fabric.PortA, a.cfg.Machine.NetworkA, ic.EtherTypeA, ic.EtherTypeB}, {fabric.PortB, a.cfg.Machine.NetworkB, ic.EtherTypeB, ic.EtherTypeA}} {
		if n.nic.IsZero() {
			continue // one network: an alarm says so
		}
		l, err := link.OpenPacket(link.PacketConfig{
			Interface: n.nic.Name, MAC: n.nic.MAC, EtherType: n.kind, Stray: n.other, Speed: n.nic.Speed,
			Match: fabric.Match(a.clusterHash(), a.cfg.Self.Number), Log: a.log.With("network", n.port.String()),
		})
		if err != nil {
			return fmt.Errorf("network %v: %w", n.port, err)
		}
		links[n.port] = l
	}
	return nil
}

// udpLink is a link over UDP whose peers may change.
type udpLink interface {
	link.Link
	SetPeers([]netip.AddrPort) error
}

// openUDP opens UDP at the SFU's own addresses, and makes a link that opens when it is
// needed where it has none.
func (a *assembler) openUDP(links *fabric.Links) error {
	for _, network := range []fabric.Network{fabric.A, fabric.B} {
		peers := udpPeers(a.cfg.Peers(), network)
		var l udpLink
		var err error
		if listen := udpAddress(a.cfg.Self, network); listen.IsValid() {
			if l, err = link.OpenUDP(link.UDPConfig{Listen: listen, Peers: peers}); err != nil {
				return fmt.Errorf("network %v: %w; is another program using %v? change udp_%c of %s in cluster.toml",
					network, err, listen, 'a'+rune(network), a.cfg.Self.Name)
			}
		} else {
			l = link.NewLateUDP(0)
			if err := l.SetPeers(peers); err != nil {
				return fmt.Errorf("UDP, network %v: %w", network, err)
			}
		}
		links[fabric.ViaUDP.Port(network)] = l
		a.keeper.setUDP(network, l)
	}
	return nil
}
