// Package embedded is a ledger in a directory of this machine, without a cluster:
// what a replica applies and keeps, under a log of one.
//
//	l, err := embedded.Open(embedded.Config{Dir: dir, Virtual: true})
//	…
//	sum, err := exec.Run(ctx, in, out, l)
//	…
//	err = l.Close() // makes all that was executed durable
//
// Every request is one log entry for comps/txn/machine over comps/txn/store, so
// rules, results and rows are those of a cluster. There is no journal: after a
// crash the directory holds what it held at some request between the last Close
// and the crash, and nothing of those after it. A disk that takes no more is such a
// crash too; see Broken.
//
// # Clocks
//
// Ledger time is the machine's clock, or a virtual one: that begins at 0 in a new
// directory, goes one nanosecond on with every event, by Tick, and else never.
// Pending transfers expire after a tick or, by the machine's clock, before each
// request. A directory keeps its time: ledger time never goes back, whichever clock
// opens it.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Config describes a ledger.
type Config struct {
	// Dir holds the ledger and nothing else; it is made if need be.
	Dir string
	// Virtual chooses the virtual clock.
	Virtual bool

	fs vfs.FS // set by tests; nil means the machine's own
}

// Ledger is an open ledger. It belongs to one goroutine.
type Ledger struct {
	store   *store.DB
	machine *machine.Machine
	virtual bool
	broken  chan error
	out     []entry.Result
}

var _ exec.Target = (*Ledger)(nil)

// Open opens the ledger in cfg.Dir, making it if there is none. One process at a
// time may have it open.
func Open(cfg Config) (*Ledger, error) {
	if err := mayHold(cfg.Dir); err != nil {
		return nil, err
	}
	broken := make(chan error, 1)
	s, err := store.Open(store.Config{Dir: cfg.Dir, FS: cfg.fs, Log: slog.New(watch{broken})})
	if pebble.IsCorruptionError(err) {
		return nil, fmt.Errorf("embedded: %w; it is damaged, or the sealed store of an SFU: name another directory", err)
	}
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	l := &Ledger{store: s, virtual: cfg.Virtual, broken: broken}
	if err := l.open(cfg.Dir); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return l, nil
}

func (l *Ledger) open(dir string) (err error) {
	defer caught(&err)
	if l.machine, err = machine.Open(l.store, machine.Config{}, nil); err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	members := l.machine.Group().Conf
	if len(members.Voters)+len(members.Learners) > 0 {
		return fmt.Errorf("embedded: %s is the store of an SFU, which only its cluster may change; name another directory", dir)
	}
	return nil
}

// mayHold refuses a directory that holds something else than a store.
func mayHold(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	for _, f := range files {
		ours := false
		for _, pattern := range []string{"LOCK", "marker.*", "rows-*"} {
			match, err := filepath.Match(pattern, f.Name())
			ours = ours || match && err == nil
		}
		if !ours {
			return fmt.Errorf("embedded: %s holds %s, which is no part of a ledger; name a new or an empty directory", dir, f.Name())
		}
	}
	return nil
}

// Broken receives an error when the disk does not take what the store writes in
// the background. The store tries again for ever, so that Close and other calls may
// not return: the process ought to end.
func (l *Ledger) Broken() <-chan error { return l.broken }

// watch is a slog.Handler that keeps the first error among the store's lines.
type watch struct{ broken chan error }

func (w watch) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (w watch) WithAttrs([]slog.Attr) slog.Handler               { return w }
func (w watch) WithGroup(string) slog.Handler                    { return w }

func (w watch) Handle(_ context.Context, r slog.Record) error {
	what := r.Message
	r.Attrs(func(a slog.Attr) bool {
		what += ": " + a.Value.String()
		return true
	})
	select {
	case w.broken <- errors.New("embedded: " + what):
	default: // one is enough
	}
	return nil
}

// Close makes all that was executed durable and releases the directory.
func (l *Ledger) Close() error {
	if err := errors.Join(l.store.Flush(), l.store.Close()); err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	return nil
}

// now is the last nanosecond of ledger time that is over.
func (l *Ledger) now() uint64 {
	if l.virtual {
		return l.machine.Stamp()
	}
	return max(l.machine.Stamp(), uint64(time.Now().UnixNano()))
}

// Create implements exec.Target.
func (l *Ledger) Create(_ context.Context, accounts []ledgerpb.Account, transfers []ledgerpb.Transfer) (*txnpb.Results, error) {
	if err := l.expireDue(); err != nil {
		return nil, err
	}
	now := l.now()
	tx := txnpb.Transaction{Id: l.newID(now), Mode: txnpb.ModeIndependent, Accounts: accounts, Transfers: transfers}
	out, err := l.apply(&txnpb.Entry{Proposed: now + 1, Submissions: []txnpb.Submission{{Transaction: message.Marshal(&tx), Role: uint32(message.RoleOperator)}}})
	if err != nil {
		return nil, err
	}
	if o := &out[0].Outcome; o.State != txnpb.StateCommitted {
		return nil, &exec.RefusedError{Reason: fmt.Sprintf("%v: %s", o.State, o.Reason)}
	}
	return out[0].Outcome.Results, nil
}

// newID returns a transaction's id: a UUIDv7 by ledger time that holds the index
// of the entry in place of random bits.
func (l *Ledger) newID(now uint64) u128.Int {
	const version, variant = 7 << 12, 1 << 63
	index, _ := l.machine.Applied()
	return u128.Int{Hi: now/uint64(time.Millisecond)<<16 | version, Lo: variant | (index + 1)}
}

// Query implements exec.Target.
func (l *Ledger) Query(_ context.Context, q *txnpb.Query) (a *txnpb.QueryAnswer, err error) {
	if err := l.expireDue(); err != nil {
		return nil, err
	}
	defer caught(&err)
	view, err := l.store.View()
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	defer func() {
		if e := view.Close(); err == nil && e != nil {
			err = fmt.Errorf("embedded: %w", e)
		}
	}()
	if a, err = machine.Query(view, q, machine.Everything); errors.Is(err, machine.ErrInvalid) {
		err = &exec.RefusedError{Reason: err.Error()}
	}
	return a, err
}

// endOfTime is how far ticks may go: what a machine takes as its clock at most. What
// is left of ledger time is for events.
const endOfTime = machine.MaxProposed - 1

// Tick implements exec.Target.
func (l *Ledger) Tick(_ context.Context, nanoseconds uint64) error {
	if !l.virtual {
		return &exec.RefusedError{Reason: "tick: the clock is this machine's; run with --embedded DIR --clock virtual"}
	}
	now := l.machine.Stamp()
	if now > endOfTime || nanoseconds > endOfTime-now {
		return &exec.RefusedError{Reason: fmt.Sprintf("tick.nanoseconds: it is %d, and ledger time ends at %d; tick less", now, uint64(endOfTime))}
	}
	// This entry is applied even if nothing is due: the time stays.
	if err := l.expire(now + nanoseconds); err != nil {
		return err
	}
	return l.expireAll()
}

// expireDue expires what is due by the machine's clock.
func (l *Ledger) expireDue() error {
	if l.virtual {
		return nil // that is what ticks are for
	}
	return l.expireAll()
}

// expireAll expires all that is due.
func (l *Ledger) expireAll() (err error) {
	defer caught(&err)
	for {
		now := l.now()
		if due := l.machine.NextExpiry(); due == 0 || due > now {
			return nil
		}
		if err := l.expire(now); err != nil {
			return err
		}
	}
}

// expire applies an entry that makes it now and expires what is due, as far as
// one entry may.
func (l *Ledger) expire(now uint64) error {
	_, err := l.apply(&txnpb.Entry{Proposed: now + 1, Expire: ledger.MaxEvents})
	return err
}

// apply applies the next entry. The results are valid until the next call.
func (l *Ledger) apply(e *txnpb.Entry) (out []entry.Result, err error) {
	defer caught(&err)
	index, _ := l.machine.Applied()
	e.ApplyVersion = entry.ApplyVersion
	if l.out, err = l.machine.Apply(index+1, 1, message.Marshal(e), l.out[:0]); err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	return l.out, nil
}

// caught turns the panic of a store that cannot be read into an error.
func caught(err *error) {
	switch p := recover().(type) {
	case nil:
	case *ledger.ReadError:
		*err = fmt.Errorf("embedded: %w", p)
	default:
		panic(p)
	}
}
