package effects

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Doer does effects. Do may be called from several goroutines at once, with different
// effects; it returns one result for each attempt, in their order.
type Doer interface {
	Do(ctx context.Context, batch []Attempt) []Result
}

// DoFunc is a function as a Doer.
type DoFunc func(ctx context.Context, batch []Attempt) []Result

// Do implements Doer.
func (f DoFunc) Do(ctx context.Context, batch []Attempt) []Result { return f(ctx, batch) }

// Each does the attempts of a batch one after the other.
func Each(ctx context.Context, batch []Attempt, do func(ctx context.Context, a *Attempt) Result) []Result {
	out := make([]Result, len(batch))
	for i := range batch {
		out[i] = do(ctx, &batch[i])
	}
	return out
}

// Key names an effect: no other effect, of any cluster, ever has it.
type Key struct {
	// Cluster is the id of the cluster in which the effect was first owed: a restored
	// cluster is another one, and still owes the effects of the one before.
	Cluster [16]byte
	// Transaction owes it, and Ordinal is its place there.
	Transaction u128.Int
	Ordinal     uint32
}

// String is the key in 76 bytes or less of 0-9, a-f and '-', for what must be unique out
// there: an idempotency key, a Message-ID.
func (k Key) String() string {
	return fmt.Sprintf("%x-%016x%016x-%d", k.Cluster, k.Transaction.Hi, k.Transaction.Lo, k.Ordinal)
}

// Attempt is one try to do one effect.
type Attempt struct {
	Key Key
	// Operation is the effect's: a statement, a template.
	Operation string
	// Target is the effect's: a data source, a provider.
	Target string
	// Order is the key by which effects are done one after the other; empty: none.
	Order string
	Args  Args
	// Number counts the attempts, this one too, from 1.
	Number uint32
	// Fence is that under which the queue is held: see the package comment.
	Fence uint64
	// InDoubt says that an earlier attempt was never reported: it may have done it.
	InDoubt bool
	// Principal is the user who owes it, and Role its message.Role.
	Principal uint64
	Role      uint32
	// Owed is the ledger time since which it is, and CSN the transaction's.
	Owed time.Time
	CSN  uint64
}

// Class is what became of an attempt.
type Class uint8

// The classes; see the package comment.
const (
	ClassRetry Class = iota // also of a Result that nobody has filled in
	ClassDone
	ClassQuarantine
	ClassFail
)

// Result is what became of an attempt.
type Result struct {
	Class Class
	// Reason is why it was not done, in one line. It is kept in the log and shown to
	// operators: no secrets.
	Reason string
	// Reference is what came of it, at most 512 bytes; kept for ever, and shown to who owed
	// it.
	Reference string
	// After is how long to wait at least for the next attempt; 0 leaves that to the Runner.
	After time.Duration
}

// Done is the result of an effect that was done.
func Done(reference string) Result { return Result{Class: ClassDone, Reference: reference} }

// Retry is the result of an attempt that may succeed another time.
func Retry(err error) Result { return Result{Class: ClassRetry, Reason: err.Error()} }

// Quarantine is the result of an attempt that is not worth repeating before an operator has
// looked at it.
func Quarantine(err error) Result { return Result{Class: ClassQuarantine, Reason: err.Error()} }

// Fail is the result of an effect that the other side has refused for good.
func Fail(err error, reference string) Result {
	return Result{Class: ClassFail, Reason: err.Error(), Reference: reference}
}

// maxReason and maxReference are the log's bounds.
const (
	maxReason    = 512
	maxReference = 512
)

// line makes one line of UTF-8 within the log's bound of a reason.
func line(reason string) string {
	reason = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, reason)
	if len(reason) > maxReason {
		const dots = "…"
		n := maxReason - len(dots)
		for !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n] + dots
	}
	return reason
}

// Args are the named values of an effect. Their texts are UTF-8, their numbers and times
// well-formed: the log takes no others.
type Args []txnpb.Argument

// ErrArgument is returned for an argument that is missing or of another kind.
var ErrArgument = errors.New("effects: argument")

// Find returns the argument of that name, nil for none.
func (a Args) Find(name string) *txnpb.Argument {
	for i := range a {
		if a[i].Name == name {
			return &a[i]
		}
	}
	return nil
}

func (a Args) need(name string, kinds ...txnpb.ArgumentKind) (*txnpb.Argument, error) {
	arg := a.Find(name)
	if arg == nil {
		return nil, fmt.Errorf("%w %q is missing", ErrArgument, name)
	}
	for _, k := range kinds {
		if arg.Kind == k {
			return arg, nil
		}
	}
	return nil, fmt.Errorf("%w %q is of kind %v, it must be %v", ErrArgument, name, arg.Kind, kinds[0])
}

// Text returns a text.
func (a Args) Text(name string) (string, error) {
	arg, err := a.need(name, txnpb.ArgumentKindText)
	if err != nil {
		return "", err
	}
	return string(arg.Value), nil
}

// OptionalText returns a text, "" where there is none.
func (a Args) OptionalText(name string) (string, error) {
	if a.Find(name) == nil {
		return "", nil
	}
	return a.Text(name)
}

// Integer returns a number within 64 bits.
func (a Args) Integer(name string) (int64, error) {
	arg, err := a.need(name, txnpb.ArgumentKindInteger)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(arg.Value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w %q: %s does not fit into 64 bits", ErrArgument, name, arg.Value)
	}
	return n, nil
}

// Time returns a time in its own zone.
func (a Args) Time(name string) (time.Time, error) {
	arg, err := a.need(name, txnpb.ArgumentKindTime)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, string(arg.Value))
	if err != nil {
		return time.Time{}, fmt.Errorf("%w %q: %s is no time", ErrArgument, name, arg.Value)
	}
	return t, nil
}

// attemptOf makes the attempt of a claimed effect; own is the cluster's id.
func attemptOf(e *txnpb.OwedEffect, own [16]byte, number uint32, fence uint64, inDoubt bool) Attempt {
	a := Attempt{
		Key:       Key{own, e.TransactionId, e.Ordinal},
		Operation: e.Effect.Operation, Target: e.Effect.Target, Order: e.Effect.Key, Args: e.Effect.Arguments,
		Number: number, Fence: fence, InDoubt: inDoubt, Principal: e.Principal, Role: e.Role,
		Owed: time.Unix(0, int64(e.Owed)).UTC(), CSN: e.Csn,
	}
	if len(e.ClusterId) == len(own) {
		a.Key.Cluster = [16]byte(e.ClusterId)
	}
	return a
}
