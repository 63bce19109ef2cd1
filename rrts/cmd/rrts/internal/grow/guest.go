package grow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/nic"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/settle"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/config/join"
)

// Guest is a machine on which a new SFU will run.
type Guest struct {
	Place    settle.Place
	Software string
	// Machine, Gateways, UDPA and UDPB are what the operator of this machine said; what
	// the other side says goes before, and where nobody does, Host names the machine and
	// its gateway.
	Machine    string
	Gateways   []string
	UDPA, UDPB string
	Host       string // this machine's host name
	// Address is this machine's towards the other side; invalid where there is none.
	Address  netip.Addr
	StateDir string // empty: /var/lib/rrts/NAME
	RunDir   string // empty: /run/rrts
	// Networks finds the machine's NICs for a cluster's EtherTypes; it is asked once,
	// and only where raw frames go.
	Networks func(context.Context, [2]uint16) (*nic.Choice, error)
	Rand     io.Reader

	offer   *join.Offer
	machine config.Machine
	settled bool // the machine is in the cluster already
	newborn *genesis.Newborn
}

const (
	firstGatewayPort = 7400
	maxGatewayPort   = 7499
	firstUDPPort     = 7401
	maxUDPPort       = 7499
)

// SFU returns the name of the SFU, once it was offered.
func (g *Guest) SFU() string { return g.offer.SFU }

func (g *Guest) stateDir() string {
	return cmp.Or(g.StateDir, filepath.Join("/var/lib/rrts", g.offer.SFU))
}

// Ask answers an offer. What would be refused when it is put on disk is refused here,
// before the cluster has a new member.
func (g *Guest) Ask(ctx context.Context, o *join.Offer) (*join.Request, error) {
	g.offer = o
	if err := g.look(); err != nil {
		return nil, err
	}
	if !g.settled {
		g.machine = config.Machine{Name: cmp.Or(o.Machine, g.Machine, g.Host), RunDir: g.RunDir}
		if config.Carrier(o.Carrier) == config.Ethernet && g.Networks != nil {
			found, err := g.Networks(ctx, o.EtherTypes)
			if err != nil {
				return nil, err
			}
			if found.A.IsZero() {
				return nil, errors.New("no network was found: plug the machine's NICs into networks A and B, or name them with --nic-a and --nic-b; where there is one NIC only, add it with --carrier udp")
			}
			g.machine.NetworkA, g.machine.NetworkB = found.A, found.B
		}
	}
	var err error
	if g.newborn, err = genesis.NewNewborn(g.Rand); err != nil {
		return nil, fmt.Errorf("the SFU's keys: %w", err)
	}
	r := &join.Request{
		Software: g.Software, Machine: g.machine.Name, Interconnect: g.newborn.Public[:],
		UDPA: cmp.Or(o.UDPA, g.UDPA), UDPB: cmp.Or(o.UDPB, g.UDPB),
	}
	if config.Carrier(o.Carrier) == config.UDP && r.UDPA == "" {
		if r.UDPA, err = g.udpAddress(); err != nil {
			return nil, err
		}
	}
	if !g.machine.NetworkA.IsZero() {
		r.NetworkA = g.machine.NetworkA.String()
	}
	if !g.machine.NetworkB.IsZero() {
		r.NetworkB = g.machine.NetworkB.String()
	}
	if config.Type(o.Type).Gateway() {
		r.Gateway = g.newborn.Gateway
		if r.Gateways, err = g.gateways(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// look finds out whether the machine is in the cluster, or in another one.
func (g *Guest) look() error {
	if err := genesis.Absent(filepath.Join(g.Place.Dir, "sfu", g.offer.SFU+".toml")); err != nil {
		return err
	}
	if err := settle.Vacant(g.stateDir()); err != nil {
		return err
	}
	path := filepath.Join(g.Place.Dir, "cluster.toml")
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	c, err := config.LoadCluster(g.Place.Dir)
	if err != nil {
		return err
	}
	if c.ID.String() != g.offer.ID {
		return fmt.Errorf("%w: %s is of cluster %s, %s; move it away to join %s", genesis.ErrExists, path, c.Name, c.ID, g.offer.Cluster)
	}
	m, err := config.LoadMachine(filepath.Join(g.Place.Dir, "machine.toml"))
	if err != nil {
		return err
	}
	g.machine, g.settled = *m, true
	return nil
}

// gateways returns where clients will reach the SFU: at the first port that no other
// SFU of the machine has.
func (g *Guest) gateways() ([]string, error) {
	if len(g.offer.Gateways) > 0 {
		return g.offer.Gateways, nil
	}
	if len(g.Gateways) > 0 {
		return g.Gateways, nil
	}
	taken := map[string]bool{}
	others, err := g.others()
	if err != nil {
		return nil, err
	}
	for _, c := range others {
		for _, a := range slices.Concat(c.Self.Gateways, c.SFU.Gateway.Listen) {
			if _, port, err := net.SplitHostPort(a); err == nil {
				taken[port] = true
			}
		}
	}
	for port := firstGatewayPort; port <= maxGatewayPort; port++ {
		if p := strconv.Itoa(port); !taken[p] {
			return []string{net.JoinHostPort(g.Host, p)}, nil
		}
	}
	return nil, fmt.Errorf("the gateways of this machine have all ports from %d to %d; name one with --gateway", firstGatewayPort, maxGatewayPort)
}

// udpAddress returns where the SFU receives UDP, if nobody says it: at the address at
// which this machine is on the other side's network.
func (g *Guest) udpAddress() (string, error) {
	if !g.Address.IsValid() {
		return "", fmt.Errorf("UDP carries the frames of %s, but at no address of this machine: name one with --udp-a IP:%d", g.offer.SFU, firstUDPPort)
	}
	taken := map[uint16]bool{}
	others, err := g.others()
	if err != nil {
		return "", err
	}
	for _, c := range others {
		taken[c.Self.UDPA.Port()], taken[c.Self.UDPB.Port()] = true, true
	}
	for port := uint16(firstUDPPort); port <= maxUDPPort; port++ {
		if !taken[port] {
			return netip.AddrPortFrom(g.Address, port).String(), nil
		}
	}
	return "", fmt.Errorf("the SFUs of this machine have all UDP ports from %d to %d; name one with --udp-a", firstUDPPort, maxUDPPort)
}

// others are the SFUs that the machine has already.
func (g *Guest) others() ([]*config.Config, error) {
	if !g.settled {
		return nil, nil
	}
	names, err := config.LocalSFUs(g.Place.Dir)
	if err != nil {
		return nil, err
	}
	var all []*config.Config
	for _, name := range names {
		c, err := config.Load(g.Place.Dir, name)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// Install puts a grant on disk.
func (g *Guest) Install(grant *join.Grant) error {
	w := &genesis.Welcome{Kit: grant.ClientKit, Certificate: grant.Certificate}
	var err error
	if w.Cluster, err = config.ParseCluster("cluster.toml", grant.Cluster); err != nil {
		return err
	}
	self := w.Cluster.Member(g.offer.SFU)
	if self == nil || self.PublicKey != g.newborn.Public {
		return fmt.Errorf("the cluster that was granted has no SFU %s with this machine's key", g.offer.SFU)
	}
	type secret struct {
		name string
		from []byte
		to   *config.Key
	}
	secrets := []secret{{"psk", grant.PSK, &w.PSK}}
	if self.Type.Gateway() || self.Type.Effects() {
		secrets = append(secrets, secret{"pepper", grant.Pepper, &w.Pepper})
	}
	if self.Type.Gateway() {
		secrets = append(secrets, secret{"token", grant.Token, &w.Token})
	}
	for _, s := range secrets {
		if len(s.from) != len(s.to) {
			return fmt.Errorf("the secret %s that was granted has %d bytes, must be %d", s.name, len(s.from), len(s.to))
		}
		copy(s.to[:], s.from)
	}
	settings := &config.SFU{StateDir: g.StateDir}
	if err := settings.Validate(self); err != nil {
		return err
	}
	files := g.newborn.SFUFiles(w, self, settings)
	if !g.settled {
		if err := g.machine.Validate(); err != nil {
			return err
		}
		files = append(files, w.MachineFiles(&g.machine)...)
	}
	if g.settled {
		// The SFU has to stand in cluster.toml before its own files are there.
		if err := g.Place.Renew(w.SharedFiles()...); err != nil {
			return err
		}
	}
	return g.Place.Settle(files, []settle.SFU{{Name: self.Name, StateDir: g.stateDir()}})
}
