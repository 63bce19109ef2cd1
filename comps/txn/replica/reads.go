package replica

import (
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
)

// MaxReads bounds the reads that wait for their index or for the state to reach it.
const MaxReads = 4096

// Read is a linearizable read that waits until it may be answered.
type Read struct {
	// Origin is the owner's.
	Origin any
	// Deadline is when the owner gives up, on the clock of now; 0 means never.
	Deadline time.Duration
	// Failed is set when the read cannot be served here: not the leader, too many
	// wait, or the deadline passed. Ask the leader.
	Failed bool

	index uint64
}

// reads are the reads that wait. A round asks a quorum whether this is still the
// leader, and serves all reads that were there when it began; those that come
// meanwhile are the next round's. So raft never has more than one to keep.
type reads struct {
	fresh []*Read // for the next round
	asked []*Read // of the round under way
	known []*Read // their index is known; in its order
	round uint64  // the context of the round under way; 0: none is
	last  uint64  // the greatest context used
	done  []*Read
}

// Read asks for the right to answer a linearizable read. It comes back in
// Output.Reads, possibly Failed.
func (r *Replica) Read(rd *Read) {
	q := &r.reads
	if !r.leading || r.halted || len(q.fresh)+len(q.asked)+len(q.known) >= MaxReads {
		q.fail(rd)
		return
	}
	q.fresh = append(q.fresh, rd)
}

// idle reports whether no read waits.
func (q *reads) idle() bool { return len(q.fresh)+len(q.asked)+len(q.known) == 0 }

// askReads begins a round. A leader knows what is committed only once an entry of
// its own is.
func (r *Replica) askReads() {
	q := &r.reads
	if !r.ruled || q.round != 0 || len(q.fresh) == 0 {
		return
	}
	q.last++
	q.round = q.last
	q.asked = move(q.asked, &q.fresh)
	r.node.ReadIndex(binary.BigEndian.AppendUint64(nil, q.round))
}

// regroup has the reads of the round under way asked for again: the acknowledgements
// that it waits for may be those of members that have left.
func (q *reads) regroup() {
	if q.round != 0 {
		q.fresh = append(q.asked, q.fresh...)
		q.asked, q.round = nil, 0
	}
}

// indexed notes at which index the reads of a round may be served.
func (q *reads) indexed(rs raft.ReadState) {
	if len(rs.RequestCtx) != 8 || binary.BigEndian.Uint64(rs.RequestCtx) != q.round {
		return // of an earlier leadership
	}
	for _, rd := range q.asked {
		rd.index = rs.Index
	}
	q.known = move(q.known, &q.asked)
	q.round = 0
}

// serveReads releases the reads whose index is applied.
func (r *Replica) serveReads() {
	q := &r.reads
	n := 0
	for n < len(q.known) && q.known[n].index <= r.applied {
		n++
	}
	q.done = append(q.done, q.known[:n]...)
	q.known = slices.Delete(q.known, 0, n)
}

func (q *reads) fail(rd *Read) {
	rd.Failed = true
	q.done = append(q.done, rd)
}

// abandon fails all reads at the end of leadership.
func (q *reads) abandon() {
	for _, list := range []*[]*Read{&q.known, &q.asked, &q.fresh} {
		for _, rd := range *list {
			q.fail(rd)
		}
		*list = nil
	}
	q.round = 0
}

// sweep fails what has passed its deadline.
func (q *reads) sweep(now time.Duration) {
	for _, list := range []*[]*Read{&q.known, &q.asked, &q.fresh} {
		*list = slices.DeleteFunc(*list, func(rd *Read) bool {
			over := rd.Deadline != 0 && rd.Deadline <= now
			if over {
				q.fail(rd)
			}
			return over
		})
	}
}
