// Package sandbox is a payment provider that moves no money: to try payments, and to test
// them. It keeps books of its own, which outlive every process, so that what was charged
// can be counted; and it fails on script.
//
// # A token
//
// Any word stands for a card that pays. Behind it, after commas, stand faults: a step, what
// goes wrong with it, and how often ("*2", "*" for always; otherwise once):
//
//	visa                                  pays
//	visa,authorize:decline                is declined
//	visa,capture:timeout-after*2          is captured, and nobody hears it until the third call
//
//	step            authorize, capture, void, refund; find: the question what became of it;
//	                event: what happens by itself
//	decline         refused for good, always
//	error           an answer of 503; nothing was done
//	error-after     the same, and it was done
//	timeout         no answer; nothing was done
//	timeout-after   no answer, and it was done
//	limit           an answer of 429 (too many requests); nothing was done
//	slow            a quarter of a second
//	expire          of authorize: done, and given up by itself right after
//	twice           of event: each one is told twice
//	blind           of find: it is not found yet, as in the lists of providers that lag behind
//
// # The books
//
// One file in a directory of its own, books.jsonl: a line of JSON for each call, written
// and synced before the call is answered. SFUs share it: they lock it for each call. What
// stands there decides, not what a process remembers; a line that was cut off by a power
// failure was never answered, and goes.
//
// Captured payments are paid out after a while, less a fee of one per cent.
package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

const (
	// file is the name of the books in their directory.
	file = "books.jsonl"
	// slow is how long a call takes that the script slows down, and limited how long one
	// has to wait that came too soon.
	slow    = 250 * time.Millisecond
	limited = 100 * time.Millisecond
	// page is the longest list that is answered at once.
	page = 200
	// feePart is what part of a payment the provider keeps.
	feePart = 100
)

// Config describes a Sandbox.
type Config struct {
	// Dir is where the books are; it is made if it is missing.
	Dir string
	// SettleAfter is how long a captured payment waits for its payout.
	SettleAfter time.Duration
	// Now is the provider's clock; nil means the wall clock.
	Now func() time.Time
}

// Sandbox is the provider as one process sees it. Its methods may be used from any number of
// goroutines.
type Sandbox struct {
	cfg Config

	mu    sync.Mutex // guards what is below
	f     *os.File
	read  int64 // bytes of the file that are taken in
	books books
}

// Open opens the books.
func Open(cfg Config) (*Sandbox, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("sandbox: the directory of the books: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(cfg.Dir, file), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("sandbox: the books: %w", err)
	}
	s := &Sandbox{cfg: cfg, f: f, books: newBooks(cfg.SettleAfter)}
	if err := s.locked(func() error { return nil }); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the books.
func (s *Sandbox) Close() error { return s.f.Close() }

// locked runs f while no other process changes the books, with all that is in them.
func (s *Sandbox) locked(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := unix.Flock(int(s.f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("sandbox: locking the books: %w", err)
	}
	defer unix.Flock(int(s.f.Fd()), unix.LOCK_UN)
	if err := s.catchUp(); err != nil {
		return err
	}
	return f()
}

// catchUp takes in what others have written, and cuts off a line without an end.
func (s *Sandbox) catchUp() error {
	info, err := s.f.Stat()
	if err != nil {
		return fmt.Errorf("sandbox: the books: %w", err)
	}
	if info.Size() == s.read {
		return nil
	}
	r := bufio.NewReader(io.NewSectionReader(s.f, s.read, info.Size()-s.read))
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) == 0 {
				return nil
			}
			if err := s.f.Truncate(s.read); err != nil {
				return fmt.Errorf("sandbox: the books: %w", err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("sandbox: the books: %w", err)
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("sandbox: %s is damaged at byte %d: %w", s.f.Name(), s.read, err)
		}
		s.read += int64(len(line))
		s.books.apply(&e)
	}
}

// write puts an entry into the books for good.
func (s *Sandbox) write(e *entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if _, err = s.f.Write(append(line, '\n')); err == nil {
		err = unix.Fdatasync(int(s.f.Fd()))
	}
	if err != nil {
		return fmt.Errorf("sandbox: writing the books: %w", err)
	}
	s.read += int64(len(line)) + 1
	s.books.apply(e)
	return nil
}

// Do makes a call. The fault is the provider's answer, the error that of its books.
func (s *Sandbox) Do(ctx context.Context, in *paymentpb.CallRequest) (charge *paymentpb.Charge, fault *paymentpb.ProviderFault, err error) {
	if in.Operation == paymentpb.Authorize {
		if _, err := parseToken(in.Token); err != nil {
			return nil, &paymentpb.ProviderFault{Class: paymentpb.FaultClassRefused, Reason: err.Error()}, nil
		}
	}
	var trouble string
	err = s.locked(func() error {
		e := &entry{Time: s.cfg.Now().UnixNano(), Key: in.Key, Operation: in.Operation, Payment: number(in.Payment), Refund: number(in.Refund),
			Amount: in.Amount, Token: in.Token}
		if old := s.books.keys[in.Key]; old != nil {
			e.Repeats = true
			if old.Operation != e.Operation || old.Payment != e.Payment || old.Refund != e.Refund || old.Amount != e.Amount {
				fault = &paymentpb.ProviderFault{Class: paymentpb.FaultClassMisconfigured, Reason: "sandbox: the idempotency key was used for another call"}
				return nil
			}
		}
		trouble = s.books.trouble(e)
		e.NotDone = trouble == troubleError || trouble == troubleTimeout || trouble == troubleLimit
		if !e.NotDone && !e.Repeats {
			e.Refused = s.books.refuse(e, trouble)
			e.Expires = trouble == troubleExpire
		}
		if err := s.write(e); err != nil {
			return err
		}
		if first := s.books.keys[in.Key]; first != nil && first.Refused != "" {
			fault = &paymentpb.ProviderFault{Class: paymentpb.FaultClassRefused, Reason: first.Refused}
		}
		if a := s.books.last(e.Payment); a != nil {
			c := a.told()
			charge = &c
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	switch trouble {
	case troubleError, troubleErrorAfter:
		fault = &paymentpb.ProviderFault{Class: paymentpb.FaultClassUnknown, Reason: "sandbox: 503"}
	case troubleLimit:
		fault = &paymentpb.ProviderFault{Class: paymentpb.FaultClassUnknown, Reason: "sandbox: 429: too many requests", AfterMillis: uint64(limited.Milliseconds())}
	case troubleTimeout, troubleTimeoutAfter:
		<-ctx.Done()
		fault = &paymentpb.ProviderFault{Class: paymentpb.FaultClassUnknown, Reason: "sandbox: no answer"}
	case troubleSlow:
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			fault = &paymentpb.ProviderFault{Class: paymentpb.FaultClassUnknown, Reason: "sandbox: no answer in time"}
		}
	}
	if fault != nil {
		charge = nil
	}
	return charge, fault, nil
}

// Find returns the charges of a payment.
func (s *Sandbox) Find(ctx context.Context, payment u128.Int) (out []paymentpb.Charge, fault *paymentpb.ProviderFault, err error) {
	trouble := ""
	err = s.locked(func() error {
		e := &entry{Time: s.cfg.Now().UnixNano(), Operation: stepFind, Payment: number(payment), NotDone: true}
		if trouble = s.books.trouble(e); trouble != "" {
			if err := s.write(e); err != nil {
				return err
			}
		}
		for _, a := range s.books.charges[e.Payment] {
			out = append(out, a.told())
		}
		return nil
	})
	switch trouble {
	case troubleTimeout, troubleTimeoutAfter:
		<-ctx.Done()
		fallthrough
	case troubleError, troubleErrorAfter, troubleLimit:
		return nil, &paymentpb.ProviderFault{Class: paymentpb.FaultClassUnknown, Reason: "sandbox: no answer"}, err
	}
	if trouble == troubleBlind {
		out = nil
	}
	return out, nil, err
}

// Charges returns charges by the time when they were made, from since on and before until.
func (s *Sandbox) Charges(since, until time.Time, cursor string) (out []paymentpb.Charge, next string, err error) {
	at, err := position(cursor)
	if err != nil {
		return nil, "", err
	}
	err = s.locked(func() error {
		for ; at < len(s.books.order) && len(out) < page; at++ {
			a := s.books.order[at]
			if t := int64(a.Created); t >= since.UnixNano() && t < until.UnixNano() {
				out = append(out, a.told())
			}
		}
		if at < len(s.books.order) {
			next = fmt.Sprint(at)
		}
		return nil
	})
	return out, next, err
}

// Events returns what has happened by itself from a time on, the oldest first.
func (s *Sandbox) Events(since time.Time, cursor string) (out []paymentpb.ChargeEvent, next string, err error) {
	at, err := position(cursor)
	if err != nil {
		return nil, "", err
	}
	err = s.locked(func() error {
		now := uint64(s.cfg.Now().UnixNano())
		events := s.books.eventsFrom(uint64(max(since.UnixNano(), 0)))
		for ; at < len(events) && events[at].Time <= now; at++ {
			if len(out) >= page {
				next = fmt.Sprint(at)
				break
			}
			out = append(out, events[at])
			if s.books.tellsTwice(number(events[at].Payment)) {
				out = append(out, events[at])
			}
		}
		return nil
	})
	return out, next, err
}

func position(cursor string) (int, error) {
	if cursor == "" {
		return 0, nil
	}
	var n int
	if _, err := fmt.Sscanf(cursor, "%d", &n); err != nil || n < 0 {
		return 0, fmt.Errorf("sandbox: the cursor %q is none of its own", cursor)
	}
	return n, nil
}

// Totals is what the books come to, for whoever compares.
type Totals struct {
	// Calls that came, and Repeats of keys among them.
	Calls, Repeats int
	// Captured are the charges that took money, by payment: one each, or money was taken
	// twice.
	Captured   map[u128.Int][]paymentpb.Charge
	Authorized int // that still hold money
	// Operations is how often each was done.
	Operations map[string]int
}

// Totals counts the books.
func (s *Sandbox) Totals() (t Totals, err error) {
	t.Captured, t.Operations = map[u128.Int][]paymentpb.Charge{}, map[string]int{}
	err = s.locked(func() error {
		t.Calls, t.Repeats = s.books.calls, s.books.repeats
		for _, a := range s.books.order {
			switch a.Status {
			case paymentpb.ChargeStatusCaptured:
				t.Captured[a.Payment] = append(t.Captured[a.Payment], a.told())
			case paymentpb.ChargeStatusAuthorized:
				t.Authorized++
			}
		}
		for _, e := range s.books.keys {
			if e.Refused == "" {
				t.Operations[e.Operation]++
			}
		}
		return nil
	})
	return t, err
}

// Holds reports whether a text stands anywhere in the books, for a test that looks for what
// must not.
func (s *Sandbox) Holds(text string) (bool, error) {
	data, err := os.ReadFile(s.f.Name())
	return bytes.Contains(data, []byte(text)), err
}

// number is an id in the books.
func number(id u128.Int) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
