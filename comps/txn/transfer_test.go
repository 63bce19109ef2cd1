package txn

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/marker"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// quietHost is a host with a clock and a log.
type quietHost struct {
	engine.Host
	now time.Duration
}

func (h *quietHost) Now() time.Duration { return h.now }
func (h *quietHost) Log() *slog.Logger  { return slog.New(slog.DiscardHandler) }

// pinnedRows counts how often it is closed.
type pinnedRows struct {
	store.Snapshot
	closed int
}

func (p *pinnedRows) Rows() iter.Seq2[store.Row, error] { return nil }
func (p *pinnedRows) Close() error                      { p.closed++; return nil }

func ended(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestPinIsGivenUp: a pinned snapshot holds on to what the store would drop, and stands
// in the way of a state that takes the store's place. It goes when it is too old for
// another transfer, or when that state comes; never while somebody sends it, and once.
func TestPinIsGivenUp(t *testing.T) {
	host := &quietHost{}
	fresh := func() (*loop, *pinnedRows) {
		rows := &pinnedRows{}
		l := &loop{c: &Component{host: host, applier: &applier{}}}
		l.pin = &pinned{rows: rows, at: host.now, over: make(chan struct{})}
		l.c.applier.pin = l.pin
		return l, rows
	}

	t.Run("old", func(t *testing.T) {
		l, rows := fresh()
		l.pin.senders = 1
		host.now += pinAge + 1
		if l.unpinOld(); rows.closed != 0 {
			t.Fatal("closed while it is sent")
		}
		l.pin.senders = 0
		if l.unpinOld(); rows.closed != 1 || l.pin != nil {
			t.Fatalf("closed %d times", rows.closed)
		}
		if l.close(); rows.closed != 1 {
			t.Fatalf("closed %d times", rows.closed)
		}
	})
	t.Run("young", func(t *testing.T) {
		l, rows := fresh()
		host.now += pinAge
		if l.unpinOld(); rows.closed != 0 {
			t.Fatal("closed while it is good for another transfer")
		}
		if l.close(); rows.closed != 1 {
			t.Fatalf("closed %d times", rows.closed)
		}
	})
	t.Run("released", func(t *testing.T) {
		l, rows := fresh()
		l.pin.senders = 2
		over, first, second := l.pin.over, make(chan struct{}), make(chan struct{})
		l.release(first)
		l.release(second)
		if !ended(over) || ended(first) || rows.closed != 0 {
			t.Fatalf("transfers told: %v, released: %v, closed %d times", ended(over), ended(first), rows.closed)
		}
		if _, err := l.snapshot(); err == nil {
			t.Fatal("a snapshot that goes is offered for another transfer")
		}
		l.pin.senders = 1
		l.unpin()
		if ended(first) {
			t.Fatal("released while it is sent")
		}
		l.pin.senders = 0
		l.unpin()
		if !ended(first) || !ended(second) || rows.closed != 1 {
			t.Fatalf("released: %v, %v, closed %d times", ended(first), ended(second), rows.closed)
		}
	})
	t.Run("none", func(t *testing.T) {
		l := &loop{c: &Component{host: host, applier: &applier{}}}
		done := make(chan struct{})
		if l.release(done); !ended(done) {
			t.Fatal("nothing is pinned, and it is waited for")
		}
	})
}

// TestCompleteStateStays: what came whole waits for the appender, and a chunk of another
// transfer, which a new leader may send meanwhile, does not do away with it; nor does a
// stray one of a transfer that runs.
func TestCompleteStateStays(t *testing.T) {
	host := &quietHost{}
	witness := func() *applier {
		c := &Component{host: host, applier: &applier{}}
		c.cfg.Node = 1
		c.cfg.OpenMarker = func() (*marker.File, error) { return nil, nil }
		return &applier{c: c}
	}
	install, err := proto.Marshal(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), To: new(uint64(1))})
	if err != nil {
		t.Fatal(err)
	}
	whole := func(transfer uint64) *txnpb.SnapshotChunk {
		return &txnpb.SnapshotChunk{Transfer: transfer, Marker: &txnpb.Marker{}, Last: true, Install: install}
	}
	begun := func(transfer uint64) *txnpb.SnapshotChunk {
		return &txnpb.SnapshotChunk{Transfer: transfer, Marker: &txnpb.Marker{}}
	}

	t.Run("complete", func(t *testing.T) {
		a := witness()
		if err := a.takeChunk(2, whole(7)); err != nil {
			t.Fatal(err)
		}
		came := a.incoming
		for _, from := range []uint16{2, 3} {
			if err := a.takeChunk(from, begun(8)); !errors.Is(err, errChunk) {
				t.Fatalf("from SFU %d: %v", from, err)
			}
		}
		if a.incoming != came || !came.complete {
			t.Fatalf("%+v waits, %+v came", a.incoming, came)
		}
	})
	t.Run("stray", func(t *testing.T) {
		a := witness()
		if err := a.takeChunk(2, begun(7)); err != nil {
			t.Fatal(err)
		}
		stray := begun(6)
		stray.Sequence = 1
		if err := a.takeChunk(2, stray); !errors.Is(err, errChunk) {
			t.Fatal(err)
		}
		next := whole(7)
		next.Sequence = 1
		if err := a.takeChunk(2, next); err != nil || !a.incoming.complete {
			t.Fatalf("after a stray chunk: %v", err)
		}
	})
	t.Run("broken", func(t *testing.T) {
		a := witness()
		if err := a.takeChunk(2, begun(7)); err != nil {
			t.Fatal(err)
		}
		skipped := begun(7)
		skipped.Sequence = 2
		if err := a.takeChunk(2, skipped); !errors.Is(err, errChunk) || a.incoming != nil {
			t.Fatalf("%v; %+v", err, a.incoming)
		}
		if err := a.takeChunk(3, begun(8)); err != nil || a.incoming.from != 3 {
			t.Fatalf("a new transfer: %v", err)
		}
	})
}

// TestHalfAStateIsGivenUp: what came of a state whose sender sends no more of it does not
// stay on the disk; what is still coming, or has come whole, does.
func TestHalfAStateIsGivenUp(t *testing.T) {
	fs := vfs.NewMem()
	db, err := store.Open(store.Config{Dir: "store", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	host := &quietHost{now: time.Hour}
	c := New(Config{OpenStore: func() (store.Store, error) { return db, nil }})
	c.host, c.store = host, db
	a := newApplier(c, nil)
	for sequence := range uint32(2) {
		if err := a.takeChunk(2, &txnpb.SnapshotChunk{Transfer: 1, Sequence: sequence}); err != nil {
			t.Fatal(err)
		}
		host.now += incomingIdle
		a.expire(host.now)
		if a.incoming == nil {
			t.Fatalf("given up within the time that a sender has, behind chunk %d", sequence)
		}
	}
	a.incoming.complete = true
	a.expire(host.now + time.Hour)
	if a.incoming == nil {
		t.Fatal("a state that has come whole was given up")
	}
	a.incoming.complete = false
	a.expire(host.now + 1)
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	if a.incoming != nil || slices.Contains(names, "rows-000002") || len(c.tasks.status(0)) > 0 {
		t.Errorf("half a state is kept: %q", names)
	}
}

// TestRottenStateIsNotTaken: a state whose rows are not what its sum says, as the sender
// wrote them once, takes nobody's place: it would be as good as the others' then.
func TestRottenStateIsNotTaken(t *testing.T) {
	install, err := proto.Marshal(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), To: new(uint64(1))})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		off   uint64
		taken bool
	}{{0, true}, {1, false}} {
		db, err := store.Open(store.Config{Dir: "store", FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		c := New(Config{Node: 1})
		c.host, c.store = &quietHost{}, db
		a := newApplier(c, nil)
		key := append([]byte{0, 1, 2}, "a meta row"...)
		if err := a.takeChunk(2, &txnpb.SnapshotChunk{Transfer: 1, Rows: []txnpb.Row{{Key: key, Value: []byte("and its value")}}}); err != nil {
			t.Fatal(err)
		}
		sum := a.incoming.restore.Sum()
		err = a.takeChunk(2, &txnpb.SnapshotChunk{Transfer: 1, Sequence: 1, Last: true, Install: install, Sum: sum + test.off})
		if (err == nil) != test.taken || (a.incoming != nil) != test.taken {
			t.Errorf("sum %016x, told as %016x: %v", sum, sum+test.off, err)
		}
	}
}

// someRows is a snapshot of these keys, each with a value of 100 bytes.
type someRows struct {
	store.Snapshot
	keys []string
}

func (s someRows) Rows() iter.Seq2[store.Row, error] {
	return func(yield func(store.Row, error) bool) {
		for _, k := range s.keys {
			if !yield(store.Row{Key: []byte(k), Value: make([]byte, 100)}, nil) {
				return
			}
		}
	}
}

// TestChunksAreAlike: what may be sensitive shares no chunk with other rows, and every row
// comes once, in order, in chunks that are numbered.
func TestChunksAreAlike(t *testing.T) {
	const account, user, note, outbox = "\x00\x01\x03", "\x00\x01\x0b", "\x00\x01\x10", "\x00\x01\x12"
	var keys []string
	for _, table := range []string{account, user, note, outbox} {
		for i := range 12_000 {
			keys = append(keys, fmt.Sprintf("%s%06d", table, i))
		}
	}
	next, sequence, last := 0, uint32(0), false
	plain := map[bool]int{}
	for chunk, err := range chunks(someRows{keys: keys}) {
		if err != nil || chunk.Sequence != sequence || last {
			t.Fatalf("chunk %d at the place of %d: %v", chunk.Sequence, sequence, err)
		}
		sequence, last = sequence+1, chunk.Last
		plain[plainChunk(chunk)]++
		size := 0
		for _, r := range chunk.Rows {
			if string(r.Key) != keys[next] || store.Sensitive(r.Key) == plainChunk(chunk) {
				t.Fatalf("row %q in a chunk that begins with %q; due is %q", r.Key, chunk.Rows[0].Key, keys[next])
			}
			next++
			size += len(r.Key) + len(r.Value)
		}
		if size > chunkBytes+200 {
			t.Fatalf("a chunk of %d bytes", size)
		}
	}
	if next != len(keys) || !last || plain[true] != 4 || plain[false] != 4 {
		t.Fatalf("%d rows of %d, last %v, chunks %v", next, len(keys), last, plain)
	}
}
