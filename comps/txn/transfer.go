package txn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// chunkBytes is the size at which a chunk of rows is sent.
	chunkBytes = 1 << 20
	// chunkTimeout is how long a receiver may take to store a chunk.
	chunkTimeout = 30 * time.Second
	// pinAge is how long a pinned snapshot is good for another transfer to begin:
	// what was committed since then must still be in the log.
	pinAge = time.Minute
	// incomingIdle is how long a part of a state is kept whose sender sends no more of it:
	// longer than any sender waits, which then begins anew.
	incomingIdle = 2 * chunkTimeout
)

// pinned is a snapshot of the store that a transfer sends.
type pinned struct {
	rows     store.Snapshot
	meta     *raftpb.SnapshotMetadata
	marker   *txnpb.Marker // for a witness, instead of the rows
	version  uint32        // the apply version that the state needs
	at       time.Duration
	senders  int
	outdated bool          // the group has changed since: a new member would not find itself in it
	over     chan struct{} // closed when the transfers must end
	waiting  bool          // something waits for that
	closed   bool
}

func (p *pinned) close(log *slog.Logger) {
	p.closed = true
	if err := p.rows.Close(); err != nil {
		log.Error("closing a snapshot", "err", err)
	}
}

// snapshot answers raft when a member needs the state. The first call has one
// pinned; raft asks again.
func (l *loop) snapshot() (*raftpb.Snapshot, error) {
	if l.c.witness() {
		return nil, raft.ErrSnapshotTemporarilyUnavailable // for ever: it has nothing to send
	}
	if l.pin != nil && !l.pin.waiting {
		if first, err := l.c.log.FirstIndex(); err == nil && l.pin.meta.GetIndex()+1 < first {
			l.pin.outdated = true // the log was cut since: what follows on it is not there any more
		}
	}
	l.unpinOld()
	if l.pin != nil && !l.pin.waiting && !l.pin.outdated {
		return &raftpb.Snapshot{Metadata: proto.Clone(l.pin.meta).(*raftpb.SnapshotMetadata)}, nil
	}
	if l.pin == nil && !l.pinning {
		l.pinning = true
		l.c.applier.do(l.c.applier.takePin)
	}
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// unpinOld gives the pinned snapshot up when it is no good for another transfer: it
// holds on to what the store would drop.
func (l *loop) unpinOld() {
	if l.pin != nil && (l.pin.outdated || l.c.host.Now()-l.pin.at > pinAge) {
		l.unpin()
	}
}

// unpin closes the pinned snapshot, unless somebody still sends it.
func (l *loop) unpin() {
	if l.pin == nil || l.pin.senders > 0 {
		return
	}
	l.pin.close(l.c.host.Log())
	l.pin = nil
	for _, done := range l.unpinned {
		close(done)
	}
	l.unpinned = nil
}

// release ends all transfers and gives the pinned snapshot up; then it closes done.
func (l *loop) release(done chan struct{}) {
	if l.pin == nil {
		close(done)
		return
	}
	l.unpinned = append(l.unpinned, done)
	if !l.pin.waiting {
		l.pin.waiting = true
		close(l.pin.over)
	}
	l.unpin()
}

// takePin takes a snapshot on the applier's thread.
func (a *applier) takePin() {
	p, err := a.newPin()
	if err != nil {
		a.c.host.Log().Error("snapshot for another member", "err", err)
	}
	a.pin = p
	a.c.post(func() {
		a.c.loop.pinning = false
		a.c.loop.pin = p
	})
}

func (a *applier) newPin() (*pinned, error) {
	rows, err := a.c.store.Snapshot()
	if err != nil {
		return nil, err
	}
	index, term := a.machine.Applied()
	group := a.machine.Group()
	return &pinned{
		rows: rows, at: a.c.host.Now(), over: make(chan struct{}), marker: machine.NewMarker(index, term, group), version: group.Version,
		meta: &raftpb.SnapshotMetadata{ConfState: group.Conf, Index: new(index), Term: new(term)},
	}, nil
}

// sendSnapshot begins a state transfer to a member.
func (l *loop) sendSnapshot(m *raftpb.Message) {
	node := m.GetTo()
	p := l.pin
	if l.transfers[node] || p == nil || p.meta.GetIndex() != m.GetSnapshot().GetMetadata().GetIndex() {
		l.replica.SnapshotSent(node, false)
		return
	}
	install, err := proto.Marshal(m)
	if err != nil {
		l.c.host.Log().Error("encoding a snapshot message", "err", err)
		l.replica.SnapshotSent(node, false)
		return
	}
	l.transfers[node] = true
	p.senders++
	sfu := sfuOf(node)
	send := chunks(p.rows)
	if l.replica.Witness(node) {
		send = oneChunk(&txnpb.SnapshotChunk{Marker: p.marker, Last: true})
	}
	l.c.host.Log().Info("sending the state to a member that lags", "sfu", sfu, "index", p.meta.GetIndex())
	l.c.crew.Go(context.Background(), l.c.host, "state transfer", func(ctx context.Context) {
		err := l.c.transfer(ctx, sfu, p, send, install)
		if err != nil {
			l.c.host.Log().Warn("state transfer", "sfu", sfu, "err", err)
		}
		l.c.post(func() {
			delete(l.transfers, node)
			p.senders--
			l.replica.SnapshotSent(node, err == nil)
			if p.waiting {
				l.unpin()
			}
		})
	})
}

// chunks cuts the rows of a snapshot into chunks, each valid until the next. The last
// one says so. Rows that may be sensitive share none with others: see plainChunk. The error,
// if any, comes last.
func chunks(s store.Snapshot) iter.Seq2[*txnpb.SnapshotChunk, error] {
	return func(yield func(*txnpb.SnapshotChunk, error) bool) {
		chunk := txnpb.SnapshotChunk{}
		size := 0
		for row, err := range s.Rows() {
			if err != nil {
				yield(nil, err)
				return
			}
			if size >= chunkBytes || size > 0 && store.Sensitive(row.Key) == plainChunk(&chunk) {
				if !yield(&chunk, nil) {
					return
				}
				chunk.Sequence++
				chunk.Rows, size = chunk.Rows[:0], 0
			}
			chunk.Rows = append(chunk.Rows, txnpb.Row{Key: slices.Clone(row.Key), Value: slices.Clone(row.Value)})
			size += len(row.Key) + len(row.Value)
		}
		chunk.Last = true
		yield(&chunk, nil)
	}
}

// plainChunk reports whether nothing in a chunk is sensitive. All of its rows are alike in
// that.
func plainChunk(chunk *txnpb.SnapshotChunk) bool {
	return len(chunk.Rows) == 0 || !store.Sensitive(chunk.Rows[0].Key)
}

// oneChunk is a transfer that fits one chunk.
func oneChunk(chunk *txnpb.SnapshotChunk) iter.Seq2[*txnpb.SnapshotChunk, error] {
	return func(yield func(*txnpb.SnapshotChunk, error) bool) { yield(chunk, nil) }
}

// transfer sends all that there is of a snapshot, chunk after chunk.
func (c *Component) transfer(ctx context.Context, sfu uint16, p *pinned, send iter.Seq2[*txnpb.SnapshotChunk, error], install []byte) error {
	task := c.tasks.begin(txnpb.TaskStateSent, sfu, c.host.Now())
	defer task.end()
	for chunk, err := range send {
		if err != nil {
			return err
		}
		chunk.Transfer, chunk.ApplyVersion = uint64(p.at), p.version
		if chunk.Last {
			chunk.Install = install
			if chunk.Marker == nil {
				chunk.Sum = p.rows.Sum()
			}
		}
		answer, err := c.sendChunk(ctx, sfu, chunk, p.over)
		switch {
		case err != nil:
			return err
		case answer.Failed || answer.Next != chunk.Sequence+1:
			return fmt.Errorf("txn: SFU %d does not take chunk %d", sfu, chunk.Sequence)
		}
		task.count(chunk.Rows)
	}
	return nil
}

// sendChunk sends one chunk and waits for the answer, or until over is closed.
func (c *Component) sendChunk(ctx context.Context, sfu uint16, chunk *txnpb.SnapshotChunk, over <-chan struct{}) (*txnpb.SnapshotProgress, error) {
	replies := make(chan engine.Reply, 1)
	c.host.Call(engine.Call{
		Service: txnpb.ReplicaService, Method: txnpb.ReplicaInstallMethod, Target: sfu, Timeout: chunkTimeout,
		Epoch: c.epoch.Load(), Group: c.cfg.Group, Role: message.RoleSFU,
		Body: message.Marshal(chunk), Plain: plainChunk(chunk), Done: func(r engine.Reply) { replies <- r },
	})
	select {
	case r := <-replies:
		if err := r.Err(); err != nil {
			return nil, err
		}
		answer := &txnpb.SnapshotProgress{}
		return answer, answer.Parse(r.Body)
	case <-over:
		return nil, errors.New("txn: given up, this SFU needs the state itself")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// incoming is a state that is being received.
type incoming struct {
	from     uint16
	transfer uint64
	next     uint32
	restore  store.Restore // nil in a witness
	marker   *txnpb.Marker // nil in others
	complete bool          // all is there; raft decides
	touched  time.Duration // when its last chunk came
	task     *task
}

var errChunk = errors.New("txn: chunk out of order")

// receive takes one chunk, on the applier's thread.
func (a *applier) receive(r message.Responder[*txnpb.SnapshotProgress], chunk *txnpb.SnapshotChunk) {
	from := r.Envelope().From
	err := a.takeChunk(from, chunk)
	if err != nil {
		a.c.host.Log().Warn("receiving the state", "from", from, "chunk", chunk.Sequence, "err", err)
	}
	r.Reply(&txnpb.SnapshotProgress{Transfer: chunk.Transfer, Next: chunk.Sequence + 1, Failed: err != nil})
}

// takeChunk takes the next chunk of the transfer that runs, or the first of a new one,
// which ends the other. A state that has come whole waits for the appender, which raft
// may have told to install it: nothing that comes meanwhile does away with it.
func (a *applier) takeChunk(from uint16, chunk *txnpb.SnapshotChunk) error {
	if a.incoming != nil && a.incoming.complete {
		return fmt.Errorf("%w: a complete state waits to be installed", errChunk)
	}
	if chunk.Sequence == 0 {
		if err := a.begin(from, chunk); err != nil {
			return err
		}
	}
	if in := a.incoming; in == nil || in.from != from || in.transfer != chunk.Transfer {
		return fmt.Errorf("%w: %d of a transfer that has ended", errChunk, chunk.Sequence)
	}
	if err := a.store(chunk); err != nil {
		a.abandon()
		return err
	}
	return nil
}

// begin opens a new transfer, in the place of one that runs.
func (a *applier) begin(from uint16, chunk *txnpb.SnapshotChunk) error {
	if (chunk.Marker != nil) != a.c.witness() {
		return fmt.Errorf("txn: SFU %d sends what a member of another type needs: it has another roster", from)
	}
	if err := a.c.checkActive(chunk.ApplyVersion); err != nil {
		return err
	}
	a.abandon()
	in := &incoming{from: from, transfer: chunk.Transfer, marker: chunk.Marker}
	if !a.c.witness() {
		var err error
		if in.restore, err = a.c.store.Restore(); err != nil {
			return err
		}
	}
	in.task = a.c.tasks.begin(txnpb.TaskStateReceived, from, a.c.host.Now())
	a.incoming = in
	a.c.host.Log().Info("receiving the state", "from", from)
	return nil
}

// store takes a chunk of the transfer that runs; the last one offers the state to raft.
func (a *applier) store(chunk *txnpb.SnapshotChunk) error {
	in := a.incoming
	if in.next != chunk.Sequence {
		return fmt.Errorf("%w: %d, not %d", errChunk, chunk.Sequence, in.next)
	}
	in.next++
	in.touched = a.c.host.Now()
	if in.restore != nil {
		if err := in.restore.Add(rowsOf(chunk)); err != nil {
			return err
		}
	}
	in.task.count(chunk.Rows)
	if !chunk.Last {
		return nil
	}
	if in.restore != nil && chunk.Sum != 0 && in.restore.Sum() != chunk.Sum { // 0: older software does not tell it
		return fmt.Errorf("txn: the state from SFU %d is damaged: the sum of its rows is %016x, it should be %016x", in.from, in.restore.Sum(), chunk.Sum)
	}
	m := &raftpb.Message{}
	if err := proto.Unmarshal(chunk.Install, m); err != nil || m.GetType() != raftpb.MsgSnap || m.GetTo() != a.c.cfg.Node {
		return fmt.Errorf("txn: the state from SFU %d came without the message that installs it: %v", in.from, err)
	}
	in.complete = true
	a.c.post(func() { a.c.loop.install(m) })
	return nil
}

// install offers a received snapshot to raft; if raft does not want it, because
// the log has caught up meanwhile, it is thrown away.
func (l *loop) install(m *raftpb.Message) {
	l.installed = false
	l.replica.Step(m)
	l.flush()
	if !l.installed {
		l.c.applier.do(l.c.applier.abandon)
	}
}

// expire gives up a part of a state whose sender is gone: it takes as much of the disk as
// it has come to.
func (a *applier) expire(now time.Duration) {
	if in := a.incoming; in != nil && !in.complete && now-in.touched > incomingIdle {
		a.c.host.Log().Warn("giving up a state of which no more comes", "from", in.from, "chunks", in.next)
		a.abandon()
	}
}

func (a *applier) abandon() {
	in := a.incoming
	a.incoming = nil
	if in == nil {
		return
	}
	in.task.end()
	if in.restore == nil {
		return
	}
	if err := in.restore.Abandon(); err != nil {
		a.c.host.Log().Warn("abandoning a received state", "err", err)
	}
}

// switchTo puts the received state in the place of the store's, for the appender,
// and returns the next expiry and the group in it.
func (a *applier) switchTo(ctx context.Context, s *raftpb.Snapshot) (nextExpiry uint64, group roster.State, err error) {
	done := make(chan error, 1)
	a.do(func() { done <- a.switchNow(ctx, s) })
	select {
	case err := <-done:
		if err != nil {
			return 0, group, err
		}
		return a.machine.NextExpiry(), a.machine.Group(), nil // the applier waits for what the appender answers next
	case <-ctx.Done():
		return 0, group, ctx.Err()
	}
}

func (a *applier) switchNow(ctx context.Context, s *raftpb.Snapshot) error {
	if a.incoming == nil || !a.incoming.complete {
		return errors.New("txn: raft installs a snapshot whose rows did not come")
	}
	// What this SFU pinned while it led is of the state that goes. A pin that was asked
	// for is taken before this, on this thread, so the loop has heard of it.
	released := make(chan struct{})
	a.c.post(func() { a.c.loop.release(released) })
	select {
	case <-released:
	case <-ctx.Done():
		return ctx.Err()
	}
	a.c.storeMu.Lock()
	defer a.c.storeMu.Unlock()
	a.c.backups.giveUp()
	a.c.states.giveUp()
	a.c.scrubs.giveUp()
	a.c.sessions.forget()
	in := a.incoming
	a.incoming = nil
	if err := a.c.replaceKeep(in); err != nil {
		return err
	}
	in.task.end()
	if !a.c.begun() {
		return errors.New("txn: the received state is of no member")
	}
	m, err := a.c.newBody(nil)
	if err != nil {
		return err
	}
	if index, term := m.Applied(); index != s.GetMetadata().GetIndex() || term != s.GetMetadata().GetTerm() {
		return fmt.Errorf("txn: the received state is of entry %d in term %d, not of the snapshot's %d in term %d",
			index, term, s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm())
	}
	a.machine = m
	a.c.active.Store(m.Group().Version)
	a.tellRoster()
	if m.GroupIndex() > 0 {
		a.c.log.Grown()
	}
	a.c.host.Log().Info("state installed", "index", s.GetMetadata().GetIndex())
	return nil
}
