package config

import "log/slog"

// SFU is sfu/NAME.toml: how one SFU uses its machine.
type SFU struct {
	StateDir string // journal and store; default /var/lib/rrts/NAME
	LogLevel slog.Level
	Memory   int64 // bytes: a soft limit on the whole process

	Gateway GatewaySettings
	Login   LoginSettings
	Txn     TxnSettings
	Mail    MailSettings
	Alarms  SFUAlarms
	Metrics MetricsSettings
}

// MailSettings says through which relay the SFU sends mails; without one it sends none.
type MailSettings struct {
	Relay           string
	Security        string // "starttls", "tls" or "none"
	User            string // its password is the secret relay.password
	CA              string // file with the certificates that sign the relay's; empty: the machine's own
	From            string
	Templates       string
	ClientTemplates []string
	Parallel        int
	PerDomain       int
}

// GatewaySettings bounds the gateway.
type GatewaySettings struct {
	Listen         []string // default: all addresses, at the ports of the SFU's gateways in cluster.toml
	MaxConnections int
	Window         int    // requests in flight on one connection
	ClientCA       string // path of certificates as PEM; empty: clients need none
}

// LoginSettings sets the login service.
type LoginSettings struct {
	Elsewhere bool // logins are checked on other SFUs
}

// TxnSettings bounds the transaction Component.
type TxnSettings struct {
	Cache          int64 // bytes: the store's block cache
	Balances       int   // accounts whose balances stay in memory
	JournalSegment int64 // bytes
	WitnessLog     int64 // bytes
}

const sfuComment = `One SFU of this machine. Its name is the file's name; what the others know of it is in cluster.toml.
A value that is commented out is the default.`

func (s *SFU) keys(name string, listen []string) func(*keys) {
	return func(k *keys) {
		key(k, "state_dir", &s.StateDir, otherwise("/var/lib/rrts/"+name), absolute,
			"Journal and store. Put it on the fastest disk that survives a power cut.")
		key(k, "log_level", &s.LogLevel, otherwise(slog.LevelInfo), logLevel,
			`"debug", "info", "warn" or "error".`)
		key(k, "memory", &s.Memory, otherwise(gib), size(64*mib, 1024*gib),
			"The process frees memory eagerly above this.")
		k.section("gateway", "The gateway, where the SFU's type has one.", func(k *keys) {
			key(k, "listen", &s.Gateway.Listen, otherwise(listen), list(listenAddress, MaxGateways),
				"Where it listens. Default: all addresses, at the ports of the SFU's gateways in cluster.toml.")
			key(k, "max_connections", &s.Gateway.MaxConnections, otherwise(10000), integer(1, 1000000),
				"Clients connected at once; more are turned away.")
			key(k, "window", &s.Gateway.Window, otherwise(256), integer(1, 65536),
				"Requests in flight on one connection; more are answered OVERLOADED.")
			key(k, "client_ca", &s.Gateway.ClientCA, optional[string](`"/etc/rrts/tls/clients.pem"`), absolute,
				"Clients need a certificate that one of the authorities in this file has signed, beside name and password. Read when the SFU starts.")
		})
		k.section("login", "The login service, where the SFU's type has a gateway.", func(k *keys) {
			key(k, "elsewhere", &s.Login.Elsewhere, otherwise(false), boolean,
				"Check no logins here: the gateway takes them to other SFUs, cannot read them, and needs no pepper.key.")
		})
		k.section("txn", "Transactions, where the SFU's type has them.", func(k *keys) {
			key(k, "cache", &s.Txn.Cache, otherwise(64*mib), size(mib, 1024*gib),
				"Memory for blocks of the store.")
			key(k, "balances", &s.Txn.Balances, otherwise(1000000), integer(1000, 100000000),
				"Accounts whose balances stay in memory, about 200 bytes each.")
			key(k, "journal_segment", &s.Txn.JournalSegment, otherwise(64*mib), size(mib, gib),
				"The journal is made of files of this size, which are used again.")
			key(k, "witness_log", &s.Txn.WitnessLog, otherwise(4*gib), size(128*mib, 1024*gib),
				"How much of the log a witness keeps for an SFU that is away. It needs that much of the disk.")
		})
		k.section("mail", "Mails that transactions owe, where the SFU's type is all or data.", s.Mail.keys)
		k.section("alarms", "When an alarm about this SFU is raised, and when it ends.", s.Alarms.keys)
		k.section("metrics", "The SFU's figures, for Prometheus.", s.Metrics.keys)
	}
}

func (m *MailSettings) keys(k *keys) {
	key(k, "relay", &m.Relay, optional[string](`"smtp.example.com:587"`), gatewayAddress,
		"The mail server that takes all mails. Without one this SFU sends none.")
	key(k, "security", &m.Security, otherwise("starttls"), oneOf("starttls", "tls", "none"),
		`How the connection to it is protected: "starttls", "tls" from the first byte, or "none", for one on this machine.`)
	key(k, "user", &m.User, optional[string](`"shop"`), line,
		"Who logs in there. The password is in the secret relay.password: keys/NAME/relay.password, or a systemd credential.")
	key(k, "ca", &m.CA, optional[string](`"/etc/rrts/mail-ca.pem"`), absolute,
		"Certificates that sign the relay's. Default: those that this machine trusts. Read when the SFU starts.")
	key(k, "from", &m.From, optional[string](`"Shop <shop@example.com>"`), line,
		"Who the mails are from.")
	key(k, "templates", &m.Templates, otherwise("/etc/rrts/mail"), absolute,
		"The directory of templates: NAME.subject with NAME.txt, NAME.html or both.")
	key(k, "client_templates", &m.ClientTemplates, optional[[]string](`["receipt"]`), list(line, 1000),
		"Templates that transactions of clients may use; the others are for operators and Components.")
	key(k, "parallel", &m.Parallel, otherwise(4), integer(1, 64),
		"Mails that are sent at a time, and those to one domain.")
	key(k, "per_domain", &m.PerDomain, otherwise(2), integer(1, 64), "")
}

// relate checks what the settings owe each other.
func (m *MailSettings) relate(d *document) {
	if m.Relay != "" && m.From == "" && !d.anyFault("mail") {
		d.fault("mail.from", "missing, although there is a relay", `write from = "Shop <shop@example.com>"`)
	}
}

// Marshal returns the sfu/NAME.toml of a member.
func (s *SFU) Marshal(m *Member) []byte {
	return writeFile(sfuComment, s.keys(m.Name, listenPorts(m)))
}

// Validate reports every fault that reading the file would report.
func (s *SFU) Validate(m *Member) error {
	_, err := ParseSFU("sfu/"+m.Name+".toml", s.Marshal(m), m)
	return unplaced(err)
}

// ParseSFU reads the sfu/NAME.toml of a member. The name stands in faults.
func ParseSFU(name string, data []byte, m *Member) (*SFU, error) {
	d, fs := parseDocument(name, data)
	if d == nil {
		return nil, fs.err()
	}
	s := decodeSFU(d, m)
	return s, d.faults.err()
}

func decodeSFU(d *document, m *Member) *SFU {
	s := &SFU{}
	readFile(d, s.keys(m.Name, listenPorts(m)))
	s.Mail.relate(d)
	return s
}
