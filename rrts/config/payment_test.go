package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stripe is a payment provider as the example has it.
var stripe = &PaymentProvider{
	Name: "stripe", Kind: PaymentKindStripe, Currency: "eur", Ledger: 978, Code: 7, Clearing: "1001", Settled: "1002", Fees: "1003",
	Parallel: 8, Timeout: 40 * time.Second, Attempts: 30, Poll: time.Minute, Reconcile: time.Hour, ReconcileBack: 7 * 24 * time.Hour,
	Sandbox: PaymentSandbox{Books: "/var/lib/rrts/sandbox", SettleAfter: 24 * time.Hour},
}

// TestPaymentProvider: what is written is read again.
func TestPaymentProvider(t *testing.T) {
	full := *stripe
	full.Kind, full.SFUs, full.Sandbox.SettleAfter, full.Stripe.URL = PaymentKindSandbox, []string{"alpha"}, time.Second, "http://127.0.0.1:12111"
	for _, p := range []*PaymentProvider{stripe, &full} {
		got, err := ParsePaymentProvider("stripe.toml", p.Marshal(), "stripe")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Error(diff)
		}
	}
	if !stripe.UsedBy(&Member{Name: "x", Type: TypeData}) || stripe.UsedBy(&Member{Name: "x", Type: TypeCore}) || full.UsedBy(&Member{Name: "bravo", Type: TypeAll}) {
		t.Error("it is used where it should not be, or not where it should")
	}
}

// TestPaymentFaults: every mistake is a line with its place and its cure.
func TestPaymentFaults(t *testing.T) {
	const good = "kind = \"sandbox\"\ncurrency = \"eur\"\nledger = 978\ncode = 7\nclearing = \"1001\"\n"
	for text, want := range map[string]string{
		"":                              `key kind: missing; write kind = "sandbox" or "stripe"`,
		"kind = \"paypal\"":             `key kind: is "paypal"; write one of "sandbox", "stripe"`,
		good + "fees = \"3\"":           `key fees: is given, and settled is not`,
		good + "settled = \"1001\"":     `key settled: is an account that stands for something else, too`,
		good + "settled = \"0\"":        `key settled: is "0"; write an account's number in quotes`,
		good + "settled = 1002":         `key settled:`,
		good + "timeout = \"1h\"":       `key timeout:`,
		good + "[stripe]\nurl = \"x\"":  `key stripe.url: is "x"`,
		good + "[stripe]\nkey = \"sk\"": `key stripe.key: unknown key`,
		good + "[stripe]\nurl = \"http://api.stripe.com\"": `key stripe.url:`, // in the clear
	} {
		_, err := ParsePaymentProvider("x.toml", []byte(text), "x")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestPaymentProviders reads a directory, and the keys of providers.
func TestPaymentProviders(t *testing.T) {
	dir := t.TempDir()
	c := &Config{Dir: dir, Self: &Member{Name: "alpha", Type: TypeAll}}
	if all, err := c.PaymentProviders(); err != nil || all != nil {
		t.Errorf("no providers: %v, %v", all, err)
	}
	write := func(path string, data []byte, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "payment", "stripe.toml"), stripe.Marshal(), 0o640)
	if all, err := c.PaymentProviders(); err != nil || len(all) != 1 || all[0].Name != "stripe" {
		t.Errorf("%v, %v", all, err)
	}
	write(filepath.Join(dir, "payment", "zebra.toml"), stripe.Marshal(), 0o640)
	if _, err := c.PaymentProviders(); err == nil || !strings.Contains(err.Error(), "zebra.toml: has the clearing account or the code of provider stripe") {
		t.Error(err)
	}
	if _, err := c.PaymentKey("", "stripe"); err == nil || !strings.Contains(err.Error(), "file is missing") {
		t.Error(err)
	}
	file := filepath.Join(dir, "keys", "alpha", "payment-stripe.key")
	write(file, []byte("sk_test_1\n"), 0o640)
	if key, err := c.PaymentKey("", "stripe"); err != nil || key != "sk_test_1" {
		t.Errorf("%q, %v", key, err)
	}
	write(file, []byte("sk_test 1"), 0o640)
	if _, err := c.PaymentKey("", "stripe"); err == nil || strings.Contains(err.Error(), "sk_test") || !strings.Contains(err.Error(), "is not a key") {
		t.Error(err)
	}
}
