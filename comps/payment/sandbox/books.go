package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// entry is one line of the books: a call, and what was decided about it. The lines before it
// and the entry alone say what follows.
type entry struct {
	Time      int64  `json:"time"` // nanoseconds since 1970
	Key       string `json:"key,omitempty"`
	Operation string `json:"operation"`
	Payment   string `json:"payment"`
	Refund    string `json:"refund,omitempty"`
	Amount    uint64 `json:"amount,omitempty"`
	Token     string `json:"token,omitempty"`
	// Repeats: the key was used before, and the call is answered as then.
	Repeats bool `json:"repeats,omitempty"`
	// NotDone: it failed before anything was done.
	NotDone bool `json:"not_done,omitempty"`
	// Refused is why the provider refuses for good.
	Refused string `json:"refused,omitempty"`
	// Expires: the authorization is given up right away.
	Expires bool `json:"expires,omitempty"`
}

// books is what the lines come to.
type books struct {
	settleAfter    time.Duration
	keys           map[string]*entry     // the first call of each key that was decided
	charges        map[string][]*account // by payment: a second one is somebody's mistake
	order          []*account            // in the order in which they were made
	attempts       map[string]int        // of each step of a payment
	events         []paymentpb.ChargeEvent
	calls, repeats int
}

// account is one payment at the provider.
type account struct {
	paymentpb.Charge
	script script
	paid   uint64 // when it is paid out; 0: it is not captured
}

func newBooks(settleAfter time.Duration) books {
	return books{settleAfter: settleAfter, keys: map[string]*entry{}, charges: map[string][]*account{}, attempts: map[string]int{}}
}

// last is the newest charge of a payment, on which calls work; nil for none.
func (b *books) last(payment string) *account {
	all := b.charges[payment]
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// told is a charge as it stands now.
func (a *account) told() paymentpb.Charge {
	c := a.Charge
	c.Refunds = slices.Clone(a.Refunds)
	return c
}

// trouble is what the script does to a call.
func (b *books) trouble(e *entry) string {
	s := script(nil)
	if a := b.last(e.Payment); a != nil {
		s = a.script
	} else if e.Operation == stepAuthorize {
		s, _ = parseToken(e.Token) // it was looked at before
	}
	return s.at(e.Operation, b.attempts[e.Operation+" "+e.Payment+" "+e.Refund])
}

// refuse is why a call is refused for good, "" when it is not.
func (b *books) refuse(e *entry, trouble string) string {
	if trouble == troubleDecline {
		return "sandbox: the card was declined"
	}
	a := b.last(e.Payment)
	if e.Operation == stepAuthorize {
		return "" // also where there is one already: another key is another charge
	}
	if a == nil {
		return "sandbox: there is no such payment"
	}
	switch e.Operation {
	case paymentpb.Capture:
		switch {
		case a.Status != paymentpb.ChargeStatusAuthorized:
			return "sandbox: the payment is not authorized"
		case e.Amount == 0 || e.Amount > a.Amount:
			return fmt.Sprintf("sandbox: %d cannot be captured of %d", e.Amount, a.Amount)
		}
	case paymentpb.Void:
		if a.Status == paymentpb.ChargeStatusCaptured {
			return "sandbox: the payment is captured"
		}
	case paymentpb.Refund:
		if a.Status != paymentpb.ChargeStatusCaptured || e.Amount == 0 || a.Refunded+e.Amount > a.Captured {
			return fmt.Sprintf("sandbox: %d cannot be refunded: %d was captured, and %d refunded", e.Amount, a.Captured, a.Refunded)
		}
	default:
		return "sandbox: no such operation"
	}
	return ""
}

// apply takes in one line.
func (b *books) apply(e *entry) {
	b.attempts[e.Operation+" "+e.Payment+" "+e.Refund]++
	if e.Operation != stepFind {
		b.calls++
	}
	if e.Repeats {
		b.repeats++
	}
	if e.NotDone || e.Repeats {
		return
	}
	b.keys[e.Key] = e
	a := b.last(e.Payment)
	if e.Operation == stepAuthorize {
		b.authorize(e)
		return
	}
	if e.Refused != "" {
		if e.Operation == paymentpb.Refund && a != nil {
			a.Refunds = append(a.Refunds, paymentpb.ChargeRefund{Refund: id(e.Refund), Reference: "re_" + e.Refund, Amount: e.Amount, Failed: true})
		}
		return
	}
	switch e.Operation {
	case paymentpb.Capture:
		a.Status, a.Captured = paymentpb.ChargeStatusCaptured, e.Amount
		a.paid = uint64(e.Time + b.settleAfter.Nanoseconds())
		fee := e.Amount / feePart
		b.happens(paymentpb.ChargeEvent{Kind: paymentpb.ChargeEventKindSettled, Payment: a.Payment, Amount: e.Amount - fee, Fee: fee, Time: a.paid})
	case paymentpb.Void:
		if a.Status == paymentpb.ChargeStatusAuthorized {
			a.Status = paymentpb.ChargeStatusReleased
			b.happens(paymentpb.ChargeEvent{Kind: paymentpb.ChargeEventKindReleased, Payment: a.Payment, Time: uint64(e.Time)})
		}
	case paymentpb.Refund:
		a.Refunded += e.Amount
		a.Refunds = append(a.Refunds, paymentpb.ChargeRefund{Refund: id(e.Refund), Reference: "re_" + e.Refund, Amount: e.Amount})
		b.happens(paymentpb.ChargeEvent{Kind: paymentpb.ChargeEventKindTakenBack, Payment: a.Payment, Refund: id(e.Refund), Amount: e.Amount,
			Time: max(a.paid, uint64(e.Time)) + uint64(b.settleAfter)})
	}
}

func (b *books) authorize(e *entry) {
	a := &account{Charge: paymentpb.Charge{Payment: id(e.Payment), Reference: "ch_" + strconv.Itoa(len(b.order)+1), Created: uint64(e.Time)}}
	b.charges[e.Payment] = append(b.charges[e.Payment], a)
	b.order = append(b.order, a)
	a.script, _ = parseToken(e.Token)
	a.Amount, a.Status, a.Reason = e.Amount, paymentpb.ChargeStatusAuthorized, ""
	switch {
	case e.Refused != "":
		a.Status, a.Reason = paymentpb.ChargeStatusFailed, e.Refused
	case e.Expires:
		a.Status = paymentpb.ChargeStatusReleased
		b.happens(paymentpb.ChargeEvent{Kind: paymentpb.ChargeEventKindReleased, Payment: a.Payment, Time: uint64(e.Time)})
	}
}

// happens notes an event in the order of their times.
func (b *books) happens(e paymentpb.ChargeEvent) {
	e.Reference = "ev_" + strconv.Itoa(len(b.events)+1)
	at, _ := slices.BinarySearchFunc(b.events, e.Time+1, func(x paymentpb.ChargeEvent, t uint64) int { return cmp.Compare(x.Time, t) })
	b.events = slices.Insert(b.events, at, e)
}

// eventsFrom returns the events from a time on.
func (b *books) eventsFrom(since uint64) []paymentpb.ChargeEvent {
	at, _ := slices.BinarySearchFunc(b.events, since, func(x paymentpb.ChargeEvent, t uint64) int { return cmp.Compare(x.Time, t) })
	return b.events[at:]
}

func (b *books) tellsTwice(payment string) bool {
	a := b.last(payment)
	return a != nil && a.script.at(stepEvent, 0) == troubleTwice
}

func id(number string) u128.Int {
	n, _ := u128.Parse(number) // it was written from one
	return n
}

// The steps that tokens may trouble, beside the operations.
const (
	stepAuthorize = paymentpb.Authorize
	stepFind      = "find"
	stepEvent     = "event"
)

// The troubles.
const (
	troubleDecline      = "decline"
	troubleError        = "error"
	troubleErrorAfter   = "error-after"
	troubleTimeout      = "timeout"
	troubleTimeoutAfter = "timeout-after"
	troubleLimit        = "limit"
	troubleSlow         = "slow"
	troubleExpire       = "expire"
	troubleTwice        = "twice"
	troubleBlind        = "blind"
)

// script is the faults of a token, in their order.
type script []fault

type fault struct {
	step, trouble string
	times         int
}

const always = 1 << 30

// parseToken reads a token.
func parseToken(token string) (script, error) {
	parts := strings.Split(token, ",")
	if parts[0] == "" {
		return nil, fmt.Errorf("sandbox: there is no card behind the token")
	}
	var s script
	for _, part := range parts[1:] {
		step, rest, ok := strings.Cut(part, ":")
		trouble, times, counted := strings.Cut(rest, "*")
		f := fault{step: step, trouble: trouble, times: 1}
		switch {
		case trouble == troubleDecline || trouble == troubleTwice || counted && times == "":
			f.times = always
		case counted:
			n, err := strconv.Atoi(times)
			if err != nil || n < 1 {
				ok = false
			}
			f.times = n
		}
		steps := []string{paymentpb.Authorize, paymentpb.Capture, paymentpb.Void, paymentpb.Refund, stepFind, stepEvent}
		troubles := []string{troubleDecline, troubleError, troubleErrorAfter, troubleTimeout, troubleTimeoutAfter, troubleLimit, troubleSlow, troubleExpire, troubleTwice, troubleBlind}
		if !ok || !slices.Contains(steps, step) || !slices.Contains(troubles, trouble) {
			return nil, fmt.Errorf("sandbox: the token's part %q is not STEP:FAULT or STEP:FAULT*TIMES", part)
		}
		s = append(s, f)
	}
	return s, nil
}

// at is the trouble of a step whose earlier attempts are counted; "" for none.
func (s script) at(step string, earlier int) string {
	for _, f := range s {
		if f.step != step {
			continue
		}
		if earlier < f.times {
			return f.trouble
		}
		earlier -= f.times
	}
	return ""
}
