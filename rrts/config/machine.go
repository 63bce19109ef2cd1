package config

import (
	"fmt"
	"net"
	"net/netip"
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
	Mail     AlarmMail
	Backup   Backups
}

// AlarmMail says to whom the SFUs of a machine send their alarms by mail, and through
// which server. All is empty, or default, on a machine that sends none.
type AlarmMail struct {
	Server   string // host:port; empty: no mail
	Security MailSecurity
	User     string // empty: the server asks for none
	CA       string // file with the certificates that sign the server's; empty: the machine's own
	From     string
	Critical []string
	Warning  []string
	Info     []string
}

// MailSecurity is how the way to a mail server is protected.
type MailSecurity string

// The ways, as they stand in a file.
const (
	MailStartTLS MailSecurity = "starttls"
	MailTLS      MailSecurity = "tls"
	MailPlain    MailSecurity = "none"
)

// maxMailTo bounds those who get one mail: more are a mailing list's business.
const maxMailTo = 16

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
	MAC   net.HardwareAddr // the permanent address, which survives a renaming
	Name  string
	MTU   int // bytes that a frame carries; longer ones are used once a probe of theirs came back
	Speed int // Mbit/s; 0: what the NIC says
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
	minSpeed   = 10
	maxSpeed   = 800_000 // Mbit/s of the fastest Ethernet
)

const machineComment = `This machine. Each machine has its own.
A value that is commented out is the default.`

func (m *Machine) keys(k *keys) {
	key(k, "name", &m.Name, must[string](`write name = "pc1", as in the machine key of its SFUs in cluster.toml`), machineName,
		"The machine's name, as in the machine key of its SFUs in cluster.toml.")
	key(k, "run_dir", &m.RunDir, otherwise("/run/rrts"), absolute,
		"Where its SFUs keep their sockets.")
	k.section("network_a", "The NIC of interconnect network A: its permanent MAC address, or its name. A larger mtu, such as 9000, needs NICs and a switch that carry jumbo frames. Bulk is spread over the speed that the NIC says; speed, in Mbit/s, is for one that says none, or more than its network carries.", m.NetworkA.keys)
	k.section("network_b", "The NIC of interconnect network B.", m.NetworkB.keys)
	k.section("alarms", "When an alarm about this machine is raised, and when it ends.", m.Alarms.keys)
	k.section("alarm_mail", "Mail about the alarms of this machine's SFUs: one when an alarm is raised, and one when it ends. What stands here counts at the next alarm, without a restart.", m.Mail.keys)
	k.section("backup", "Backups that this machine takes every night: rrts-backup.timer. One machine of the cluster is enough.", m.Backup.keys)
}

func (m *AlarmMail) keys(k *keys) {
	to := func(name string, p *[]string, comment string) {
		key(k, name, p, optional[[]string](`["anna@example.com"]`), list(mailAddress, maxMailTo), comment)
	}
	key(k, "server", &m.Server, optional[string](`"mail.example.com:587"`), mailServer,
		"The mail server that takes them. Without it none are sent.")
	key(k, "security", &m.Security, otherwise(MailStartTLS), oneOf(MailStartTLS, MailTLS, MailPlain),
		`"starttls" (port 587), "tls" (port 465), or "none" for a server on this machine.`)
	key(k, "user", &m.User, optional[string](`"rrts@example.com"`), mailUser,
		"As whom to log in. The password is one line in keys/NAME/"+FileMailPassword+", for each SFU of this machine; a new one counts from the SFU's next start.")
	key(k, "ca", &m.CA, optional[string](`"/etc/rrts/mail-ca.pem"`), absolute,
		"Certificates that sign the server's. Default: those that this machine trusts.")
	key(k, "from", &m.From, optional[string](`"rrts@example.com"`), mailAddress,
		"Who they are from.")
	to("critical", &m.Critical, "Who gets the alarms of each severity.")
	to("warning", &m.Warning, "")
	to("info", &m.Info, "")
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
	key(k, "speed", &n.Speed, optional[int]("1000"), integer(minSpeed, maxSpeed), "")
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
	if !d.anyFault("alarm_mail") {
		checkMail(d, &m.Mail)
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

// checkMail holds the keys of the section alarm_mail against each other.
func checkMail(d *document, m *AlarmMail) {
	recipients := len(m.Critical) + len(m.Warning) + len(m.Info)
	host, _, _ := net.SplitHostPort(m.Server)
	switch {
	case m.Server == "" && (recipients > 0 || m.From != "" || m.User != ""):
		d.fault("alarm_mail.server", "missing", `write server = "mail.example.com:587", or remove the other keys`)
	case m.Server == "":
	case m.From == "":
		d.fault("alarm_mail.from", "missing", `write from = "rrts@example.com", an address that the server takes mail from`)
	case recipients == 0:
		d.fault("alarm_mail.critical", "missing", `write critical = ["anna@example.com"], or addresses for warning or info`)
	case m.Security == MailPlain && !loopback(host):
		d.fault("alarm_mail.security", `is "none" for a server that is not on this machine`, `write "starttls" or "tls"`)
	case m.Security == MailPlain && m.User != "":
		d.fault("alarm_mail.user", `is set with security = "none"`, "a password is not sent in clear text: remove user, or use TLS")
	}
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
