package sandbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

func open(t *testing.T, dir string, now *time.Time) *Sandbox {
	t.Helper()
	s, err := Open(Config{Dir: dir, SettleAfter: time.Hour, Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// call makes a call, and says what came of it.
func call(s *Sandbox, key, operation string, payment, amount uint64, token string) string {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer stop()
	in := &paymentpb.CallRequest{Key: key, Operation: operation, Payment: u128.From64(payment), Amount: amount, Token: token}
	if operation == paymentpb.Refund {
		in.Refund = u128.From64(payment + 1000)
	}
	c, fault, err := s.Do(ctx, in)
	switch {
	case err != nil:
		return "broken: " + err.Error()
	case fault != nil:
		return fmt.Sprintf("%v: %s", fault.Class, fault.Reason)
	}
	return fmt.Sprintf("%v %d/%d-%d", c.Status, c.Captured, c.Amount, c.Refunded)
}

// TestCalls: what calls answer, with keys that are used again, and what stays when the
// process does not.
func TestCalls(t *testing.T) {
	dir, now := t.TempDir(), time.Unix(1_000_000, 0)
	s := open(t, dir, &now)
	other := open(t, dir, &now)
	for i, x := range []struct {
		key, operation  string
		payment, amount uint64
		token, want     string
	}{
		{"a", "authorize", 1, 100, "visa", "authorized 0/100-0"},
		{"a", "authorize", 1, 100, "visa", "authorized 0/100-0"}, // the same key: nothing again
		{"a", "authorize", 1, 101, "visa", "misconfigured: sandbox: the idempotency key was used for another call"},
		{"b", "capture", 1, 101, "", "refused: sandbox: 101 cannot be captured of 100"},
		{"c", "capture", 1, 60, "", "captured 60/100-0"},
		{"c", "capture", 1, 60, "", "captured 60/100-0"},
		{"d", "capture", 1, 60, "", "refused: sandbox: the payment is not authorized"},
		{"e", "void", 1, 0, "", "refused: sandbox: the payment is captured"},
		{"f", "refund", 1, 50, "", "captured 60/100-50"},
		{"g", "refund", 1, 50, "", "refused: sandbox: 50 cannot be refunded: 60 was captured, and 50 refunded"},
		{"h", "authorize", 2, 100, "visa,authorize:timeout*1,authorize:error-after,capture:limit", "unknown: sandbox: no answer"},
		{"h", "authorize", 2, 100, "visa,authorize:timeout*1,authorize:error-after,capture:limit", "unknown: sandbox: 503"},
		{"h", "authorize", 2, 100, "visa,authorize:timeout*1,authorize:error-after,capture:limit", "authorized 0/100-0"},
		{"i", "capture", 2, 100, "", "unknown: sandbox: 429: too many requests"},
		{"i", "capture", 2, 100, "", "captured 100/100-0"},
		{"j", "authorize", 3, 100, "visa,authorize:decline", "refused: sandbox: the card was declined"},
		{"j", "authorize", 3, 100, "visa,authorize:decline", "refused: sandbox: the card was declined"},
		{"k", "authorize", 4, 100, "visa,authorize:explode", `refused: sandbox: the token's part "authorize:explode" is not STEP:FAULT or STEP:FAULT*TIMES`},
		{"l", "capture", 5, 100, "", "refused: sandbox: there is no such payment"},
		{"m", "authorize", 1, 100, "visa", "authorized 0/100-0"}, // another key is another charge
	} {
		which := []*Sandbox{s, other}[i%2] // two processes share the books
		if got := call(which, x.key, x.operation, x.payment, x.amount, x.token); got != x.want {
			t.Errorf("%d: %s %s: %s, want %s", i, x.key, x.operation, got, x.want)
		}
	}
	// A line that a power failure has cut off was never answered.
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"time":1,"key":"torn","operation":"auth`)
	f.Close()
	again := open(t, dir, &now)
	totals, err := again.Totals()
	if err != nil || len(totals.Captured) != 2 || len(totals.Captured[u128.From64(1)]) != 1 || totals.Authorized != 1 || totals.Calls != 18 {
		t.Errorf("%+v, %v", totals, err)
	}
	if got := call(again, "n", "authorize", 6, 1, "visa"); got != "authorized 0/1-0" {
		t.Error(got)
	}
	if found, _, err := again.Find(t.Context(), u128.From64(1)); err != nil || len(found) != 2 {
		t.Errorf("%v, %v", found, err)
	}
	now = now.Add(59 * time.Minute)
	if events, _, err := again.Events(time.Unix(0, 0), ""); err != nil || len(events) != 0 {
		t.Errorf("events before their time: %v, %v", events, err)
	}
	now = now.Add(time.Hour + time.Minute)
	events, next, err := again.Events(time.Unix(0, 0), "")
	var all []string
	for _, e := range events {
		all = append(all, fmt.Sprintf("%v %v %d %d", e.Kind, e.Payment, e.Amount, e.Fee))
	}
	if got := strings.Join(all, ", "); err != nil || next != "" || got != "settled 1 60 0, settled 2 99 1, taken_back 1 50 0" {
		t.Errorf("%s, %q, %v", got, next, err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte("{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "is damaged at byte 0") {
		t.Error(err)
	}
}

// TestAtOnce: one key from many processes at once is one charge.
func TestAtOnce(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	var all sync.WaitGroup
	for range 4 {
		s := open(t, dir, &now)
		for range 4 {
			all.Go(func() {
				for n := range uint64(20) {
					if got := call(s, fmt.Sprint("key ", n), "authorize", n, 10, "visa"); got != "authorized 0/10-0" {
						t.Error(got)
					}
				}
			})
		}
	}
	all.Wait()
	totals, err := open(t, dir, &now).Totals()
	if err != nil || totals.Authorized != 20 || totals.Calls != 320 || totals.Repeats != 300 {
		t.Errorf("%+v, %v", totals, err)
	}
}

// TestPages: long lists come in parts, each once.
func TestPages(t *testing.T) {
	now := time.Now()
	s := open(t, t.TempDir(), &now)
	const n = 2*page + 7
	for i := range uint64(n) {
		call(s, fmt.Sprint("a", i), "authorize", i+1, 10, "visa")
		call(s, fmt.Sprint("c", i), "capture", i+1, 10, "")
	}
	now = now.Add(2 * time.Hour)
	count := func(what string, read func(cursor string) (int, string, error)) {
		t.Helper()
		sum := 0
		for cursor := ""; ; {
			got, next, err := read(cursor)
			if err != nil {
				t.Fatal(err)
			}
			if sum += got; next == "" {
				break
			}
			cursor = next
		}
		if sum != n {
			t.Errorf("%d %s, want %d", sum, what, n)
		}
	}
	count("charges", func(cursor string) (int, string, error) {
		all, next, err := s.Charges(time.Unix(0, 0), now, cursor)
		return len(all), next, err
	})
	count("events", func(cursor string) (int, string, error) {
		all, next, err := s.Events(time.Unix(0, 0), cursor)
		return len(all), next, err
	})
	if _, _, err := s.Charges(now, now, "x"); err == nil {
		t.Error("a cursor of somebody else's is taken")
	}
}
