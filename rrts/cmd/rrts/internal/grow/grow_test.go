package grow

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/nic"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/settle"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/config/join"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// cluster plays the running cluster: it gives numbers.
type cluster struct {
	roster  *txnpb.Roster
	refuses string
	asked   []*txnpb.AddMember
}

func (c *cluster) Add(_ context.Context, in *txnpb.AddMember) (*txnpb.MembersAnswer, error) {
	c.asked = append(c.asked, in)
	if c.refuses != "" {
		return &txnpb.MembersAnswer{Refused: c.refuses}, nil
	}
	c.roster.Members = slices.DeleteFunc(c.roster.Members, func(m txnpb.Member) bool { return m.Number == in.Replaces })
	c.roster.LastNumber++
	c.roster.Version++
	m := *in.Member
	m.Number = c.roster.LastNumber
	c.roster.Members = append(c.roster.Members, m)
	return &txnpb.MembersAnswer{Roster: c.roster, Added: m.Number}, nil
}

type world struct {
	t       *testing.T
	m       *genesis.Material
	cluster cluster
}

func newWorld(t *testing.T) *world {
	t.Helper()
	m, err := genesis.Create(genesis.Spec{Name: "shop", SFUs: []genesis.SFU{{Name: "alpha", Machine: "pc1", Gateways: []string{"pc1.example:7400"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, m: m, cluster: cluster{roster: members.Roster(m.Cluster)}}
}

func (w *world) admission(p Plan) *Admission {
	if p.Type == "" {
		p.Type = config.TypeAll
	}
	if p.Carrier == "" {
		p.Carrier = config.Ethernet
	}
	now, err := members.Cluster(w.m.Cluster, w.cluster.roster)
	if err != nil {
		w.t.Fatal(err)
	}
	return &Admission{Plan: p, Master: w.m.Master, Cluster: now, Add: w.cluster.Add, Rand: rand.Reader, Now: time.Now}
}

func (w *world) guest(dir, host string) *Guest {
	return &Guest{
		Place: settle.Place{Dir: filepath.Join(dir, "etc")}, Host: host, Machine: host, StateDir: filepath.Join(dir, "state"), Rand: rand.Reader,
		Networks: func(context.Context, [2]uint16) (*nic.Choice, error) {
			return &nic.Choice{A: config.NIC{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, B: config.NIC{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}}}, nil
		},
	}
}

// grow brings a guest in over TCP, with the real protocol.
func (w *world) grow(a *Admission, g *Guest) error {
	w.t.Helper()
	secret, err := join.NewSecret(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- (&join.Host{Secret: secret, Offer: a.Offer(), Admit: a.Admit}).Serve(ctx, l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	err = join.Join(ctx, c, secret, func(o *join.Offer) (*join.Request, error) { return g.Ask(ctx, o) }, g.Install)
	if err != nil {
		cancel()
		<-served
		return err
	}
	return <-served
}

// load loads an SFU as rrtsd does, with its secrets.
func load(t *testing.T, g *Guest) (*config.Config, *config.Secrets) {
	t.Helper()
	c, err := config.Load(g.Place.Dir, g.SFU())
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Secrets("")
	if err != nil {
		t.Fatal(err)
	}
	if unborn, err := genesis.Unborn(c.SFU.StateDir); !unborn || err != nil {
		t.Errorf("unborn %v, %v", unborn, err)
	}
	return c, s
}

func TestNewMachine(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	a := w.admission(Plan{SFU: "bravo"})
	g := w.guest(dir, "pc2")
	if err := w.grow(a, g); err != nil {
		t.Fatal(err)
	}
	c, s := load(t, g)
	if c.Self.Number != 2 || c.Self.Machine != "pc2" || !c.Self.Voter || !slices.Equal(c.Self.Gateways, []string{"pc2:7400"}) {
		t.Errorf("bravo is %+v", c.Self)
	}
	if s.PSK != w.m.Master.PSK || s.Pepper != w.m.Master.Pepper || s.Token != w.m.Master.Token {
		t.Error("it does not have the cluster's secrets")
	}
	if c.Machine.NetworkA.String() != "02:00:00:00:00:01" || c.Machine.NetworkB.String() != "02:00:00:00:00:02" {
		t.Errorf("its networks are %v and %v", c.Machine.NetworkA, c.Machine.NetworkB)
	}
	kit, err := config.LoadClientKit(filepath.Join(g.Place.Dir, "client-kit.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(kit.Gateways, []string{"pc1.example:7400", "pc2:7400"}) {
		t.Errorf("clients are told of %q", kit.Gateways)
	}
	if _, err := s.Certificate.Leaf.Verify(x509.VerifyOptions{Roots: kit.Pool(), DNSName: "pc2"}); err != nil {
		t.Errorf("clients do not trust its gateway: %v", err)
	}
	// Neither the authority's key nor a private key of the guest ever left its machine.
	for _, name := range []string{"master", "keys/alpha"} {
		if _, err := os.Stat(filepath.Join(g.Place.Dir, name)); err == nil {
			t.Errorf("the new machine has %s", name)
		}
	}

	// A further SFU on the same machine does not vote, and has the next port.
	edge := w.guest(dir, "pc2")
	edge.StateDir = filepath.Join(dir, "state-edge")
	edge.Networks = nil
	if err := w.grow(w.admission(Plan{SFU: "carol", Machine: "pc2"}), edge); err != nil {
		t.Fatal(err)
	}
	c, _ = load(t, edge)
	if c.Self.Voter || !slices.Equal(c.Self.Gateways, []string{"pc2:7401"}) || c.Cluster.Roster != 2 {
		t.Errorf("carol is %+v, roster %d", c.Self, c.Cluster.Roster)
	}
	if _, err := config.Load(g.Place.Dir, "bravo"); err != nil {
		t.Errorf("bravo afterwards: %v", err)
	}
}

func TestReplace(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	if err := w.grow(w.admission(Plan{SFU: "bravo"}), w.guest(filepath.Join(dir, "1"), "pc2")); err != nil {
		t.Fatal(err)
	}
	old := w.cluster.roster.Members[1]
	g := w.guest(filepath.Join(dir, "2"), "pc2")
	if err := w.grow(w.admission(Plan{SFU: "bravo", Machine: "pc2", Replaces: 2, Gateways: old.Gateways}), g); err != nil {
		t.Fatal(err)
	}
	c, _ := load(t, g)
	if c.Self.Number != 3 || !c.Self.Voter || string(c.Self.PublicKey[:]) == string(old.PublicKey) || len(c.Cluster.SFUs) != 2 {
		t.Errorf("the new bravo is %+v of %d", c.Self, len(c.Cluster.SFUs))
	}
}

func TestWitnessOverUDP(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	w.m.Cluster.Interconnect.Carrier = config.UDP
	w.cluster.roster.Members[0].Carrier, w.cluster.roster.Members[0].UdpA = "udp", "192.168.7.1:7401"
	g := w.guest(dir, "box")
	g.Networks = func(context.Context, [2]uint16) (*nic.Choice, error) { return nil, errors.New("asked for NICs") }
	if err := w.grow(w.admission(Plan{SFU: "wit", Type: config.TypeWitness, Carrier: config.UDP, UDPA: "192.168.7.9:7401"}), g); err != nil {
		t.Fatal(err)
	}
	c, s := load(t, g)
	if c.Self.Type != config.TypeWitness || c.Self.UDPA.String() != "192.168.7.9:7401" || s.Certificate != nil || s.Pepper != (config.Key{}) {
		t.Errorf("the witness is %+v", c.Self)
	}
}

// TestWitnessBesideEthernet: the others are on raw frames and have no UDP address; the
// witness is asked for none, and takes the address at which its machine was there.
func TestWitnessBesideEthernet(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	g := w.guest(dir, "box")
	g.Networks = func(context.Context, [2]uint16) (*nic.Choice, error) { return nil, errors.New("asked for NICs") }
	plan := Plan{SFU: "wit", Type: config.TypeWitness, Carrier: config.UDP}
	if err := w.grow(w.admission(plan), g); err == nil || !strings.Contains(err.Error(), "name one with --udp-a IP:7401") {
		t.Errorf("without an address: %v", err)
	}
	g.Address = netip.MustParseAddr("192.168.7.9")
	if err := w.grow(w.admission(plan), g); err != nil {
		t.Fatal(err)
	}
	c, _ := load(t, g)
	if c.Self.UDPA.String() != "192.168.7.9:7401" || !c.Self.Voter || c.Peers()[0].Via != config.PathUDP || c.Peers()[0].Carrier != config.Ethernet {
		t.Errorf("the witness is %+v, reaches %+v", c.Self, c.Peers())
	}
	// Another SFU of the box has the next port.
	more := w.guest(dir, "box")
	more.StateDir, more.Address = filepath.Join(dir, "state-more"), g.Address
	if err := w.grow(w.admission(Plan{SFU: "edge-1", Type: config.TypeEdge, Carrier: config.UDP}), more); err != nil {
		t.Fatal(err)
	}
	if c, _ := load(t, more); c.Self.UDPA.String() != "192.168.7.9:7402" {
		t.Errorf("the next one is at %v", c.Self.UDPA)
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name  string
		plan  Plan
		spoil func(*world, *Guest)
		want  string
	}{
		{"the cluster says no", Plan{SFU: "bravo"}, func(w *world, _ *Guest) { w.cluster.refuses = "another change is under way" }, "another change is under way"},
		{"another machine", Plan{SFU: "bravo", Machine: "pc9"}, func(w *world, g *Guest) { g.Place.Dir = writeMachine(t, w.m) }, "the line is for machine pc9, this one is called pc1"},
		{"another cluster", Plan{SFU: "bravo"}, func(_ *world, g *Guest) { g.Place.Dir = writeMachine(t, newWorld(t).m) }, "move it away to join shop"},
		{"a used state directory", Plan{SFU: "bravo"}, func(_ *world, g *Guest) {
			if err := os.MkdirAll(filepath.Join(g.StateDir, "journal"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "holds the state of an earlier SFU"},
		{"no network", Plan{SFU: "bravo"}, func(_ *world, g *Guest) {
			g.Networks = func(context.Context, [2]uint16) (*nic.Choice, error) { return &nic.Choice{}, nil }
		}, "no network was found"},
		{"a gateway that another has", Plan{SFU: "bravo", Gateways: []string{"pc1.example:7400"}}, func(*world, *Guest) {}, "is also an address of alpha"},
		{"a witness beside a voter", Plan{SFU: "wit", Type: config.TypeWitness}, func(w *world, g *Guest) { g.Place.Dir = writeMachine(t, w.m) }, "rrts node add MACHINE --type witness"},
		{"a bad name", Plan{SFU: "Bravo"}, func(*world, *Guest) {}, "with Bravo the cluster would be none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, dir := newWorld(t), t.TempDir()
			g := w.guest(dir, "pc2")
			tc.spoil(w, g)
			err := w.grow(w.admission(tc.plan), g)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if _, err := os.Stat(filepath.Join(g.Place.Dir, "sfu", "bravo.toml")); err == nil {
				t.Error("something of the SFU is on disk")
			}
			if n := len(w.cluster.roster.Members); n != 1 {
				t.Errorf("the cluster has %d members", n)
			}
		})
	}
}

// writeMachine makes a machine of a cluster, and returns its directory.
func writeMachine(t *testing.T, m *genesis.Material) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "other")
	if err := m.WriteMachine(dir, "pc1", genesis.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}
