package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultDir is where a machine's configuration is.
const DefaultDir = "/etc/rrts"

// Config is everything that one SFU is told by its files.
type Config struct {
	Dir     string
	Cluster *Cluster
	Machine *Machine
	Self    *Member // this SFU's own entry of Cluster.SFUs
	SFU     *SFU
}

// Load reads the files of one SFU. The error is an *Error with every fault of all
// three files.
func Load(dir, name string) (*Config, error) {
	c := &Config{Dir: dir}
	clusterDoc, fs := readDocument(filepath.Join(dir, "cluster.toml"), "make a cluster with rrts init, or name its directory with --config")
	if clusterDoc != nil {
		c.Cluster = decodeCluster(clusterDoc)
		fs = append(fs, clusterDoc.faults...)
	}
	machineDoc, machineFaults := readDocument(filepath.Join(dir, "machine.toml"), "copy the file that rrts init wrote for this machine")
	if machineDoc != nil {
		c.Machine = decodeMachine(machineDoc)
	}
	if c.Cluster != nil {
		c.Self = c.Cluster.Member(name)
		if c.Self == nil {
			fs.add(Fault{File: clusterDoc.file, Problem: fmt.Sprintf("there is no SFU named %q", name), Cure: "its SFUs are " + strings.Join(c.Cluster.names(), ", ")})
		}
	}
	if c.Self != nil && machineDoc != nil {
		c.relate(machineDoc)
	}
	if machineDoc != nil {
		machineFaults = append(machineFaults, machineDoc.faults...)
	}
	fs = append(fs, machineFaults...)
	if c.Self != nil {
		doc, sfuFaults := readDocument(filepath.Join(dir, "sfu", name+".toml"), "copy the file that rrts init wrote for this SFU; an empty one means the defaults")
		if doc != nil {
			c.SFU = decodeSFU(doc, c.Self)
			sfuFaults = append(sfuFaults, doc.faults...)
		}
		fs = append(fs, sfuFaults...)
	}
	if err := fs.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// LoadCluster reads the directory's cluster.toml alone.
func LoadCluster(dir string) (*Cluster, error) {
	d, fs := readDocument(filepath.Join(dir, "cluster.toml"), "make a cluster with rrts init, or name its directory with --config")
	if d == nil {
		return nil, fs.err()
	}
	c := decodeCluster(d)
	if err := d.faults.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// relate checks what the files owe each other.
func (c *Config) relate(machine *document) {
	if c.Machine.Name != "" && c.Machine.Name != c.Self.Machine {
		machine.fault("name", fmt.Sprintf("is %q, but SFU %s runs on %q", c.Machine.Name, c.Self.Name, c.Self.Machine), "start it there, or correct the name here or in cluster.toml")
	}
	if !c.Machine.NetworkA.IsZero() || machine.anyFault("network_") {
		return
	}
	for _, p := range c.Peers() {
		if p.Via == PathEthernet {
			machine.fault("network_a", fmt.Sprintf("missing, although raw frames go between %s and %s", c.Self.Name, p.Name), `write [network_a] and nic = "NAME" below it`)
			return
		}
	}
}

// Peer is another SFU as this one reaches it.
type Peer struct {
	Member
	Via Path
}

// Peers returns the other SFUs of the cluster in the order of their numbers.
func (c *Config) Peers() []Peer {
	var peers []Peer
	for i := range c.Cluster.SFUs {
		m := &c.Cluster.SFUs[i]
		if m.Name != c.Self.Name {
			peers = append(peers, Peer{Member: *m, Via: Via(c.Self, m)})
		}
	}
	return peers
}

// RunDir is where an SFU of this machine keeps its sockets.
func (c *Config) RunDir(name string) string { return filepath.Join(c.Machine.RunDir, name) }

// ControlSocket is where an SFU of this machine answers the rrts command.
func (c *Config) ControlSocket(name string) string {
	return filepath.Join(c.RunDir(name), "control.sock")
}

// MetricsSocket is where an SFU of this machine offers its figures, if it is told to.
func (c *Config) MetricsSocket(name string) string {
	return filepath.Join(c.RunDir(name), "metrics.sock")
}

// ComponentSocket is where systemd runs programs of the site for the SFUs of this machine.
func (c *Config) ComponentSocket() string { return filepath.Join(c.Machine.RunDir, "component.sock") }

// NetworkDir is where the SFUs of this machine exchange the frames of a network,
// "a" or "b", as Unix datagrams. No SFU can have its name.
func (c *Config) NetworkDir(network string) string {
	return filepath.Join(c.Machine.RunDir, "network."+network)
}

// LocalSFUs returns the names of the SFUs that dir configures for this machine.
func LocalSFUs(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "sfu"))
	if err != nil {
		return nil, &Error{faults{openFault(filepath.Join(dir, "sfu"), err, "make a cluster with rrts init, or name its directory with --config")}}
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".toml"); ok && !e.IsDir() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (c *Cluster) names() []string {
	names := make([]string, len(c.SFUs))
	for i, m := range c.SFUs {
		names[i] = m.Name
	}
	return names
}

// listenPorts returns the ports of a member's gateways, on all addresses.
func listenPorts(m *Member) []string {
	var all []string
	for _, g := range m.Gateways {
		if _, port, err := net.SplitHostPort(g); err == nil && !slices.Contains(all, ":"+port) {
			all = append(all, ":"+port)
		}
	}
	return all
}
