// Package effectstest is a cluster for tests of Components that do effects: the real
// machine over a state in memory, to which what is submitted is applied at once, behind
// the transaction service's methods. Its hosts are what a Runner runs on.
//
//	c := effectstest.New(t)
//	c.Owe(txnpb.Effect{Service: "mail", Operation: "receipt", …})
//	r := effects.NewRunner(effects.Config{…}, c.Host(1))
package effectstest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// ID is the id of every Cluster.
var ID = [16]byte([]byte("the test cluster"))

// Principal is the user who owes what Owe owes.
const Principal = 7

// Cluster is a replicated state without its replicas. Its methods may be called from any
// goroutine.
type Cluster struct {
	t    testing.TB
	wall func() uint64 // nanoseconds since 1970

	mu      sync.Mutex // guards what is below
	store   *memstore.Store
	machine *machine.Machine
	ids     uint64
	changed chan struct{} // closed when the outbox brings work
	down    bool
	alarms  map[string]string
	notes   map[uint64]txnpb.Note // by the timestamps of what their transactions did
	// Saw is which alarms were raised and ended, for the table of alarms.
	Saw alarmtest.Record
}

// New returns a Cluster by the test's own clock.
func New(t testing.TB) *Cluster {
	return NewAt(t, func() uint64 { return uint64(time.Now().UnixNano()) })
}

// NewAt returns a Cluster by another wall clock, nanoseconds since 1970.
func NewAt(t testing.TB, wall func() uint64) *Cluster {
	c := &Cluster{t: t, wall: wall, store: memstore.New(), changed: make(chan struct{}), alarms: map[string]string{}, notes: map[uint64]txnpb.Note{}}
	var err error
	if c.machine, err = machine.Open(c.store, machine.Config{}, &raftpb.ConfState{Voters: []uint64{1}}); err != nil {
		t.Fatal(err)
	}
	return c
}

// Submit gives a transaction an id, where it has none, and applies it.
func (c *Cluster) Submit(role message.Role, tx *txnpb.Transaction) *txnpb.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if tx.Id.IsZero() {
		c.ids++
		tx.Id = u128.Int{Hi: c.wall() / uint64(time.Millisecond) << 16, Lo: c.ids}
	}
	return c.applyLocked(&txnpb.Submission{Transaction: message.Marshal(tx), Principal: Principal, Role: uint32(role)})
}

func (c *Cluster) applyLocked(s *txnpb.Submission) *txnpb.Outcome {
	e := txnpb.Entry{ApplyVersion: entry.ApplyVersion, Epoch: 1, Proposed: c.wall(), Submissions: []txnpb.Submission{*s}}
	index, _ := c.machine.Applied()
	version := c.machine.OutboxVersion()
	out, err := c.machine.Apply(index+1, 1, message.Marshal(&e), nil)
	if err != nil {
		c.t.Error(err)
		return &txnpb.Outcome{State: txnpb.StateRefused, Reason: err.Error()}
	}
	if c.machine.OutboxVersion() != version {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	o := &out[0].Outcome
	var tx txnpb.Transaction
	if r := o.Results; o.State == txnpb.StateCommitted && r != nil && tx.Parse(s.Transaction) == nil && (tx.Memo != "" || len(tx.Metadata) > 0) {
		for i := range uint64(r.Count) {
			c.notes[r.Timestamp+i] = txnpb.Note{TransactionId: tx.Id, Memo: tx.Memo, Metadata: tx.Metadata, Csn: o.Csn}
		}
	}
	return o
}

// Owe has a client's transaction owe effects. It must be committed.
func (c *Cluster) Owe(list ...txnpb.Effect) *txnpb.Outcome {
	c.t.Helper()
	o := c.Submit(message.RoleClient, &txnpb.Transaction{Effects: list})
	if o.State != txnpb.StateCommitted {
		c.t.Fatalf("effects are not owed: %v", o)
	}
	return o
}

// Change makes changes of effects, each on its own, and returns what became of them.
func (c *Cluster) Change(role message.Role, changes ...txnpb.EffectChange) []txnpb.EffectStatus {
	c.t.Helper()
	o := c.Submit(role, &txnpb.Transaction{Mode: txnpb.ModeIndependent, EffectChanges: changes})
	if o.State != txnpb.StateCommitted {
		c.t.Fatalf("effects are not changed: %v", o)
	}
	out := make([]txnpb.EffectStatus, len(changes))
	for _, x := range o.Results.Exceptions {
		out[x.Index] = txnpb.EffectStatus(x.Status)
	}
	return out
}

// Outbox answers which effects are owed.
func (c *Cluster) Outbox(f *txnpb.OutboxFilter) *txnpb.OutboxAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outboxLocked(f)
}

func (c *Cluster) outboxLocked(f *txnpb.OutboxFilter) *txnpb.OutboxAnswer {
	a, err := machine.Outbox(c.store, f)
	if err != nil {
		c.t.Error(err)
		return &txnpb.OutboxAnswer{}
	}
	a.ClusterId = ID[:]
	return a
}

// readLocked answers queries of the ledger, as far as Components that do effects ask any;
// nil for others.
func (c *Cluster) readLocked(q *txnpb.Query) *txnpb.QueryAnswer {
	switch {
	case q.ListEffects != nil:
		return &txnpb.QueryAnswer{Outbox: c.outboxLocked(q.ListEffects)}
	case q.LookupTransfers != nil:
		return &txnpb.QueryAnswer{Transfers: ledger.LookupTransfers(c.store, q.LookupTransfers.Ids, nil)}
	case q.QueryTransfers != nil:
		return &txnpb.QueryAnswer{Transfers: ledger.QueryTransfers(c.store, q.QueryTransfers, nil)}
	case q.GetStatement != nil:
		a := &txnpb.QueryAnswer{Statement: ledger.GetStatement(c.store, q.GetStatement)}
		for _, l := range a.Statement.Lines {
			if n, ok := c.notes[l.Timestamp]; ok {
				a.Notes = append(a.Notes, n)
			}
		}
		return a
	}
	return nil
}

// Account is an account as of now.
func (c *Cluster) Account(id u128.Int) (a ledgerpb.Account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.store.Account(id, &a) {
		c.t.Errorf("effectstest: there is no account %v", id)
	}
	return a
}

// Completion is how far the effects of a transaction are.
func (c *Cluster) Completion(o *txnpb.Outcome) *txnpb.Completion {
	c.mu.Lock()
	defer c.mu.Unlock()
	done, err := machine.Completion(c.store, o)
	if err != nil {
		c.t.Error(err)
	}
	return done
}

// OutboxVersion rises when the outbox brings work.
func (c *Cluster) OutboxVersion() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.OutboxVersion()
}

// Restored makes the state that of a cluster that was restored from this one.
func (c *Cluster) Restored() {
	c.mu.Lock()
	defer c.mu.Unlock()
	members := &raftpb.ConfState{Voters: []uint64{1}}
	err := machine.Refound(c.store, members, []byte("the cluster once"))
	if err == nil {
		c.machine, err = machine.Open(c.store, machine.Config{}, members)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// Down makes the transaction service answer nobody, or everybody again.
func (c *Cluster) Down(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// Dump is all rows of users and of the outbox, as a snapshot would hold them.
func (c *Cluster) Dump() (all []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store.OutboxRows(nil, []byte{0xff}, func(key, row []byte) bool {
		all = append(append(all, key...), row...)
		return true
	})
	for n := uint64(1); ; n++ {
		row, ok := c.store.User(n)
		if !ok {
			return all
		}
		all = append(all, row...)
	}
}

// Alarms are the names of the alarms that stand.
func (c *Cluster) Alarms() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.alarms))
}

// Host is what a Component of the SFU gets.
func (c *Cluster) Host(sfu uint16) *Host { return &Host{c, sfu, time.Now()} }

// Host stands in for an engine.Host.
type Host struct {
	c     *Cluster
	sfu   uint16
	began time.Time
}

func (h *Host) SFU() uint16                     { return h.sfu }
func (h *Host) Now() time.Duration              { return time.Since(h.began) }
func (h *Host) Log() *slog.Logger               { return slog.New(slog.DiscardHandler) }
func (h *Host) Caller(to uint16) message.Caller { return caller{h.c} }

// Alarm implements engine.Host.
func (h *Host) Alarm(name string, _ engine.Severity, detail string) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	h.c.alarms[name] = detail
	h.c.Saw.Raise(name)
}

// ClearAlarm implements engine.Host.
func (h *Host) ClearAlarm(name string) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	delete(h.c.alarms, name)
	h.c.Saw.End(name)
}

// Engine is the host as far as a Component that does effects needs one: what else it calls
// panics.
func (h *Host) Engine() engine.Host { return component{Host: nil, h: h} }

type component struct {
	engine.Host
	h *Host
}

func (c component) SFU() uint16                                         { return c.h.SFU() }
func (c component) Now() time.Duration                                  { return c.h.Now() }
func (c component) Log() *slog.Logger                                   { return c.h.Log() }
func (c component) Caller(to uint16) message.Caller                     { return c.h.Caller(to) }
func (c component) Alarm(name string, s engine.Severity, detail string) { c.h.Alarm(name, s, detail) }
func (c component) ClearAlarm(name string)                              { c.h.ClearAlarm(name) }
func (c component) Peers() []engine.Peer                                { return nil }
func (c component) Ready(bool)                                          {}
func (c component) Go(_ string, f func(ctx context.Context))            { go f(context.Background()) }

// AddUser adds a user with a public name, and returns its number.
func (c *Cluster) AddUser(name string) uint64 {
	c.t.Helper()
	o := c.Submit(message.RoleOperator, &txnpb.Transaction{Users: []txnpb.UserChange{{
		LoginHash: []byte(fmt.Sprintf("%-32.32s", name)), PublicName: name, Verifier: "v", Role: uint32(message.RoleClient)}}})
	if o.State != txnpb.StateCommitted || len(o.UserNumbers) != 1 {
		c.t.Fatalf("user %q: %v", name, o)
	}
	return o.UserNumbers[0]
}

// caller answers the transaction service's methods.
type caller struct{ c *Cluster }

// Call implements message.Caller.
func (k caller) Call(ctx context.Context, m *message.MethodDescriptor, service uint16, body []byte) ([]byte, error) {
	if service != txnpb.TxnService {
		return nil, message.Errorf(message.NoMethod, "effectstest: no service %d", service)
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.c.down {
		return nil, message.Errorf(message.Unavailable, "effectstest: down")
	}
	switch m.Number {
	case txnpb.TxnSubmitMethod:
		var in txnpb.SubmitBatch
		if err := in.Parse(body); err != nil {
			return nil, err
		}
		out := txnpb.Outcomes{}
		for i := range in.Submissions {
			out.Outcomes = append(out.Outcomes, *k.c.applyLocked(&in.Submissions[i]))
		}
		return message.Marshal(&out), nil
	case txnpb.TxnFindUserMethod:
		var in txnpb.UserQuery
		if err := in.Parse(body); err != nil {
			return nil, err
		}
		u, err := machine.FindNamed(k.c.store, in.PublicName)
		if err != nil {
			return nil, err
		}
		return message.Marshal(&txnpb.UserAnswer{User: u}), nil
	case txnpb.TxnReadMethod:
		var in txnpb.Query
		if err := in.Parse(body); err != nil {
			return nil, err
		}
		a := k.c.readLocked(&in)
		if a == nil {
			return nil, message.Errorf(message.Invalid, "effectstest: effects, transfers and statements can be read")
		}
		return message.Marshal(a), nil
	case txnpb.TxnAwaitEffectsMethod:
		var in txnpb.AwaitRequest
		if err := in.Parse(body); err != nil {
			return nil, err
		}
		return k.awaitLocked(ctx, &in)
	}
	return nil, message.Errorf(message.NoMethod, "effectstest: no method %d", m.Number)
}

func (k caller) awaitLocked(ctx context.Context, in *txnpb.AwaitRequest) ([]byte, error) {
	changed := k.c.changed
	if k.c.machine.OutboxVersion() == in.Version {
		k.c.mu.Unlock()
		timer := time.NewTimer(time.Duration(in.Millis) * time.Millisecond)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		k.c.mu.Lock()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return message.Marshal(&txnpb.EffectsReady{Version: k.c.machine.OutboxVersion()}), nil
}

// Text returns a text argument.
func Text(name, value string) txnpb.Argument {
	return txnpb.Argument{Name: name, Value: []byte(value)}
}

// Arg returns an argument of another kind, whose value is written as the log wants it.
func Arg(name string, kind txnpb.ArgumentKind, value any) txnpb.Argument {
	return txnpb.Argument{Name: name, Kind: kind, Value: []byte(fmt.Sprint(value))}
}
