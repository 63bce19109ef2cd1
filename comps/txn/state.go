package txn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// stateIdle is how long a state is kept for a member that asks for no more of it.
const stateIdle = time.Minute

// states hands the state out to a member that has to rebuild its own, a chunk a request,
// to one at a time. Unlike a transfer that raft begins it is the receiver who asks: raft
// knows nothing of it.
type states struct {
	c *Component

	mu      sync.Mutex // guards what is below; held while a chunk is made
	current *handout
}

// handout is a state that is being handed out.
type handout struct {
	to       uint16
	transfer uint64
	rows     store.Snapshot
	next     func() (*txnpb.SnapshotChunk, error, bool)
	stop     func()
	meta     txnpb.Meta
	sequence uint32 // the next chunk's
	touched  time.Duration
}

// State implements txnpb.ReplicaHandler.
func (d replicaService) State(r message.Responder[*txnpb.SnapshotChunk], in *txnpb.StateRequest) {
	c, env := d.c, r.Envelope()
	if env.Group != c.cfg.Group || env.Epoch != c.epoch.Load() || env.From == 0 {
		r.Fail(message.Denied, "not of this group and epoch")
		return
	}
	if c.witness() {
		r.Fail(message.Unavailable, "txn: a witness has no state")
		return
	}
	c.enqueueRead(r.Request, func() {
		chunk, err := c.states.read(env.From, in)
		var refused *message.Error
		switch {
		case errors.As(err, &refused):
			r.Fail(refused.Code, refused.Detail)
		case err != nil:
			c.host.Log().Error("handing the state out", "to", env.From, "err", err)
			r.Fail(message.Internal, err.Error())
		case plainChunk(chunk):
			r.ReplyPlain(chunk)
		default:
			r.Reply(chunk)
		}
	})
}

// read returns the chunk that is asked for. The caller holds storeMu.
func (s *states) read(to uint16, in *txnpb.StateRequest) (*txnpb.SnapshotChunk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.host.Now()
	h := s.current
	if in.Sequence == 0 {
		if h != nil && h.to != to && now-h.touched <= stateIdle {
			return nil, refuse(message.Overloaded, "txn: this SFU hands its state out to another; try again later")
		}
		if err := s.begin(to, in.Transfer); err != nil {
			return nil, err
		}
		h = s.current
	}
	if h == nil || h.to != to || h.transfer != in.Transfer || h.sequence != in.Sequence {
		return nil, refuse(message.Invalid, "txn: chunk %d is not the next: begin again", in.Sequence)
	}
	h.touched = now
	h.sequence++
	chunk, err, ok := h.next()
	if err == nil && !ok {
		err = errors.New("txn: a state goes on behind its last chunk")
	}
	if err != nil {
		s.giveUpLocked()
		return nil, err
	}
	chunk.Transfer, chunk.ApplyVersion = h.transfer, h.meta.ApplyVersion
	if chunk.Last {
		chunk.AppliedIndex, chunk.AppliedTerm, chunk.Sum = h.meta.AppliedIndex, h.meta.AppliedTerm, h.rows.Sum()
		s.giveUpLocked()
	}
	return chunk, nil
}

// begin takes a snapshot.
func (s *states) begin(to uint16, transfer uint64) error {
	s.giveUpLocked()
	if s.c.halted.Load() {
		return refuse(message.Unavailable, "txn: this SFU has halted")
	}
	rows, err := s.c.store.Snapshot()
	if err != nil {
		return err
	}
	meta, err := machine.Reached(rows)
	if err != nil {
		return errors.Join(err, rows.Close())
	}
	s.current = &handout{to: to, transfer: transfer, rows: rows, meta: meta}
	s.current.next, s.current.stop = iter.Pull2(chunks(rows))
	s.c.host.Log().Info("handing the state out to a member that rebuilds its own", "sfu", to, "index", meta.AppliedIndex)
	return nil
}

// expire gives a state up that nobody asks for.
func (s *states) expire(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && now-s.current.touched > stateIdle {
		s.giveUpLocked()
	}
}

func (s *states) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUpLocked()
}

func (s *states) giveUpLocked() {
	h := s.current
	if h == nil {
		return
	}
	s.current = nil
	h.stop()
	if err := h.rows.Close(); err != nil {
		s.c.host.Log().Error("closing a snapshot", "err", err)
	}
}

// noIntent is for a log that is damaged: what is given up of it says that the state is
// ahead of it.
func noIntent(*raftpb.Snapshot) error { return nil }

// fetchState puts the state of another member in the place of this one's, which does not
// take part: that of the first one that gives it and has come to entry least. intend is
// called before the old state goes.
func (c *Component) fetchState(ctx context.Context, least uint64, intend func(*raftpb.Snapshot) error) error {
	var refusals []string
	for _, sfu := range c.others() {
		err := c.fetchFrom(ctx, sfu, least, intend)
		if err == nil || ctx.Err() != nil {
			return err
		}
		refusals = append(refusals, fmt.Sprintf("SFU %d: %v", sfu, err))
	}
	return fmt.Errorf("txn: no other member gives its state (%s)", strings.Join(refusals, "; "))
}

func (c *Component) fetchFrom(ctx context.Context, sfu uint16, least uint64, intend func(*raftpb.Snapshot) error) (err error) {
	restore, err := c.store.Restore()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, restore.Abandon())
		}
	}()
	chunk, transfer := &txnpb.SnapshotChunk{}, rand.Uint64()
	for sequence := uint32(0); !chunk.Last; sequence++ {
		chunk = &txnpb.SnapshotChunk{}
		if err := c.ask(ctx, sfu, txnpb.ReplicaStateMethod, &txnpb.StateRequest{Transfer: transfer, Sequence: sequence}, chunk); err != nil {
			return err
		}
		if chunk.ApplyVersion > c.cfg.Machine.Newest {
			return &machine.VersionError{Version: chunk.ApplyVersion, Know: c.cfg.Machine.Newest}
		}
		if err := restore.Add(rowsOf(chunk)); err != nil {
			return err
		}
	}
	switch {
	case restore.Sum() != chunk.Sum:
		return fmt.Errorf("txn: its state is damaged, too: the sum of its rows is %016x, it should be %016x", restore.Sum(), chunk.Sum)
	case chunk.AppliedIndex < least:
		return fmt.Errorf("txn: it has applied entries up to %d, and this member needs those up to %d", chunk.AppliedIndex, least)
	}
	at := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &chunk.AppliedIndex, Term: &chunk.AppliedTerm}}
	if err := intend(at); err != nil {
		return err
	}
	if err := restore.Switch(); err != nil {
		return err
	}
	c.host.Log().Info("the state was rebuilt from that of another SFU", "from", sfu, "index", chunk.AppliedIndex)
	return nil
}

// rowsOf are the rows of a chunk, which stay its own.
func rowsOf(chunk *txnpb.SnapshotChunk) []store.Row {
	rows := make([]store.Row, len(chunk.Rows))
	for i := range chunk.Rows {
		rows[i] = store.Row{Key: chunk.Rows[i].Key, Value: chunk.Rows[i].Value}
	}
	return rows
}
