package txn_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/marker"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// wire joins the engines of a test in memory.
type wire struct {
	mu     sync.Mutex
	inlets map[uint16]engine.Inlet
	lives  map[uint16]uint64
	// While an engine joins, what is sent waits: it must not reach another before that one
	// knows the sender.
	joining int
	waiting []func()
	cut     uint16 // this one is reached by nobody; 0 is none
	// What is sent to the SFU late arrives in its order, lateBy after it was sent.
	late   uint16
	lateBy time.Duration
	queue  chan delivery
	// seen, if not nil, is told of everything that is sent.
	seen atomic.Pointer[func(from, to uint16, lane message.Lane)]
}

// delivery is one that comes late.
type delivery struct {
	due time.Time
	do  func()
}

// delay makes everything that is sent to an SFU come late until the test ends.
func (c *cluster) delay(to *sfu, by time.Duration) {
	w := c.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late, w.lateBy, w.queue = to.number, by, make(chan delivery, 1<<16)
	queue, done := w.queue, make(chan struct{})
	go func() {
		defer close(done)
		for d := range queue {
			time.Sleep(time.Until(d.due))
			d.do()
		}
	}()
	c.t.Cleanup(func() {
		w.mu.Lock()
		w.late = 0
		close(queue)
		w.mu.Unlock()
		<-done
	})
}

// life is how many lives an engine has begun.
func (w *wire) life(sfu uint16) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives[sfu]
}

// joined delivers what waited.
func (w *wire) joined() {
	for {
		w.mu.Lock()
		waiting := w.waiting
		if w.waiting = nil; len(waiting) == 0 {
			w.joining--
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		for _, f := range waiting {
			f()
		}
	}
}

// plug is the Component that stands for the Cluster Connector.
type plug struct {
	w     *wire
	self  uint16
	host  engine.Host
	heard func(*txnpb.Roster) // what others announce
}

var _ engine.Component = (*plug)(nil)

func (p *plug) Name() string { return "plug" }
func (p *plug) Services() []engine.Service {
	return []engine.Service{{Descriptor: &txnpb.RosterKeeperDescriptor}}
}
func (p *plug) Provision(h engine.Host) error { p.host = h; return nil }
func (p *plug) Validate() error               { return nil }
func (p *plug) Serve(batch []message.Request) {
	for _, r := range batch {
		txnpb.ServeRosterKeeper(p, r)
	}
}

// Announce implements txnpb.RosterKeeperHandler.
func (p *plug) Announce(_ message.Request, r *txnpb.Roster) { p.heard(r) }

func (p *plug) Drain(context.Context) error { return nil }
func (p *plug) Start(context.Context) error {
	inlet := p.host.Connect(p)
	p.w.mu.Lock()
	p.w.lives[p.self]++
	p.w.joining++
	others, lives := maps.Clone(p.w.inlets), maps.Clone(p.w.lives)
	p.w.inlets[p.self] = inlet
	p.w.mu.Unlock()
	defer p.w.joined()
	for sfu, other := range others { // they send at once, through Send
		other.PeerUp(p.self, lives[p.self])
		inlet.PeerUp(sfu, lives[sfu])
	}
	p.host.Ready(true)
	return nil
}

func (p *plug) Stop() {
	p.w.mu.Lock()
	there := p.w.inlets[p.self] != nil
	delete(p.w.inlets, p.self)
	others := maps.Clone(p.w.inlets)
	p.w.mu.Unlock()
	if there {
		for _, other := range others {
			other.PeerLost(p.self)
		}
	}
}

// Send implements engine.Transport.
func (p *plug) Send(to uint16, lane message.Lane, record []byte) error {
	record = append([]byte(nil), record...)
	if seen := p.w.seen.Load(); seen != nil {
		(*seen)(p.self, to, lane)
	}
	p.w.mu.Lock()
	inlet := p.w.inlets[to]
	if p.w.cut != 0 && (p.w.cut == to || p.w.cut == p.self) {
		inlet = nil
	}
	if p.w.joining > 0 && inlet != nil {
		p.w.waiting = append(p.w.waiting, func() { inlet.Deliver(p.self, lane, [][]byte{record}) })
		p.w.mu.Unlock()
		return nil
	}
	if inlet != nil && p.w.late == to {
		p.w.queue <- delivery{time.Now().Add(p.w.lateBy), func() { inlet.Deliver(p.self, lane, [][]byte{record}) }}
		p.w.mu.Unlock()
		return nil
	}
	p.w.mu.Unlock()
	if inlet == nil {
		return errors.New("gone")
	}
	inlet.Deliver(p.self, lane, [][]byte{record})
	return nil
}

// sfu is one engine with a transaction Component and its disk.
type sfu struct {
	number  uint16
	txn     atomic.Pointer[txn.Component]
	plug    *plug
	fs      *vfs.MemFS
	journal vfs.FS // fs, as a rule
	state   vfs.FS // of the store; nil means fs
	born    atomic.Bool
	witness bool
	seed    *txnpb.Roster
	engine  *engine.Engine
	wrap    func(*store.DB) store.Store // what its machine sees of the store; nil: that
	newest  uint32                      // apply version that its software knows; 0: that of this one
	cancel  context.CancelFunc
	done    chan error
	raised  sync.Map // alarms that were raised, whether they stand or not → what they said
}

const segmentBytes = 256 << 10

type cluster struct {
	t    *testing.T
	wire *wire
	keys *keyring.Ring
	sfus []*sfu
	saw  alarmtest.Record // alarms of all SFUs

	skew  [16]atomic.Int64 // of the SFUs' wall clocks by number, in nanoseconds
	id    [16]byte
	epoch uint32
	drain time.Duration
	scrub time.Duration
	marks uint64
	// patience is how long the cluster may take to answer, to elect and to agree.
	patience time.Duration
	keep     int64 // bytes of the log that are kept and not flushed, beyond few
	segment  int64 // length of the journal's segments, in bytes; 0 means segmentBytes

	timer func(sfu uint16) (timer.Timer, error) // of the ticks; nil means the runtime's

	hungAfter, stopWithin time.Duration // of the SFUs that start next; 0 means the defaults
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return newClusterOf(t, 3, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs })
}

// newClusterOf starts that many SFUs; journal says where each one's journal lies, and
// change, if given, what else is different.
func newClusterOf(t *testing.T, n uint16, journal func(sfu uint16, fs *vfs.MemFS) vfs.FS, change ...func(*cluster)) *cluster {
	t.Helper()
	c := newEmptyCluster(t)
	for i := uint16(1); i <= n; i++ {
		fs := vfs.NewCrashableMem()
		c.sfus = append(c.sfus, &sfu{number: i, fs: fs, journal: journal(i, fs)})
	}
	c.begin(change...)
	return c
}

// newClusterWithWitness starts two SFUs and, with number 3, a witness.
func newClusterWithWitness(t *testing.T) *cluster {
	t.Helper()
	c := newEmptyCluster(t)
	for i := uint16(1); i <= 3; i++ {
		s := newSFU(i)
		s.witness = i == 3
		c.sfus = append(c.sfus, s)
	}
	c.begin()
	return c
}

func newSFU(number uint16) *sfu {
	fs := vfs.NewCrashableMem()
	return &sfu{number: number, fs: fs, journal: fs}
}

func newEmptyCluster(t *testing.T) *cluster {
	t.Helper()
	keys, err := keyring.New(zeroes{})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, wire: &wire{inlets: map[uint16]engine.Inlet{}, lives: map[uint16]uint64{}}, keys: keys, id: [16]byte{1}, epoch: 1, drain: 5 * time.Second, patience: 20 * time.Second}
}

// begin starts all SFUs of a new cluster, after the changes.
func (c *cluster) begin(change ...func(*cluster)) {
	c.t.Helper()
	for _, s := range c.sfus {
		s.seed = c.founding()
	}
	for _, f := range change {
		f(c)
	}
	for _, s := range c.sfus {
		c.start(s)
	}
	c.t.Cleanup(func() {
		for _, s := range c.sfus {
			c.stop(s)
		}
	})
}

// founding is the roster with which the cluster begins.
func (c *cluster) founding() *txnpb.Roster {
	r := &txnpb.Roster{}
	for _, s := range c.sfus {
		m := record(fmt.Sprint("sfu", s.number), fmt.Sprint("pc", s.number), byte(s.number))
		m.Number = uint32(s.number)
		if s.witness {
			m.Type = "witness"
		}
		r.Members, r.LastNumber = append(r.Members, *m), m.Number
	}
	return r
}

// record makes up a member that is to vote.
func record(name, machine string, key byte) *txnpb.Member {
	return &txnpb.Member{Name: name, Type: "all", Machine: machine, PublicKey: append(make([]byte, 31), key), Carrier: "ethernet", Voter: true}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// start begins a life of an SFU.
func (c *cluster) start(s *sfu) {
	c.t.Helper()
	registry, err := message.NewRegistry(&enginepb.Schema, &txnpb.Schema)
	if err != nil {
		c.t.Fatal(err)
	}
	s.engine, err = engine.New(engine.Config{
		SFU: s.number, Name: fmt.Sprint("sfu", s.number), Registry: registry, Incarnation: c.wire.life(s.number) + 1,
		Log: slog.New(slog.DiscardHandler), DrainWithin: c.drain, StopWithin: c.stopWithin,
		OnAlarm: func(e engine.AlarmEvent) {
			if e.Cleared {
				c.saw.End(e.Name)
			} else {
				c.saw.Raise(e.Name)
				s.raised.Store(e.Name, e.Detail)
			}
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	e, birth := s.engine, !s.born.Load()
	add := func(make func() (engine.Component, error)) {
		if err := s.engine.Add(make); err != nil {
			c.t.Fatal(err)
		}
	}
	add(func() (engine.Component, error) {
		s.plug = &plug{w: c.wire, self: s.number, heard: func(r *txnpb.Roster) { s.txn.Load().Heard(r) }}
		return s.plug, nil
	})
	add(func() (engine.Component, error) {
		cfg := txn.Config{
			Group: 1, Epoch: c.epoch, Node: uint64(s.number), Seed: s.seed,
			Birth: birth, Born: func() error { s.born.Store(true); return nil }, FS: s.journal, Dir: "journal", Keys: c.keys, Cluster: c.id, Backup: backupConfig(c.t), HungAfter: c.hungAfter,
			// So small that a member that was away for some entries needs the state.
			SegmentBytes: cmp.Or(c.segment, segmentBytes), FlushBytes: 64<<10 + c.keep, KeepBytes: 1 + c.keep,
			OpenStore: func() (store.Store, error) {
				disk := s.state
				if disk == nil {
					disk = s.fs
				}
				db, err := store.Open(store.Config{Dir: path.Join("store"), FS: disk})
				if err != nil || s.wrap == nil {
					return db, err
				}
				return s.wrap(db), nil
			},
			OpenDamaged: func(why string) (store.Store, error) {
				return store.OpenDamaged(store.Config{Dir: path.Join("store"), FS: s.fs}, why)
			},
			Machine: machine.Config{Newest: s.newest}, Scrub: c.scrub, Marks: c.marks,
			Wall: func() uint64 { return c.wall(s.number) },
			Clocks: func(f func(uint16, int64, time.Duration)) {
				for _, p := range e.Peers() {
					f(p.SFU, int64(c.wall(p.SFU)), time.Millisecond)
				}
			},
		}
		if c.timer != nil {
			cfg.Timer = func() (timer.Timer, error) { return c.timer(s.number) }
		}
		if s.witness {
			cfg.OpenMarker = func() (*marker.File, error) { return marker.Open(s.fs, "marker") }
		}
		comp := txn.New(cfg)
		s.txn.Store(comp)
		return comp, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() { s.done <- s.engine.Run(ctx) }()
}

// wall is an SFU's wall clock.
func (c *cluster) wall(sfu uint16) uint64 { return uint64(time.Now().UnixNano() + c.skew[sfu].Load()) }

// stop ends a life in order; twice is no error.
func (c *cluster) stop(s *sfu) {
	c.t.Helper()
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.cancel = nil
	select {
	case err := <-s.done:
		if err != nil {
			c.t.Errorf("SFU %d: %v", s.number, err)
		}
	case <-time.After(30 * time.Second):
		c.t.Fatalf("SFU %d does not stop", s.number)
	}
}

// submit commits one transaction through an SFU's engine, asking again as a
// gateway does.
func (c *cluster) submit(at *sfu, tx *txnpb.Transaction) *txnpb.Outcome {
	c.t.Helper()
	deadline := time.Now().Add(c.patience)
	body := &txnpb.SubmitBatch{Submissions: []txnpb.Submission{{Transaction: message.Marshal(tx), Principal: 1, Role: uint32(message.RoleOperator), RemainingMillis: 1000}}}
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		answer, err := txnpb.TxnClient{Caller: at.engine.Caller(0)}.Submit(ctx, body)
		cancel()
		if err == nil {
			switch o := &answer.Outcomes[0]; o.State {
			case txnpb.StateCommitted, txnpb.StateAborted, txnpb.StateRefused:
				return o
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("no final answer within %v", c.patience)
	return nil
}

// leader waits until some SFU leads.
func (c *cluster) leader() *sfu {
	c.t.Helper()
	deadline := time.Now().Add(c.patience)
	for time.Now().Before(deadline) {
		for _, s := range c.sfus {
			if st := c.status(s); st != nil && st.Role == "leader" {
				return s
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("no leader within %v", c.patience)
	return nil
}

func (c *cluster) status(s *sfu) *txnpb.ReplicaStatus {
	if s.cancel == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	st, err := txnpb.ReplicaClient{Caller: s.engine.Caller(s.number)}.Status(ctx, &txnpb.ReplicaStatusRequest{})
	if err != nil {
		return nil
	}
	return st
}

// agree waits until all members have the same state, but for witnesses, which have none.
func (c *cluster) agree() *txnpb.StateDigest {
	c.t.Helper()
	deadline := time.Now().Add(c.patience)
	var last []string
	for time.Now().Before(deadline) {
		last = last[:0]
		var digests []*txnpb.StateDigest
		for _, s := range c.sfus {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			d, err := txnpb.ReplicaClient{Caller: s.engine.Caller(s.number)}.Digest(ctx, &txnpb.DigestRequest{})
			cancel()
			if err == nil {
				digests = append(digests, d)
			}
			last = append(last, fmt.Sprintf("SFU %d: %+v %v", s.number, d, err))
		}
		same := len(digests) == len(c.sfus)-len(c.witnesses())
		for _, d := range digests {
			same = same && string(d.Chain) == string(digests[0].Chain)
		}
		if same {
			return digests[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, s := range c.sfus {
		last = append(last, fmt.Sprintf("SFU %d: %+v", s.number, c.status(s)))
	}
	c.t.Fatalf("the members do not agree:\n%v", last)
	return nil
}

func (c *cluster) witnesses() (all []*sfu) {
	for _, s := range c.sfus {
		if s.witness {
			all = append(all, s)
		}
	}
	return all
}

var ids atomic.Uint64

func newID() u128.Int {
	return u128.Int{Hi: uint64(time.Now().UnixMilli()) << 16, Lo: ids.Add(1)}
}

// opening opens two accounts; transferOf moves money between them.
func opening() *txnpb.Transaction {
	tx := &txnpb.Transaction{Id: newID()}
	for id := uint64(1); id <= 2; id++ {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(id), Ledger: 1, Code: 1})
	}
	return tx
}

func transferOf(amount uint64) *txnpb.Transaction {
	return &txnpb.Transaction{Id: newID(), Transfers: []ledgerpb.Transfer{{
		Id: newID(), DebitAccountId: u128.From64(1), CreditAccountId: u128.From64(2), Amount: u128.From64(amount), Ledger: 1, Code: 1,
	}}}
}

func mustCommit(t *testing.T, o *txnpb.Outcome) {
	t.Helper()
	if o.State != txnpb.StateCommitted {
		t.Fatalf("%v %v %s", o.Id, o.State, o.Reason)
	}
}

// TestCluster takes three members through what a life holds: commits through any
// engine, repetitions, reads, a leader that goes, a member that was away for so
// long that it needs the state, planned stops.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	lead := c.leader()
	mustCommit(t, c.submit(lead, opening()))
	tx := transferOf(10)
	var csn uint64
	for _, s := range c.sfus { // the same one through every engine
		o := c.submit(s, tx)
		mustCommit(t, o)
		if csn != 0 && o.Csn != csn {
			t.Fatalf("the repetition got CSN %d, the first answer was %d", o.Csn, csn)
		}
		csn = o.Csn
	}
	for _, s := range c.sfus {
		a, err := txnpb.TxnClient{Caller: s.engine.Caller(0)}.Read(context.Background(), &txnpb.Query{
			LookupAccounts: &ledgerpb.Lookup{Ids: []u128.Int{u128.From64(1)}},
		})
		if err != nil || len(a.Accounts) != 1 || a.Accounts[0].DebitsPosted != u128.From64(10) || a.Csn < csn {
			t.Fatalf("through SFU %d: %+v, %v", s.number, a, err)
		}
	}
	if st, err := (txnpb.TxnClient{Caller: lead.engine.Caller(0)}).Status(context.Background(), &txnpb.StatusRequest{Id: tx.Id}); err != nil || st.Csn != csn {
		t.Fatalf("status: %+v, %v", st, err)
	}

	away := c.sfus[lead.number%3]
	c.stop(away)
	for range 400 {
		mustCommit(t, c.submit(lead, transferOf(1)))
	}
	time.Sleep(700 * time.Millisecond) // the upkeep of the members that stayed cuts their logs
	for range 20 {
		mustCommit(t, c.submit(lead, transferOf(1)))
	}
	c.start(away)
	d := c.agree()
	if d.Csn != 422 {
		t.Fatalf("%d commits, want 422", d.Csn)
	}

	c.stop(lead) // a planned stop: another leads before it is gone
	other := c.sfus[away.number-1]
	began := time.Now()
	mustCommit(t, c.submit(other, transferOf(1)))
	t.Logf("the next commit came %v after the stop", time.Since(began))
	c.start(lead)
	c.agree()
}

// TestStoreThatDoesNotOpen: the process ends with the store's own error.
func TestStoreThatDoesNotOpen(t *testing.T) {
	c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS {
		f, err := fs.Create("store", vfs.WriteCategoryUnspecified) // where its directory should be
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return fs
	})
	s := c.sfus[0]
	if err := <-s.done; err == nil || !strings.Contains(err.Error(), "provision: store: ") || strings.Contains(err.Error(), "panic") {
		t.Errorf("it ended with %v", err)
	}
	s.cancel = nil
}

// TestLostDiskIsNotRevived: an SFU that has run before and finds its journal empty
// must not take part, because it could vote twice.
func TestLostDiskIsNotRevived(t *testing.T) {
	c := newCluster(t)
	mustCommit(t, c.submit(c.leader(), opening()))
	c.agree()
	s := c.sfus[0]
	c.stop(s)
	s.fs = vfs.NewMem()
	s.journal = s.fs
	c.start(s)
	select {
	case err := <-s.done:
		if err == nil {
			t.Fatal("it ended without an error")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it runs with an empty disk")
	}
	s.cancel = nil
}
