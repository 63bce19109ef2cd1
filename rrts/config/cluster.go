package config

import (
	"fmt"
	"net/netip"
	"time"
)

const (
	// MaxSFUs bounds a cluster: every SFU keeps a session with every other.
	MaxSFUs = 64
	// MaxVoters bounds a group: past seven, every commit waits for more disks and
	// survives no more failures than a shop ever sees.
	MaxVoters = 7
	// MaxGateways bounds the addresses of one SFU's gateway.
	MaxGateways = 8
)

// Type says which Components an SFU runs, beside the Cluster Connector and the
// Monitor that every SFU runs.
type Type string

const (
	TypeAll     Type = "all"     // everything
	TypeCore    Type = "core"    // txn
	TypeEdge    Type = "edge"    // gateway and login
	TypeData    Type = "data"    // datasource, mail and payment
	TypeWitness Type = "witness" // votes and keeps the log, applies nothing
)

// Transactions reports whether SFUs of the type run the transaction Component.
func (t Type) Transactions() bool { return t == TypeAll || t == TypeCore || t == TypeWitness }

// Gateway reports whether SFUs of the type run a gateway and logins.
func (t Type) Gateway() bool { return t == TypeAll || t == TypeEdge }

// Effects reports whether SFUs of the type do effects, where they are told how.
func (t Type) Effects() bool { return t == TypeAll || t == TypeData }

// Carrier is what carries an SFU's frames to other machines.
type Carrier string

const (
	Ethernet Carrier = "ethernet" // raw frames on the machine's two NICs
	UDP      Carrier = "udp"      // development, a witness, or a machine with one NIC
)

// Cluster is cluster.toml: what all machines of a cluster agree on.
type Cluster struct {
	Name string
	ID   ID
	// Roster is the version of SFUs: 0 for the list with which the cluster began,
	// and the one that the cluster itself gave to a list that it has changed.
	Roster uint64
	// Epoch is the epoch of its transaction group. It rises with every restore and every
	// forced recovery.
	Epoch uint32
	// BackupKey is the X25519 key that backups are sealed to; zero in clusters
	// that make none. What opens them is in the recovery kit and on no SFU.
	BackupKey PublicKey

	Interconnect Interconnect
	Transactions Transactions
	Clients      Clients

	SFUs []Member // in the order of their numbers
}

// Interconnect sets how SFUs reach and judge each other.
type Interconnect struct {
	Carrier       Carrier
	EtherTypeA    uint16
	EtherTypeB    uint16
	ProbeInterval time.Duration
	SuspectAfter  time.Duration // above 4 × ProbeInterval
	DeadAfter     time.Duration // above SuspectAfter
}

// Transactions sets how a transaction group orders and remembers.
type Transactions struct {
	Tick            time.Duration
	Heartbeat       time.Duration // a multiple of Tick
	ElectionTimeout time.Duration // a multiple of Tick, at least 3 × Heartbeat
	DedupeWindow    time.Duration
}

// Clients sets what the edge promises to clients.
type Clients struct {
	Heartbeat       time.Duration
	SessionValidity time.Duration
	LoginRotation   time.Duration
	Argon2Memory    int64 // bytes
	Argon2Passes    uint32
}

// Member is one [[sfu]] of the cluster.
type Member struct {
	Number    uint16 // never 0, never used again for another SFU
	Name      string
	Type      Type
	Machine   string
	PublicKey PublicKey
	Voter     bool
	Carrier   Carrier
	UDPA      netip.AddrPort // invalid when the SFU never uses UDP
	UDPB      netip.AddrPort // invalid when UDP has one network only
	Gateways  []string       // host:port that clients dial
	Overruled bool           // by a forced recovery: it waits to be replaced
}

const clusterComment = `The cluster. An SFU starts from the SFUs that are listed here, or from a newer list that the others told it of.
A value that is commented out is the default.`

func (c *Cluster) keys(k *keys) {
	key(k, "name", &c.Name, must[string](`write name = "shop"`), clusterName,
		"The cluster's name, for people.")
	key(k, "id", &c.ID, must[ID]("restore the id that rrts init wrote"), clusterID,
		"The cluster's identity, made by rrts init. Frames, journals and clients of another cluster are refused.")
	key(k, "roster", &c.Roster, otherwise[uint64](0), integer[uint64](0, 1<<62),
		"The version of the list of SFUs below, written by rrts. 0 is the list with which the cluster began.")
	key(k, "epoch", &c.Epoch, otherwise[uint32](1), integer[uint32](1, 1<<31),
		"The epoch of its transactions. It rises with every restore from a backup and every forced recovery; what bears an older one is refused.")
	key(k, "backup_key", &c.BackupKey, optional[PublicKey](`"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`), publicKey,
		"Backups are sealed to this key. What opens them is in the recovery kit, and on no SFU.")
	k.section("interconnect", "How the SFUs reach each other.", c.Interconnect.keys)
	k.section("transactions", "How transactions are ordered and remembered.", c.Transactions.keys)
	k.section("clients", "What gateways and logins promise to clients.", c.Clients.keys)
	k.sections("sfu", "The SFUs, one [[sfu]] each.", len(c.SFUs),
		func(n int) { c.SFUs = make([]Member, n) },
		func(i int, k *keys) { c.SFUs[i].keys(k, c.Interconnect.Carrier) })
}

func (c *Interconnect) keys(k *keys) {
	key(k, "carrier", &c.Carrier, otherwise(Ethernet), oneOf(Ethernet, UDP),
		`What carries frames between machines: "ethernet", raw frames on two dedicated NICs, or "udp".`)
	key(k, "ethertype_a", &c.EtherTypeA, otherwise[uint16](0x88b5), etherType,
		"The EtherTypes of networks A and B.")
	key(k, "ethertype_b", &c.EtherTypeB, otherwise[uint16](0x88b6), etherType, "")
	key(k, "probe_interval", &c.ProbeInterval, otherwise(25*time.Millisecond), duration(time.Millisecond, time.Second),
		"Each network is probed this often; four misses in a row mean that it is down.")
	key(k, "suspect_after", &c.SuspectAfter, otherwise(120*time.Millisecond), duration(10*time.Millisecond, 10*time.Second),
		"An SFU silent on both networks for this long is suspected.")
	key(k, "dead_after", &c.DeadAfter, otherwise(time.Second), duration(20*time.Millisecond, time.Minute),
		"An SFU silent on both networks for this long is taken for dead.")
}

func (c *Transactions) keys(k *keys) {
	key(k, "tick", &c.Tick, otherwise(10*time.Millisecond), duration(time.Millisecond, time.Second),
		"The step of the group's clock.")
	key(k, "heartbeat", &c.Heartbeat, otherwise(30*time.Millisecond), duration(time.Millisecond, 10*time.Second),
		"A leader shows itself this often. A multiple of tick.")
	key(k, "election_timeout", &c.ElectionTimeout, otherwise(100*time.Millisecond), duration(3*time.Millisecond, time.Minute),
		"A follower that hears no leader for one to two of these campaigns. A multiple of tick, at least three heartbeats.")
	key(k, "dedupe_window", &c.DedupeWindow, otherwise(7*24*time.Hour), duration(time.Minute, 365*24*time.Hour),
		"Outcomes are kept for this long: within it the same transaction id gets the same answer.")
}

func (c *Clients) keys(k *keys) {
	key(k, "heartbeat", &c.Heartbeat, otherwise(10*time.Second), duration(100*time.Millisecond, 10*time.Minute),
		"A client sends something this often, or its connection is closed after three times as long.")
	key(k, "session_validity", &c.SessionValidity, otherwise(12*time.Hour), duration(time.Minute, 30*24*time.Hour),
		"A login is good for this long.")
	key(k, "login_rotation", &c.LoginRotation, otherwise(10*time.Minute), duration(time.Second, 24*time.Hour),
		"Login services make new keys, to which names and passwords are sealed, this often, and destroy the old ones a minute later.")
	key(k, "argon2_memory", &c.Argon2Memory, otherwise(19*mib), size(8*mib, gib),
		"Memory that checking one password takes, and the number of passes over it. New passwords only: a stored one keeps its own.")
	key(k, "argon2_passes", &c.Argon2Passes, otherwise[uint32](2), integer[uint32](1, 64), "")
}

func (m *Member) keys(k *keys, carrier Carrier) {
	key(k, "number", &m.Number, must[uint16]("write number = 1, or another from 1 to 65535 that no SFU ever had"), integer[uint16](1, 65535),
		"The SFU's number, for ever.")
	key(k, "name", &m.Name, must[string](`write name = "alpha"`), sfuName,
		"Its name: the unit is rrts@NAME.service.")
	key(k, "type", &m.Type, otherwise(TypeAll), oneOf(TypeAll, TypeCore, TypeEdge, TypeData, TypeWitness),
		`What it runs: "all", "core" (transactions), "edge" (gateway, login), "data" (effects) or "witness".`)
	key(k, "machine", &m.Machine, must[string](`write machine = "pc1", the name in that machine's machine.toml`), machineName,
		"The machine that it runs on.")
	key(k, "public_key", &m.PublicKey, must[PublicKey]("restore the key that rrts wrote when it made the SFU"), publicKey,
		"Its key on the interconnect.")
	key(k, "voter", &m.Voter, otherwise(m.Type.Transactions()), boolean,
		"Whether it votes. At most one SFU of a machine does.")
	key(k, "carrier", &m.Carrier, otherwise(carrier), oneOf(Ethernet, UDP),
		"What carries its frames to other machines, if not what carries the others'.")
	key(k, "udp_a", &m.UDPA, optional[netip.AddrPort](`"192.168.7.1:7401"`), udpAddress,
		"Where it receives UDP, if UDP carries its frames. Without udp_b it has one network, and an alarm says so, but of a witness. An SFU on raw frames needs none: those on UDP answer it where it sends from.")
	key(k, "udp_b", &m.UDPB, optional[netip.AddrPort](`"192.168.8.1:7401"`), udpAddress, "")
	key(k, "gateways", &m.Gateways, optional[[]string](`["pc1.example:7400"]`), list(gatewayAddress, MaxGateways),
		"Where clients reach its gateway. The gateway's certificate is for these hosts.")
	key(k, "overruled", &m.Overruled, otherwise(false), boolean,
		"A forced recovery went on without it, as rrts wrote here: it waits to be replaced or removed.")
}

// Member returns the SFU of a name, or nil.
func (c *Cluster) Member(name string) *Member {
	for i := range c.SFUs {
		if c.SFUs[i].Name == name {
			return &c.SFUs[i]
		}
	}
	return nil
}

// Gateways returns the addresses of all gateways, in the order of their SFUs. What was
// overruled answers nobody.
func (c *Cluster) Gateways() []string {
	var all []string
	for _, m := range c.SFUs {
		if !m.Overruled {
			all = append(all, m.Gateways...)
		}
	}
	return all
}

// Marshal returns cluster.toml.
func (c *Cluster) Marshal() []byte { return writeFile(clusterComment, c.keys) }

// Validate reports every fault that reading the cluster's file would report, for a
// Cluster made by a program: zero values mean the defaults.
func (c *Cluster) Validate() error {
	_, err := ParseCluster("cluster.toml", c.Marshal())
	return unplaced(err)
}

// ParseCluster reads cluster.toml. The name stands in faults.
func ParseCluster(name string, data []byte) (*Cluster, error) {
	d, fs := parseDocument(name, data)
	if d == nil {
		return nil, fs.err()
	}
	c := decodeCluster(d)
	return c, d.faults.err()
}

func decodeCluster(d *document) *Cluster {
	c := &Cluster{}
	readFile(d, c.keys)
	c.relate(d)
	return c
}

// relate checks what values of different keys owe each other. What has a fault of
// its own already is left out: its neighbours would only echo it.
func (c *Cluster) relate(d *document) {
	if !d.anyFault("interconnect") {
		c.Interconnect.relate(d)
	}
	if !d.anyFault("transactions") {
		c.Transactions.relate(d)
	}
	switch n := len(c.SFUs); {
	case n == 0 && !d.hasFault("sfu"):
		d.fault("sfu", "missing", "a cluster has at least one [[sfu]]: make one with rrts init")
	case n > MaxSFUs:
		d.fault("sfu", fmt.Sprintf("there are %d", n), fmt.Sprintf("a cluster has at most %d", MaxSFUs))
	}
	faulty := d.anyFault("sfu")
	c.relateNames(d)
	c.relateVoters(d, faulty)
	c.relateGateways(d)
	c.relateUDP(d)
}

func (i *Interconnect) relate(d *document) {
	if i.EtherTypeA == i.EtherTypeB {
		d.fault("interconnect.ethertype_b", "is the same as ethertype_a", "the networks must differ: remove both keys for the defaults")
	}
	if i.SuspectAfter <= 4*i.ProbeInterval {
		d.fault("interconnect.suspect_after", fmt.Sprintf("is %s, not above four probe intervals of %s", showDuration(i.SuspectAfter), showDuration(i.ProbeInterval)), "raise it or lower probe_interval")
	}
	if i.DeadAfter <= i.SuspectAfter {
		d.fault("interconnect.dead_after", fmt.Sprintf("is %s, not above suspect_after of %s", showDuration(i.DeadAfter), showDuration(i.SuspectAfter)), "raise it or lower suspect_after")
	}
}

func (t *Transactions) relate(d *document) {
	if t.Heartbeat%t.Tick != 0 {
		d.fault("transactions.heartbeat", fmt.Sprintf("is %s, not a multiple of the tick of %s", showDuration(t.Heartbeat), showDuration(t.Tick)), "change one of them")
	}
	if t.ElectionTimeout%t.Tick != 0 {
		d.fault("transactions.election_timeout", fmt.Sprintf("is %s, not a multiple of the tick of %s", showDuration(t.ElectionTimeout), showDuration(t.Tick)), "change one of them")
	}
	if t.ElectionTimeout < 3*t.Heartbeat {
		d.fault("transactions.election_timeout", fmt.Sprintf("is %s, below three heartbeats of %s", showDuration(t.ElectionTimeout), showDuration(t.Heartbeat)), "raise it or lower heartbeat")
	}
}

// relateNames checks that nothing by which an SFU is known is given twice.
func (c *Cluster) relateNames(d *document) {
	names, numbers, publics := map[string]int{}, map[uint16]int{}, map[PublicKey]int{}
	for i, m := range c.SFUs {
		at := sfuPath(i)
		if j, dup := names[m.Name]; dup && m.Name != "" {
			d.fault(at+".name", fmt.Sprintf("is %q, as of sfu[%d]", m.Name, j), "give each SFU its own name")
		}
		if j, dup := numbers[m.Number]; dup && m.Number != 0 {
			d.fault(at+".number", fmt.Sprintf("is %d, as of sfu[%d]", m.Number, j), "give each SFU its own number")
		}
		if i > 0 && m.Number != 0 && m.Number < c.SFUs[i-1].Number {
			d.fault(at+".number", fmt.Sprintf("is %d, after %d", m.Number, c.SFUs[i-1].Number), "put the SFUs in the order of their numbers")
		}
		if j, dup := publics[m.PublicKey]; dup && m.PublicKey != (PublicKey{}) {
			d.fault(at+".public_key", fmt.Sprintf("is that of sfu[%d]", j), "restore the key that rrts wrote when it made the SFU")
		}
		names[m.Name], numbers[m.Number], publics[m.PublicKey] = i, i, i
	}
}

// relateVoters checks who votes: one SFU of a machine, and not witnesses alone.
// Numbers of voters are not judged while some SFU is faulty.
func (c *Cluster) relateVoters(d *document, faulty bool) {
	machines := map[string]string{}
	voters, leaders := 0, 0
	for i, m := range c.SFUs {
		if !m.Voter || d.hasFault(sfuPath(i)+".type") {
			continue
		}
		if !m.Type.Transactions() {
			d.fault(sfuPath(i)+".voter", fmt.Sprintf("is true for an SFU of type %q, which orders no transactions", m.Type), "remove the key")
			continue
		}
		if other, dup := machines[m.Machine]; dup && m.Machine != "" {
			d.fault(sfuPath(i)+".voter", fmt.Sprintf("is true, and so is %s's on the same machine %s", other, m.Machine), "at most one SFU of a machine votes: write voter = false")
		}
		machines[m.Machine] = m.Name
		voters++
		if m.Type != TypeWitness {
			leaders++
		}
	}
	switch {
	case faulty:
	case leaders == 0:
		d.fault("sfu", "no SFU can lead", `one of type "all" or "core" has to vote`)
	case voters > MaxVoters:
		d.fault("sfu", fmt.Sprintf("%d SFUs vote", voters), fmt.Sprintf("at most %d do: write voter = false at the others", MaxVoters))
	}
}

// relateGateways checks that gateways, and nothing else, have addresses.
func (c *Cluster) relateGateways(d *document) {
	addresses := map[string]string{}
	for i, m := range c.SFUs {
		key := sfuPath(i) + ".gateways"
		for _, a := range m.Gateways {
			if other, dup := addresses[a]; dup {
				d.fault(key, fmt.Sprintf("%s is also an address of %s", a, other), "give each gateway its own host or port")
			}
			addresses[a] = m.Name
		}
		switch {
		case d.anyFault(sfuPath(i) + "."):
		case m.Type.Gateway() && len(m.Gateways) == 0:
			d.fault(key, "missing", `write gateways = ["HOST:7400"], the address at which clients reach this machine`)
		case !m.Type.Gateway() && len(m.Gateways) > 0:
			d.fault(key, fmt.Sprintf("is set for an SFU of type %q, which runs no gateway", m.Type), "remove the key")
		}
	}
}

// relateUDP checks that whoever is carried by UDP has an address, as soon as there is
// another SFU, and that no two are the same.
func (c *Cluster) relateUDP(d *document) {
	addresses := map[netip.AddrPort]string{}
	for i := range c.SFUs {
		m, at := &c.SFUs[i], sfuPath(i)
		for n, a := range []netip.AddrPort{m.UDPA, m.UDPB} {
			if other, dup := addresses[a]; dup && a.IsValid() {
				d.fault(at+[]string{".udp_a", ".udp_b"}[n], fmt.Sprintf("is %s, as of %s", a, other), "give each SFU its own address or port")
			}
		}
		addresses[m.UDPA], addresses[m.UDPB] = m.Name, m.Name
		switch {
		case d.anyFault(at + "."):
		case !m.UDPA.IsValid() && m.UDPB.IsValid():
			d.fault(at+".udp_b", "is set without udp_a", "name the only network udp_a")
		case m.UDPA.IsValid() && m.UDPA == m.UDPB:
			d.fault(at+".udp_b", "is the same as udp_a", "remove it if there is one network only")
		case !m.UDPA.IsValid() && m.Carrier == UDP:
			if other := c.udpPeer(i); other != "" {
				d.fault(at+".udp_a", fmt.Sprintf("missing, although UDP carries the frames between %s and %s", m.Name, other), `write udp_a = "IP:7401"`)
			}
		}
	}
}

// udpPeer returns the name of an SFU that the i-th one reaches over UDP.
func (c *Cluster) udpPeer(i int) string {
	for j := range c.SFUs {
		if j != i && Via(&c.SFUs[i], &c.SFUs[j]) == PathUDP {
			return c.SFUs[j].Name
		}
	}
	return ""
}

func sfuPath(i int) string { return fmt.Sprintf("sfu[%d]", i) }

// Path is how the frames of two SFUs reach each other.
type Path int

const (
	PathEthernet Path = iota // raw frames between machines
	PathUnix                 // Unix datagrams on one machine
	PathUDP
)

func (p Path) String() string {
	return [...]string{"ethernet", "unix", "udp"}[p]
}

// Via returns the path between two SFUs: UDP where either asks for it, Unix
// datagrams on one machine, raw frames otherwise.
func Via(a, b *Member) Path {
	switch {
	case a.Carrier == UDP || b.Carrier == UDP:
		return PathUDP
	case a.Machine == b.Machine:
		return PathUnix
	}
	return PathEthernet
}
