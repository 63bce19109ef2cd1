package stripe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/freeport"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/sim/require"
)

// mockVersion is of github.com/stripe/stripe-mock, Stripe's own server for tests. It is no
// dependency of this module: the test builds it.
const mockVersion = "v0.203.0"

// startMock builds and starts stripe-mock, and returns where it answers.
func startMock(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "install", "github.com/stripe/stripe-mock@"+mockVersion)
	build.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		require.Skip(t, "needs github.com/stripe/stripe-mock "+mockVersion+", which cannot be built: "+lines[len(lines)-1])
	}
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	log, err := os.Create(filepath.Join(bin, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "stripe-mock"), "-http-addr", address, "-strict-version-check=false")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp4", address); err == nil {
			c.Close()
			return "http://" + address
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("stripe-mock does not answer: %s", text)
		}
	}
}

func timed(t *testing.T) context.Context {
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(stop)
	return ctx
}

// TestMock: Stripe's own description of its interface takes every request that is made here
// as well-formed, and its answers are understood. Its mock server keeps no state: it answers
// with examples.
func TestMock(t *testing.T) {
	url := startMock(t)
	a := newAccount(&paymentpb.ProviderAccount{Name: "stripe", Key: "sk_test_123", Url: url, Currency: "eur"})
	ctx := timed(t)
	id, refund := u128.Int{Hi: 77, Lo: 1}, u128.Int{Hi: 77, Lo: 2}
	for _, in := range []paymentpb.CallRequest{
		{Operation: paymentpb.Authorize, Amount: 1999, Token: "pm_card_visa", Description: "order 17"},
		{Operation: paymentpb.Capture, Amount: 1500, Reference: "pi_1"},
		{Operation: paymentpb.Void, Reference: "pi_1"},
		{Operation: paymentpb.Refund, Amount: 500, Refund: refund, Reference: "pi_1"},
	} {
		in.Key, in.Payment = "key of "+in.Operation, id
		c, err := a.do(ctx, &in)
		if err != nil || !strings.HasPrefix(c.Reference, "pi_") || c.Created == 0 {
			t.Errorf("%s: %v, %v", in.Operation, c, err)
			continue
		}
		if in.Operation == paymentpb.Authorize && c.Amount != 1999 {
			t.Errorf("the mock repeats the amount that it was told, and that is %v", c)
		}
		if in.Operation == paymentpb.Refund && (len(c.Refunds) == 0 || c.Refunds[len(c.Refunds)-1].Refund != refund) && c.Status == paymentpb.ChargeStatusCaptured {
			t.Errorf("refund: %v", c)
		}
	}
	if all, err := a.find(ctx, id, "pi_1"); err != nil || len(all) != 1 {
		t.Errorf("found by name: %v, %v", all, err)
	}
	if _, err := a.find(ctx, id, ""); err != nil {
		t.Errorf("found by metadata: %v", err)
	}
	if _, _, err := a.charges(ctx, time.Unix(0, 0), time.Now(), ""); err != nil {
		t.Errorf("charges: %v", err)
	}
	if _, _, err := a.events(ctx, time.Unix(0, 0), ""); err != nil {
		t.Errorf("events: %v", err)
	}
	// It does look: a key that is none is refused.
	wrong := newAccount(&paymentpb.ProviderAccount{Key: "not a key", Url: url, Currency: "eur"})
	_, err := wrong.do(ctx, &paymentpb.CallRequest{Operation: paymentpb.Authorize, Key: "k", Payment: id, Amount: 1, Token: "pm_card_visa"})
	if f := faultOf(err); f == nil || f.Class != paymentpb.FaultClassMisconfigured {
		t.Errorf("a wrong key: %v", err)
	}
}

// desk is a Stripe that keeps state, as far as payments go, and does as it is told.
type desk struct {
	mu      sync.Mutex
	intents map[string]*intent
	answers map[string]func(w http.ResponseWriter) // by idempotency key: what was answered first
	blind   bool                                   // the search lags behind
	trouble func(r *http.Request) int              // a status to answer with, before anything is done; 0: none
	lose    func(r *http.Request) bool             // the answer is lost, and it was done
}

type intent struct {
	ID       string            `json:"id"`
	Object   string            `json:"object"`
	Status   string            `json:"status"`
	Amount   int64             `json:"amount"`
	Received int64             `json:"amount_received"`
	Created  int64             `json:"created"`
	Metadata map[string]string `json:"metadata"`
	Charge   struct {
		ID       string `json:"id"`
		Refunded int64  `json:"amount_refunded"`
	} `json:"latest_charge"`
	Error   *problem `json:"last_payment_error,omitempty"`
	refunds []*refund
}

type refund struct {
	ID       string            `json:"id"`
	Status   string            `json:"status"`
	Amount   int64             `json:"amount"`
	Metadata map[string]string `json:"metadata"`
}

type problem struct {
	Type string `json:"type"`
	Code string `json:"code"`
	Msg  string `json:"message"`
}

func newDesk(t *testing.T) (*desk, *account) {
	d := &desk{intents: map[string]*intent{}, answers: map[string]func(http.ResponseWriter){}}
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	return d, newAccount(&paymentpb.ProviderAccount{Key: "sk_test_123", Url: s.URL, Currency: "eur"})
}

// set changes what it does from now on.
func (d *desk) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// charges counts what was made.
func (d *desk) charges() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.intents)
}

func answer(status int, v any) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Request-Id", "req_1")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
}

func failure(status int, p problem) func(http.ResponseWriter) {
	return answer(status, map[string]any{"error": p})
}

// ServeHTTP answers as Stripe does: a key that was used before is answered as then.
func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trouble != nil {
		if status := d.trouble(r); status != 0 {
			failure(status, problem{Type: "api_error", Msg: "trouble"})(w)
			return
		}
	}
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	key := r.Header.Get("Idempotency-Key")
	f := d.answers[key]
	if f == nil || r.Method != http.MethodPost {
		f = d.serve(r, form)
		if r.Method == http.MethodPost {
			d.answers[key] = f
		}
	}
	if d.lose != nil && d.lose(r) {
		panic(http.ErrAbortHandler)
	}
	f(w)
}

func (d *desk) serve(r *http.Request, form url.Values) func(http.ResponseWriter) {
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	list := func(items any) func(http.ResponseWriter) {
		return answer(200, map[string]any{"object": "list", "data": items, "has_more": false})
	}
	amount := func(name string) (n int64) {
		fmt.Sscan(form.Get(name), &n)
		return n
	}
	switch {
	case r.Method == http.MethodPost && len(path) == 1 && path[0] == "payment_intents":
		in := &intent{ID: fmt.Sprintf("pi_%d", len(d.intents)+1), Object: "payment_intent", Status: "requires_capture", Amount: amount("amount"), Created: 1_000_000,
			Metadata: map[string]string{metaPayment: form.Get("metadata[" + metaPayment + "]")}}
		in.Charge.ID = "ch_" + in.ID
		d.intents[in.ID] = in
		if form.Get("payment_method") == "pm_declined" {
			in.Status, in.Error = "requires_payment_method", &problem{"card_error", "card_declined", "Your card was declined."}
			return failure(402, *in.Error)
		}
		return answer(200, in)
	case path[0] == "payment_intents" && len(path) == 2 && path[1] == "search":
		var found []*intent
		for _, in := range d.intents { // in any order
			if !d.blind && strings.Contains(r.URL.Query().Get("query"), "'"+in.Metadata[metaPayment]+"'") {
				found = append(found, in)
			}
		}
		return list(found)
	case path[0] == "payment_intents" && len(path) == 1:
		var all []*intent
		for _, in := range d.intents { // in any order
			all = append(all, in)
		}
		return list(all)
	case path[0] == "payment_intents" && d.intents[path[1]] == nil:
		return failure(404, problem{"invalid_request_error", "resource_missing", "No such payment_intent"})
	case path[0] == "payment_intents" && len(path) == 2:
		return answer(200, d.intents[path[1]])
	case path[0] == "payment_intents":
		in := d.intents[path[1]]
		if in.Status != "requires_capture" {
			return failure(400, problem{"invalid_request_error", "payment_intent_unexpected_state", "it is " + in.Status})
		}
		in.Status = "canceled"
		if path[2] == "capture" {
			in.Status, in.Received = "succeeded", amount("amount_to_capture")
		}
		return answer(200, in)
	case path[0] == "refunds" && r.Method == http.MethodPost:
		in := d.intents[form.Get("payment_intent")]
		out := &refund{"re_" + fmt.Sprint(len(in.refunds)+1), "succeeded", amount("amount"), map[string]string{
			metaPayment: form.Get("metadata[" + metaPayment + "]"), metaRefund: form.Get("metadata[" + metaRefund + "]")}}
		in.Charge.Refunded += out.Amount
		in.refunds = append(in.refunds, out)
		return answer(200, out)
	case path[0] == "refunds":
		return list(d.intents[r.URL.Query().Get("payment_intent")].refunds)
	case path[0] == "events":
		return list([]any{map[string]any{"id": "evt_1", "object": "event", "created": 50, "type": "payment_intent.canceled",
			"data": map[string]any{"object": map[string]any{"id": "pi_9", "metadata": map[string]string{metaPayment: "99"}}}}})
	case path[0] == "payouts":
		return list([]any{map[string]any{"id": "po_1", "automatic": true, "arrival_date": 40}, map[string]any{"id": "po_2", "automatic": false, "arrival_date": 41}})
	case path[0] == "balance_transactions":
		return list([]any{
			map[string]any{"id": "txn_1", "amount": 1000, "fee": 30, "net": 970, "source": map[string]any{"id": "ch_1", "object": "charge", "metadata": map[string]string{metaPayment: "77"}}},
			map[string]any{"id": "txn_2", "amount": -200, "fee": 0, "net": -200, "source": map[string]any{"id": "re_1", "object": "refund", "metadata": map[string]string{metaPayment: "77", metaRefund: "78"}}},
			map[string]any{"id": "txn_3", "amount": 5, "net": 5, "source": map[string]any{"id": "ch_2", "object": "charge"}},
		})
	}
	return failure(404, problem{"invalid_request_error", "", "no such path"})
}

// TestLife: a payment at Stripe, from its token to its refund, and each call again.
func TestLife(t *testing.T) {
	d, a := newDesk(t)
	ctx := timed(t)
	id, back := u128.Int{Hi: 77, Lo: 1}, u128.Int{Hi: 77, Lo: 2}
	say := func(in paymentpb.CallRequest) string {
		t.Helper()
		in.Payment = id
		c, err := a.do(ctx, &in)
		if f := faultOf(err); f != nil {
			return fmt.Sprintf("%v: %s", f.Class, f.Reason)
		}
		return fmt.Sprintf("%s %v %d/%d-%d, %d refunds", c.Reference, c.Status, c.Captured, c.Amount, c.Refunded, len(c.Refunds))
	}
	for range 2 { // the same keys: nothing happens again
		for _, x := range []struct {
			in   paymentpb.CallRequest
			want string
		}{
			{paymentpb.CallRequest{Key: "a", Operation: "authorize", Amount: 1000, Token: "pm_visa"}, "pi_1 authorized 0/1000-0, 0 refunds"},
			{paymentpb.CallRequest{Key: "b", Operation: "capture", Amount: 700, Reference: "pi_1"}, "pi_1 captured 700/1000-0, 0 refunds"},
			{paymentpb.CallRequest{Key: "c", Operation: "capture", Amount: 700}, "refused: stripe: 400 invalid_request_error: payment_intent_unexpected_state: it is succeeded (req_1)"},
			{paymentpb.CallRequest{Key: "d", Operation: "refund", Amount: 200, Refund: back}, "pi_1 captured 700/1000-200, 1 refunds"},
			{paymentpb.CallRequest{Key: "e", Operation: "void", Reference: "pi_7"}, "refused: stripe: 404 invalid_request_error: resource_missing: No such payment_intent (req_1)"},
		} {
			if got := say(x.in); got != x.want && !(x.in.Key == "a" && strings.HasPrefix(got, "pi_1 captured")) && !(x.in.Key == "b" && strings.HasSuffix(got, "700/1000-200, 0 refunds")) {
				t.Errorf("%s %s: %s, want %s", x.in.Key, x.in.Operation, got, x.want)
			}
		}
	}
	refunded := int64(0)
	d.set(func() { refunded = d.intents["pi_1"].Charge.Refunded })
	if d.charges() != 1 || refunded != 200 {
		t.Errorf("%d charges, %d refunded", d.charges(), refunded)
	}
	all, _, err := a.charges(ctx, time.Unix(0, 0), time.Now(), "")
	if err != nil || len(all) != 1 || all[0].Payment != id || all[0].Captured != 700 || all[0].Refunded != 200 {
		t.Errorf("%v, %v", all, err)
	}
	events, next, err := a.events(ctx, time.Unix(0, 0), "")
	var told []string
	for _, e := range events {
		told = append(told, fmt.Sprintf("%v %v %v %d %d at %d", e.Kind, e.Payment, e.Refund, e.Amount, e.Fee, e.Time/1e9))
	}
	if got := strings.Join(told, "; "); err != nil || next != "" || got != "settled 77 0 970 30 at 40; taken_back 77 78 200 0 at 40; released 99 0 0 0 at 50" {
		t.Errorf("%s, %q, %v", got, next, err)
	}
}

// TestTroubles: what Stripe's answers mean, and that a call which was done and not heard of
// is found, or made again to no effect.
func TestTroubles(t *testing.T) {
	ctx := timed(t)
	class := func(err error) paymentpb.FaultClass {
		if f := faultOf(err); f != nil {
			return f.Class
		}
		return paymentpb.FaultClassNone
	}
	in := func(token string) *paymentpb.CallRequest {
		return &paymentpb.CallRequest{Key: "key", Operation: paymentpb.Authorize, Payment: u128.Int{Hi: 77, Lo: 1}, Amount: 1000, Token: token}
	}
	for status, want := range map[int]paymentpb.FaultClass{400: paymentpb.FaultClassRefused, 401: paymentpb.FaultClassMisconfigured, 403: paymentpb.FaultClassMisconfigured,
		409: paymentpb.FaultClassUnknown, 429: paymentpb.FaultClassUnknown, 500: paymentpb.FaultClassUnknown, 503: paymentpb.FaultClassUnknown} {
		d, a := newDesk(t)
		d.set(func() { d.trouble = func(*http.Request) int { return status } })
		if _, err := a.do(ctx, in("pm_visa")); class(err) != want || d.charges() != 0 {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
	}
	_, a := newDesk(t)
	if _, err := a.do(ctx, in("pm_declined")); class(err) != paymentpb.FaultClassRefused || !strings.Contains(faultOf(err).Reason, "Your card was declined.") {
		t.Errorf("a declined card: %v", err)
	}
	if all, err := a.find(ctx, in("").Payment, ""); err != nil || len(all) != 1 || all[0].Status != paymentpb.ChargeStatusFailed || all[0].Reason != "stripe: Your card was declined." {
		t.Errorf("a declined card is found as %v, %v", all, err)
	}
	d, a := newDesk(t)
	lost := 0
	d.set(func() { d.lose = func(*http.Request) bool { lost++; return lost == 1 } })
	if _, err := a.do(ctx, in("pm_visa")); class(err) != paymentpb.FaultClassUnknown || d.charges() != 1 {
		t.Errorf("an answer that is lost: %v, %d charges", err, d.charges())
	}
	d.set(func() { d.blind = true })
	if all, err := a.find(ctx, in("").Payment, ""); err != nil || len(all) != 0 {
		t.Errorf("the search finds too soon: %v, %v", all, err)
	}
	if c, err := a.do(ctx, in("pm_visa")); err != nil || c.Status != paymentpb.ChargeStatusAuthorized || d.charges() != 1 {
		t.Errorf("made again: %v, %v, %d charges", c, err, d.charges())
	}
	late, stop := context.WithCancel(ctx)
	stop()
	if _, err := a.do(late, in("pm_visa")); class(err) != paymentpb.FaultClassUnknown || !errors.Is(err, context.Canceled) {
		t.Errorf("no time left: %v", err)
	}
}
