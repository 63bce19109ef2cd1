// Package genesis makes the configuration and the keys of a new cluster.
//
// Create turns a Spec into the Material of a cluster: its identity, its secrets,
// its certificate authority and what each machine's configuration directory holds.
// Write and WriteMachine put it on disk. `rrts init` does this for real clusters;
// `rrts demo` and `rrts bench` do it for clusters that live for a minute.
//
//	m, err := genesis.Create(genesis.Spec{Name: "shop", SFUs: []genesis.SFU{
//		{Name: "alpha", Machine: "pc1", Gateways: []string{"pc1.example:7400"}},
//		{Name: "bravo", Machine: "pc2", Gateways: []string{"pc2.example:7400"}},
//		{Name: "carol", Machine: "pc3", Gateways: []string{"pc3.example:7400"}},
//	}})
//	err = m.Write(dir, genesis.WriteOptions{})
//
// Write makes, below its directory:
//
//	MACHINE/cluster.toml       what becomes /etc/rrts on that machine, 0640
//	MACHINE/machine.toml
//	MACHINE/client-kit.toml
//	MACHINE/sfu/NAME.toml      and NAME.crt, the certificate of its gateway
//	MACHINE/keys/NAME/*        the secrets of that SFU and no others, 0600
//	client-kit.toml
//	master/                    the secrets of the whole cluster, 0600: what makes
//	  ca.crt ca.key            further SFUs and certificates and what opens backups
//	  psk.key pepper.key       (see Master); a recovery kit holds the same under a
//	  token.key backup.key     passphrase (see package kit)
//	  cluster.toml
//
// An existing cluster is never overwritten. A file is complete or absent: it is
// written beside its place, fsynced and renamed, and its directory fsynced.
//
// With the same Spec, Rand and Now, Create returns the same bytes.
package genesis

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/config"
)

// Spec describes the cluster to make. Zero values mean the defaults of
// package config.
type Spec struct {
	Name    string
	Carrier config.Carrier // of all SFUs that do not say otherwise
	SFUs    []SFU
	// Machines describes the machines that need more than a name.
	Machines []config.Machine

	// Interconnect, Transactions and Clients set timers other than the defaults.
	Interconnect config.Interconnect
	Transactions config.Transactions
	Clients      config.Clients

	// Restores, if not nil, is the master of the cluster whose backup the new one begins
	// with, and Epoch the new one's epoch, above the backup's. Its certificate authority
	// and pepper stay, so that clients trust the gateways and passwords are good; settings
	// that are zero here are its. All that identifies a cluster is new.
	Restores *Master
	Epoch    uint32

	Rand io.Reader // nil means crypto/rand
	Now  time.Time // when certificates begin to be valid; zero means now
}

// SFU describes one SFU of the cluster.
type SFU struct {
	Number   uint16      // 0 means the place in the list, from 1
	Name     string      //
	Type     config.Type // empty means all
	Machine  string      // empty means the SFU's name
	NoVote   bool        // the first SFU of each machine that orders transactions votes, unless it says so
	Carrier  config.Carrier
	UDPA     netip.AddrPort
	UDPB     netip.AddrPort
	Gateways []string   // host:port that clients dial; the hosts stand in the gateway's certificate
	Settings config.SFU // of sfu/NAME.toml
}

// File is one file of a configuration directory.
type File struct {
	Path string // relative, with slashes
	Mode fs.FileMode
	Data []byte
}

const (
	modeConfig fs.FileMode = 0o640
	modeSecret fs.FileMode = 0o600
)

// Material is everything that makes a cluster. It is as secret as what it holds.
type Material struct {
	Cluster *config.Cluster
	Kit     *config.ClientKit
	Master  *Master

	machines []string          // in the order of their first SFUs
	files    map[string][]File // by machine
}

// Create makes a cluster. The error names every fault of the spec.
func Create(spec Spec) (*Material, error) {
	if spec.Rand == nil {
		spec.Rand = rand.Reader
	}
	if spec.Now.IsZero() {
		spec.Now = time.Now()
	}
	g := &genesis{spec: spec}
	m, err := g.create()
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return m, nil
}

// Machines returns the names of the cluster's machines.
func (m *Material) Machines() []string { return slices.Clone(m.machines) }

// Files returns what the configuration directory of a machine holds. The caller
// must not change it.
func (m *Material) Files(machine string) []File { return m.files[machine] }

// File returns the content of one file of a machine's configuration directory, nil if
// it has none of that path.
func (m *Material) File(machine, path string) []byte {
	for _, f := range m.files[machine] {
		if f.Path == path {
			return f.Data
		}
	}
	return nil
}

// genesis is a cluster in the making.
type genesis struct {
	spec Spec
	err  error // the first failure of Rand
}

func (g *genesis) create() (*Material, error) {
	var id config.ID
	g.draw(id[:])
	master := &Master{PSK: g.key(), Pepper: g.key(), Token: g.key(), Backup: g.key()}
	if g.err != nil {
		return nil, g.err
	}
	if old := g.spec.Restores; old != nil {
		g.inherit(old.Cluster)
		master.Pepper, master.CA = old.Pepper, old.CA
	}
	var privates []config.Key
	var err error
	if master.Cluster, privates, err = g.cluster(id, master.Backup); err != nil {
		return nil, err
	}
	cluster := master.Cluster
	if master.CA == nil {
		if master.CA, err = newAuthority(cluster.Name, g.spec.Now, g.spec.Rand); err != nil {
			return nil, err
		}
	}
	m := &Material{Cluster: cluster, Kit: master.ClientKit(), Master: master, files: map[string][]File{}}
	welcome := &Welcome{Cluster: cluster, Kit: m.Kit.Marshal(), PSK: master.PSK, Pepper: master.Pepper, Token: master.Token}
	for _, machine := range g.machines(cluster) {
		if err := machine.Validate(); err != nil {
			return nil, err
		}
		m.machines = append(m.machines, machine.Name)
		for i := range cluster.SFUs {
			if cluster.SFUs[i].Machine != machine.Name {
				continue
			}
			files, err := g.sfu(master, welcome, i, privates[i])
			if err != nil {
				return nil, err
			}
			m.files[machine.Name] = append(m.files[machine.Name], files...)
		}
		m.files[machine.Name] = append(m.files[machine.Name], welcome.MachineFiles(&machine)...)
	}
	return m, g.err
}

// sfu makes what the i-th SFU adds to its machine.
func (g *genesis) sfu(master *Master, w *Welcome, i int, private config.Key) ([]File, error) {
	self, settings := &w.Cluster.SFUs[i], &g.spec.SFUs[i].Settings
	if err := settings.Validate(self); err != nil {
		return nil, err
	}
	n := &Newborn{Interconnect: private, Store: g.key()}
	w.Certificate = nil
	if self.Type.Gateway() {
		var err error
		if n.Gateway, n.GatewayKey, err = NewGatewayKey(g.spec.Rand); err != nil {
			return nil, err
		}
		if w.Certificate, err = master.CA.Sign(self, n.Gateway, g.spec.Now, g.spec.Rand); err != nil {
			return nil, err
		}
	}
	return n.SFUFiles(w, self, settings), g.err
}

// inherit takes what the spec leaves open from the cluster that it restores.
func (g *genesis) inherit(old *config.Cluster) {
	s := &g.spec
	s.Name, s.Carrier = cmp.Or(s.Name, old.Name), cmp.Or(s.Carrier, old.Interconnect.Carrier)
	s.Interconnect, s.Transactions, s.Clients = cmp.Or(s.Interconnect, old.Interconnect), cmp.Or(s.Transactions, old.Transactions), cmp.Or(s.Clients, old.Clients)
}

// cluster makes cluster.toml and the private keys of its SFUs.
func (g *genesis) cluster(id config.ID, backup config.Key) (*config.Cluster, []config.Key, error) {
	recipient, err := config.PublicOf(backup)
	if err != nil {
		return nil, nil, err
	}
	c := &config.Cluster{
		Name: g.spec.Name, ID: id, Epoch: g.spec.Epoch, BackupKey: recipient,
		Interconnect: g.spec.Interconnect, Transactions: g.spec.Transactions, Clients: g.spec.Clients,
	}
	c.Interconnect.Carrier = g.spec.Carrier
	privates := make([]config.Key, len(g.spec.SFUs))
	voting := map[string]bool{}
	for i, s := range g.spec.SFUs {
		privates[i] = g.key()
		public, err := config.PublicOf(privates[i])
		if err != nil {
			return nil, nil, err
		}
		m := config.Member{
			Number: s.Number, Name: s.Name, Type: s.Type, Machine: s.Machine, PublicKey: public,
			Carrier: s.Carrier, UDPA: s.UDPA, UDPB: s.UDPB, Gateways: s.Gateways,
		}
		if m.Number == 0 {
			m.Number = uint16(i + 1)
		}
		if m.Type == "" {
			m.Type = config.TypeAll
		}
		if m.Machine == "" {
			m.Machine = m.Name
		}
		m.Voter = m.Type.Transactions() && !s.NoVote && !voting[m.Machine]
		voting[m.Machine] = voting[m.Machine] || m.Voter
		c.SFUs = append(c.SFUs, m)
	}
	if g.err != nil {
		return nil, nil, g.err
	}
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	c, err = config.ParseCluster("cluster.toml", c.Marshal()) // resolves the defaults
	return c, privates, err
}

// machines returns every machine that an SFU names, in the order of the SFUs.
func (g *genesis) machines(c *config.Cluster) []config.Machine {
	var all []config.Machine
	for _, s := range c.SFUs {
		if slices.ContainsFunc(all, func(m config.Machine) bool { return m.Name == s.Machine }) {
			continue
		}
		m := config.Machine{Name: s.Machine}
		for _, described := range g.spec.Machines {
			if described.Name == s.Machine {
				m = described
			}
		}
		all = append(all, m)
	}
	return all
}

// draw fills b with randomness.
func (g *genesis) draw(b []byte) {
	if g.err != nil {
		return
	}
	if _, err := io.ReadFull(g.spec.Rand, b); err != nil {
		g.err = fmt.Errorf("no randomness: %w", err)
	}
}

func (g *genesis) key() config.Key {
	var k config.Key
	g.draw(k[:])
	return k
}

// ErrExists is what writing over an existing cluster is refused with.
var ErrExists = errors.New("genesis: a cluster is there already")
