package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// MaxPaymentProviders bounds the payment providers of a machine.
const MaxPaymentProviders = 16

// PaymentProvider is payment/NAME.toml: a payment provider of the SFUs of this machine.
type PaymentProvider struct {
	Name     string // the file's
	Kind     PaymentKind
	Currency string
	Ledger   uint32
	Code     uint32
	// Accounts, as decimal digits; the last two may be empty.
	Clearing, Settled, Fees string
	SFUs                    []string // that use it; empty: those of this machine of type all and data
	Parallel                int
	Timeout                 time.Duration
	Attempts                int
	Poll                    time.Duration
	Reconcile               time.Duration
	ReconcileBack           time.Duration
	Sandbox                 PaymentSandbox
	Stripe                  PaymentStripe
}

// PaymentKind says how a provider is reached.
type PaymentKind string

// The kinds.
const (
	PaymentKindSandbox PaymentKind = "sandbox"
	PaymentKindStripe  PaymentKind = "stripe"
)

// PaymentSandbox is where the sandbox keeps its books.
type PaymentSandbox struct {
	Books       string
	SettleAfter time.Duration
}

// PaymentStripe is where Stripe answers.
type PaymentStripe struct {
	URL string // empty: where Stripe's SDK says
}

const paymentComment = `A payment provider. Its name is the file's name.
What it knows us by, such as Stripe's secret key, is the file keys/SFU/payment-NAME.key, which others than the group rrts cannot read.
A value that is commented out is the default.`

var (
	currencyCode  = matching(`a currency's three letters in quotes, such as "eur"`, regexp.MustCompile(`^[a-z]{3}$`))
	accountNumber = matching(`an account's number in quotes, such as "1001"`, regexp.MustCompile(`^[1-9][0-9]{0,37}$`))
	providerURL   = matching(`an address in quotes, such as "https://api.stripe.com"`, regexp.MustCompile(`^(https://[^\s/@]+|http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?)$`))
)

func (p *PaymentProvider) keys(k *keys) {
	key(k, "kind", &p.Kind, must[PaymentKind](`write kind = "sandbox" or "stripe"`), oneOf(PaymentKindSandbox, PaymentKindStripe),
		`How it is reached: "sandbox" moves no money, "stripe" is Stripe, with the package rrts-stripe.`)
	key(k, "currency", &p.Currency, must[string](`write currency = "eur"`), currencyCode,
		"What it takes. Amounts are in its smallest unit.")
	key(k, "ledger", &p.Ledger, must[uint32](`write ledger = 978`), integer[uint32](1, 1<<32-1),
		"The ledger of the accounts.")
	key(k, "code", &p.Code, must[uint32](`write code = 7`), integer[uint32](1, 65535),
		"The code of the transfers of its payments. Let no other transfers in that ledger have it.")
	key(k, "clearing", &p.Clearing, must[string](`write clearing = "1001"`), accountNumber,
		"The account from which payments are held and taken: its debit balance is what the provider owes.")
	key(k, "settled", &p.Settled, optional[string](`"1002"`), accountNumber,
		"The account that the provider pays out to: a bank's. Without one payouts are not followed.")
	key(k, "fees", &p.Fees, optional[string](`"1003"`), accountNumber,
		"The account of what the provider keeps for itself.")
	key(k, "sfus", &p.SFUs, optional[[]string](`["alpha"]`), list(sfuName, MaxSFUs),
		"The SFUs that use it. Default: every one of this machine of type all or data.")
	key(k, "parallel", &p.Parallel, otherwise(8), integer(1, 64),
		"Calls at a time.")
	key(k, "timeout", &p.Timeout, otherwise(40*time.Second), duration(100*time.Millisecond, 2*time.Minute),
		"How long one call may take. One that takes longer is asked about: it decides nothing.")
	key(k, "attempts", &p.Attempts, otherwise(30), integer(1, 1000),
		"How often a call is tried, later and later, before it goes into quarantine: 30 are about a day.")
	key(k, "poll", &p.Poll, otherwise(time.Minute), duration(100*time.Millisecond, 24*time.Hour),
		"How often it is asked for what has happened by itself: payouts, authorizations that have expired.")
	key(k, "reconcile", &p.Reconcile, otherwise(time.Hour), duration(time.Second, 7*24*time.Hour),
		"How often ledger and provider are compared.")
	key(k, "reconcile_back", &p.ReconcileBack, otherwise(7*24*time.Hour), duration(time.Minute, 366*24*time.Hour),
		"How old payments are compared then.")
	k.section("sandbox", "Of the sandbox.", func(k *keys) {
		key(k, "books", &p.Sandbox.Books, otherwise("/var/lib/rrts/sandbox"), absolute,
			"The directory of its books. All SFUs that use it must see the same, so they are on one machine. Make it: install -d -o rrts -g rrts -m 700 /var/lib/rrts/sandbox")
		key(k, "settle_after", &p.Sandbox.SettleAfter, otherwise(24*time.Hour), duration(time.Millisecond, 366*24*time.Hour),
			"How long a captured payment waits for its payout.")
	})
	k.section("stripe", "Of Stripe.", func(k *keys) {
		key(k, "url", &p.Stripe.URL, optional[string](`"https://api.stripe.com"`), providerURL,
			"Where it answers, if not where its SDK says.")
	})
}

// Marshal returns the file.
func (p *PaymentProvider) Marshal() []byte { return writeFile(paymentComment, p.keys) }

// UsedBy reports whether an SFU of this machine uses it.
func (p *PaymentProvider) UsedBy(m *Member) bool {
	if len(p.SFUs) > 0 {
		return slices.Contains(p.SFUs, m.Name)
	}
	return m.Type.Effects()
}

// PaymentProviders reads the payment providers of an SFU, in the order of their names; none
// is no error.
func (c *Config) PaymentProviders() ([]*PaymentProvider, error) {
	dir := filepath.Join(c.Dir, "payment")
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{faults{openFault(dir, err, "run as root or as a member of the group rrts")}}
	}
	var all []*PaymentProvider
	var fs faults
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".toml")
		if !ok || e.IsDir() {
			continue
		}
		d, missing := readDocument(filepath.Join(dir, e.Name()), "write one; see payment.toml(5)")
		fs = append(fs, missing...)
		if d == nil {
			continue
		}
		p := decodePayment(d, name)
		fs = append(fs, d.faults...)
		if !p.UsedBy(c.Self) {
			continue
		}
		for _, other := range all {
			if len(d.faults) == 0 && other.Ledger == p.Ledger && (other.Clearing == p.Clearing || other.Code == p.Code) {
				d.faults.add(Fault{File: d.file, Problem: fmt.Sprintf("has the clearing account or the code of provider %s: their payments could not be told apart", other.Name), Cure: "give each its own"})
				fs = append(fs, d.faults...)
			}
		}
		all = append(all, p)
	}
	if len(all) > MaxPaymentProviders {
		fs.add(Fault{File: dir, Problem: fmt.Sprintf("has %d payment providers, at most %d are used", len(all), MaxPaymentProviders), Cure: "remove some"})
	}
	return all, fs.err()
}

// ParsePaymentProvider reads the file of a payment provider. The file's path stands in
// faults.
func ParsePaymentProvider(file string, data []byte, name string) (*PaymentProvider, error) {
	d, fs := parseDocument(file, data)
	if d == nil {
		return nil, fs.err()
	}
	p := decodePayment(d, name)
	return p, d.faults.err()
}

func decodePayment(d *document, name string) *PaymentProvider {
	p := &PaymentProvider{Name: name}
	readNamed(d, name, p.keys)
	if p.Fees != "" && p.Settled == "" {
		d.fault("fees", "is given, and settled is not", `write settled = "1002", the account of payouts`)
	}
	if p.Clearing != "" && (p.Clearing == p.Settled || p.Clearing == p.Fees) || p.Settled != "" && p.Settled == p.Fees {
		d.fault("settled", "is an account that stands for something else, too", "give clearing, settled and fees an account each")
	}
	return p
}

// PaymentKey reads what a payment provider knows us by, as Secrets reads the others: from
// the directory credentials, or from keys/NAME.
func (c *Config) PaymentKey(credentials, provider string) (string, error) {
	r := c.secretReader(credentials)
	data, path := r.file("payment-" + provider + ".key")
	text := strings.TrimRight(string(data), "\r\n")
	if data != nil && (text == "" || len(text) > maxPasswordBytes || strings.ContainsAny(text, "\r\n\x00 ")) {
		r.faults.add(Fault{File: path, Problem: fmt.Sprintf("is not a key: one line of 1 to %d bytes", maxPasswordBytes), Cure: "write the provider's secret key into it"})
	}
	return text, r.faults.err()
}
