package config

import (
	"fmt"
	"net"
	"time"
)

// Machine is machine.toml: what one machine is called, where its two networks are
// plugged in, and where it keeps backups.
type Machine struct {
	Name     string
	RunDir   string // holds sockets; each SFU's are in RunDir/NAME
	NetworkA NIC
	NetworkB NIC
	Alarms   MachineAlarms
	Backup   Backups
}

// Backups says where and for how long a machine keeps backups of the cluster. All is
// empty, or default, on a machine that makes none by itself.
type Backups struct {
	Target string        // directory; empty: none
	Keep   time.Duration // older ones are deleted when a newer one has been taken
	MaxAge time.Duration // below Keep; when the newest is older, the alarm backup-missing stands
}

// NIC names a network interface in one of two ways. Both are empty on a machine
// that has no such network.
type NIC struct {
	MAC  net.HardwareAddr // the permanent address, which survives a renaming
	Name string
	MTU  int // bytes that a frame carries; longer ones are used once a probe of theirs came back
}

// IsZero reports whether no interface is named.
func (n NIC) IsZero() bool { return n.Name == "" && n.MAC == nil }

func (n NIC) String() string {
	if n.Name != "" {
		return n.Name
	}
	return n.MAC.String()
}

const (
	defaultMTU = 1500 // what every Ethernet takes
	maxMTU     = 9216 // the longest frame of the interconnect
)

const machineComment = `This machine. Each machine has its own.
A value that is commented out is the default.`

func (m *Machine) keys(k *keys) {
	key(k, "name", &m.Name, must[string](`write name = "pc1", as in the machine key of its SFUs in cluster.toml`), machineName,
		"The machine's name, as in the machine key of its SFUs in cluster.toml.")
	key(k, "run_dir", &m.RunDir, otherwise("/run/rrts"), absolute,
		"Where its SFUs keep their sockets.")
	k.section("network_a", "The NIC of interconnect network A: its permanent MAC address, or its name. A larger mtu, such as 9000, needs NICs and a switch that carry jumbo frames.", m.NetworkA.keys)
	k.section("network_b", "The NIC of interconnect network B.", m.NetworkB.keys)
	k.section("alarms", "When an alarm about this machine is raised, and when it ends.", m.Alarms.keys)
	k.section("backup", "Backups that this machine takes every night: rrts-backup.timer. One machine of the cluster is enough.", m.Backup.keys)
}

func (b *Backups) keys(k *keys) {
	key(k, "target", &b.Target, optional[string](`"/mnt/backup"`), absolute,
		"Where they go: a directory on a disk that is not the SFUs' own, mounted when the machine starts.")
	key(k, "keep", &b.Keep, otherwise(30*24*time.Hour), duration(24*time.Hour, 10*365*24*time.Hour),
		"Older ones are deleted when a newer one has been taken; the newest three always stay.")
	key(k, "max_age", &b.MaxAge, otherwise(26*time.Hour), duration(time.Hour, 365*24*time.Hour),
		"When the newest one is older than this, or there is none, the alarm backup-missing stands.")
}

func (n *NIC) keys(k *keys) {
	key(k, "mac", &n.MAC, optional[net.HardwareAddr](`"00:25:90:ab:cd:01"`), hardwareAddress, "")
	key(k, "nic", &n.Name, optional[string](`"enp3s0"`), nicName, "")
	key(k, "mtu", &n.MTU, otherwise(defaultMTU), integer(defaultMTU, maxMTU), "")
}

// Marshal returns machine.toml.
func (m *Machine) Marshal() []byte { return writeFile(machineComment, m.keys) }

// Validate reports every fault that reading the machine's file would report.
func (m *Machine) Validate() error {
	_, err := ParseMachine("machine.toml", m.Marshal())
	return unplaced(err)
}

// LoadMachine reads a machine's file.
func LoadMachine(path string) (*Machine, error) {
	d, fs := readDocument(path, "make a cluster with rrts init, or join one with rrts node join")
	if d == nil {
		return nil, fs.err()
	}
	m := decodeMachine(d)
	return m, d.faults.err()
}

// ParseMachine reads machine.toml. The name stands in faults.
func ParseMachine(name string, data []byte) (*Machine, error) {
	d, fs := parseDocument(name, data)
	if d == nil {
		return nil, fs.err()
	}
	m := decodeMachine(d)
	return m, d.faults.err()
}

func decodeMachine(d *document) *Machine {
	m := &Machine{}
	readFile(d, m.keys)
	for _, n := range []struct {
		section string
		nic     NIC
	}{{"network_a", m.NetworkA}, {"network_b", m.NetworkB}} {
		if n.nic.MAC != nil && n.nic.Name != "" {
			d.fault(n.section+".nic", "is set beside mac", "name the interface in one way: remove nic or mac")
		}
	}
	if b := &m.Backup; b.MaxAge >= b.Keep && !d.anyFault("backup") {
		d.fault("backup.max_age", fmt.Sprintf("is %s, not below keep of %s", showDuration(b.MaxAge), showDuration(b.Keep)), "lower it or raise keep")
	}
	if d.anyFault("network_") {
		return m
	}
	if m.NetworkA.IsZero() && !m.NetworkB.IsZero() {
		d.fault("network_b", "is set without network_a", "name the only interface network_a")
	}
	if !m.NetworkA.IsZero() && m.NetworkA.String() == m.NetworkB.String() {
		d.fault("network_b", "is the same interface as network_a", "the networks are two: name another interface")
	}
	return m
}
