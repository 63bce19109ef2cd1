package mail

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strconv"
	"time"

	"virtualservicesinc.com/comps/smtp"
)

const (
	defaultParallel  = 4
	defaultPerDomain = 2
	defaultAttempts  = 30 // with the pauses below, three days: about as long as mail servers try
	retryFirst       = 5 * time.Second
	retryMost        = 4 * time.Hour
	// sendTimeout bounds a conversation with the relay, which may look at a mail for a minute
	// before it takes it.
	sendTimeout = 2 * time.Minute
)

// Config describes the Component.
type Config struct {
	// Relay is the host and port of the mail server that takes all mails.
	Relay    string
	Security smtp.Security
	// User and Password are for the relay; empty where it wants none.
	User, Password string
	// From is the sender: "Shop <shop@example.com>". Its domain stands in Message-IDs.
	From string
	// Templates is the directory of templates, and ClientTemplates those that clients'
	// transactions may use.
	Templates       string
	ClientTemplates []string
	// Parallel bounds the mails that are sent at a time, PerDomain those to one domain; 0
	// means 4 and 2.
	Parallel, PerDomain int
	// Attempts is how often a mail is tried before it goes into quarantine; 0 means 30, with
	// pauses from RetryFirst on, which double up to RetryMost; 0 means 5 s and 4 hours.
	Attempts              uint32
	RetryFirst, RetryMost time.Duration
	// AddressKey seals addresses: 32 bytes, the same on all SFUs that send mails.
	AddressKey []byte
	// CAs sign the relay's certificate; nil means the machine's.
	CAs *x509.CertPool
}

func (c *Config) fill() {
	if c.Parallel == 0 {
		c.Parallel = defaultParallel
	}
	if c.PerDomain == 0 {
		c.PerDomain = defaultPerDomain
	}
	if c.Attempts == 0 {
		c.Attempts = defaultAttempts
	}
	if c.RetryFirst == 0 {
		c.RetryFirst = retryFirst
	}
	if c.RetryMost == 0 {
		c.RetryMost = retryMost
	}
	if c.Security == "" {
		c.Security = smtp.StartTLS
	}
}

// validate reports every fault at once.
func (c *Config) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("mail: "+format, args...)) }
	if _, port, err := net.SplitHostPort(c.Relay); err != nil {
		fault("relay is %q, must be HOST:PORT", c.Relay)
	} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		fault("relay is %q, its port must be a number from 1 to 65535", c.Relay)
	}
	if c.Security != smtp.StartTLS && c.Security != smtp.TLS && c.Security != smtp.None {
		fault("security is %q, must be starttls, tls or none", c.Security)
	}
	if c.Security == smtp.None && c.Password != "" {
		fault("a password without security would cross the network in the clear: write security = \"starttls\"")
	}
	if (c.User == "") != (c.Password == "") {
		fault("user and password belong together: give both, or none")
	}
	if _, err := mail.ParseAddress(c.From); err != nil {
		fault("from is %q, must be an address such as \"Shop <shop@example.com>\"", c.From)
	}
	if len(c.AddressKey) != 32 {
		fault("the key of addresses has %d bytes, must be 32", len(c.AddressKey))
	}
	return errors.Join(faults...)
}
