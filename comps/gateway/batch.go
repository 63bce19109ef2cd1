package gateway

import (
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// tagSubmission is the tag of SubmitBatch.submissions, and tagOutcome that of
// Outcomes.outcomes: both are field 1.
const (
	tagSubmission = 1<<3 | message.WireBytes
	tagOutcome    = 1<<3 | message.WireBytes
)

// batch is one encoded SubmitBatch and who waits for its outcomes. It belongs to
// the queue, whose lock guards it, until it has been taken out to be answered.
type batch struct {
	body     []byte // only appended to until it is sent, never changed afterwards
	entries  []entry
	earliest time.Duration // no deadline in it is before that
	secret   bool          // a transaction in it may hold something sensitive

	sent     int           // how often it was sent
	under    int           // calls of it without an answer
	lastSent time.Duration // when it was last sent
	pause    time.Duration // the last pause before it was sent again
	due      time.Duration // when the pause ends
	answered bool          // taken out
	overdue  int           // entries that were answered PENDING meanwhile
	partial  bool          // an earlier sending may have been executed
}

// entry is one transaction of a batch.
type entry struct {
	c        *conn // nil once it has been answered
	in       *session
	call     uint64
	deadline time.Duration
	arrived  time.Duration
	earlier  int // how often it was sent in batches before this one
	start, n int // body[start:start+n] is the encoded transaction
}

// add appends a transaction: s, whose connection and deadline are those of e.
func (b *batch) add(e entry, s *txnpb.Submission) {
	b.body = message.AppendVarint(append(b.body, tagSubmission), uint64(s.Size()))
	// The transaction is the submission's first field: it ends where its length and
	// tag let it.
	e.start = len(b.body) + 1 + message.SizeVarint(uint64(len(s.Transaction)))
	e.n = len(s.Transaction)
	b.body = s.AppendTo(b.body)
	b.secret = b.secret || !txnpb.Plain(s.Transaction)
	if len(b.entries) == 0 || e.deadline < b.earliest {
		b.earliest = e.deadline
	}
	b.entries = append(b.entries, e)
}

// transaction returns the encoded transaction of an entry.
func (b *batch) transaction(e *entry) []byte { return b.body[e.start : e.start+e.n : e.start+e.n] }

// latest returns the last deadline of the entries that are not answered yet; 0 if
// there are none.
func (b *batch) latest() (last time.Duration) {
	for i := range b.entries {
		if e := &b.entries[i]; e.c != nil {
			last = max(last, e.deadline)
		}
	}
	return last
}

// outcome is what the gateway must know of one encoded Outcome.
type outcome struct {
	body      []byte
	state     txnpb.State
	timestamp uint64 // ledger time of a committed one that tells it
}

// Tags of txnpb.Outcome and txnpb.Results. TestOutcomeTags holds them.
const (
	tagState     = 2<<3 | message.WireVarint
	tagResults   = 4<<3 | message.WireBytes
	tagTimestamp = 1<<3 | message.WireVarint
)

// nextOutcome takes the next Outcome off an encoded Outcomes at b[i]. next is
// negative when b is malformed.
func nextOutcome(b []byte, i int) (o outcome, next int) {
	for i < len(b) {
		var tag uint64
		if tag, i = message.Varint(b, i); i < 0 {
			return o, i
		}
		if tag != tagOutcome {
			if i = message.Skip(b, i, tag); i < 0 {
				return o, i
			}
			continue
		}
		if o.body, i = message.Bytes(b, i); i < 0 || !o.look() {
			return o, -1
		}
		return o, i
	}
	return o, -1
}

// look finds state and timestamp.
func (o *outcome) look() bool {
	b := o.body
	for i := 0; i < len(b); {
		var tag, v uint64
		if tag, i = message.Varint(b, i); i < 0 {
			return false
		}
		switch tag {
		case tagState:
			if v, i = message.Varint(b, i); i < 0 {
				return false
			}
			o.state = txnpb.State(v)
		case tagResults:
			var r []byte
			if r, i = message.Bytes(b, i); i < 0 {
				return false
			}
			if len(r) > 0 && r[0] == tagTimestamp {
				o.timestamp, _ = message.Varint(r, 1)
			}
		default:
			if i = message.Skip(b, i, tag); i < 0 {
				return false
			}
		}
	}
	return true
}
