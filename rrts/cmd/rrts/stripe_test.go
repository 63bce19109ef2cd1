package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/config"
)

// TestStripeChild: the SDK runs in a process of its own, which gets the key over its socket
// and shows it to nobody; when it dies another one goes on.
func TestStripeChild(t *testing.T) {
	const key = "sk_test_geheim"
	var mu sync.Mutex
	keys := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		keys[r.Header.Get("Authorization")] = true
		mu.Unlock()
		w.Write([]byte(`{"object":"list","data":[],"has_more":false}`))
	}))
	t.Cleanup(server.Close)
	t.Setenv("RRTS_STRIPE", buildChild(t, "rrts-stripe"))
	a := newArena(t, 1, nil)
	p := &config.PaymentProvider{Name: "stripe", Kind: config.PaymentKindStripe, Currency: "eur", Ledger: 978, Code: 7, Clearing: "1001",
		Parallel: 8, Timeout: 5 * time.Second, Attempts: 30, Poll: 100 * time.Millisecond, Reconcile: time.Hour, ReconcileBack: time.Hour,
		Sandbox: config.PaymentSandbox{Books: "/nowhere", SettleAfter: time.Hour}, Stripe: config.PaymentStripe{URL: "http://127.0.0.1:" + server.URL[strings.LastIndex(server.URL, ":")+1:]}}
	for path, data := range map[string][]byte{
		filepath.Join(a.ConfigDir(0), "payment", "stripe.toml"):                p.Marshal(),
		filepath.Join(a.ConfigDir(0), "keys", a.Name(0), "payment-stripe.key"): []byte(key + "\n"),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx := run(t, a)
	well := func() error {
		op, err := a.Operator(ctx, 0)
		if err != nil {
			return err
		}
		defer op.Close()
		at, err := op.Provider(ctx, "stripe")
		if err == nil && at.Fault != "" {
			err = errors.New(at.Fault)
		}
		return err
	}
	waitFor(t, ctx, well)
	children := childrenOf(a.Pid(0), "rrts-stripe")
	if len(children) != 1 {
		t.Fatalf("%d child processes", len(children))
	}
	for _, file := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(children[0]), file))
		if err != nil || bytes.Contains(text, []byte(key)) {
			t.Errorf("the key stands in the child's %s, or that cannot be read: %v", file, err)
		}
	}
	if err := syscall.Kill(children[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ctx, func() error {
		if again := childrenOf(a.Pid(0), "rrts-stripe"); len(again) != 1 || again[0] == children[0] {
			return os.ErrNotExist
		}
		return well()
	})
	mu.Lock()
	defer mu.Unlock()
	if len(keys) != 1 || !keys["Bearer "+key] {
		t.Errorf("Stripe was shown %d keys", len(keys))
	}
	if log, _ := os.ReadFile(a.LogFile(0)); bytes.Contains(log, []byte(key)) {
		t.Error("the key stands in the log")
	}
}
