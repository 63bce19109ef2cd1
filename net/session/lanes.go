package session

import (
	"encoding/binary"

	"virtualservicesinc.com/net/wire"
)

const (
	// recordHead is the length in front of each record in its stream.
	recordHead = 4
	// maxHeld bounds the pieces of a lane that wait for an earlier one. A sender
	// cannot leave more holes than it may have packets under way.
	maxHeld = maxPackets
	// arenaMin and arenaMax bound the memory that short records of one Take share: it
	// grows with use, and a batch beyond it costs one allocation more.
	arenaMin = 4 << 10
	arenaMax = 256 << 10
	// ownRecord is the length from which a record has memory of its own: it spans
	// many frames, and one allocation is nothing beside them.
	ownRecord = 16 << 10
)

// sendLane is the sending end of a lane: a stream of bytes from floor, below which
// everything is acknowledged, to end.
type sendLane struct {
	buf    buffer
	limit  int    // bound on end−floor, in bytes
	floor  uint64 // all below is acknowledged
	next   uint64 // nothing from here on was ever sent
	end    uint64
	credit uint64 // the peer takes what is below
	acked  spans  // acknowledged above floor
	// lost is what must be sent again, by the network that lost it and that the
	// next try should avoid.
	lost [networks]spans
}

func (l *sendLane) reset(credit uint64) {
	l.buf.reset()
	*l = sendLane{buf: l.buf, limit: l.limit, credit: credit, acked: l.acked[:0],
		lost: [networks]spans{l.lost[A][:0], l.lost[B][:0]}}
}

// write appends a record, which must fit.
func (l *sendLane) write(record []byte) {
	var head [recordHead]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(record)))
	l.buf.write(l.end, head[:])
	l.buf.write(l.end+recordHead, record)
	l.end += recordHead + uint64(len(record))
}

// fresh is the number of bytes that may be sent for the first time.
func (l *sendLane) fresh() uint64 {
	return max(min(l.end, l.credit), l.next) - l.next
}

// lostFirst is the network whose losses to send again now.
func (l *sendLane) lostFirst() (Network, bool) {
	switch {
	case len(l.lost[A]) == 0 && len(l.lost[B]) == 0:
		return 0, false
	case len(l.lost[A]) == 0 || len(l.lost[B]) > 0 && l.lost[B][0].lo < l.lost[A][0].lo:
		return B, true
	}
	return A, true
}

// ack notes that the peer has lo up to hi.
func (l *sendLane) ack(lo, hi uint64) {
	lo = max(lo, l.floor)
	if lo >= hi {
		return
	}
	for net := range l.lost {
		l.lost[net].remove(lo, hi)
	}
	if lo > l.floor {
		l.acked.add(lo, hi)
		return
	}
	l.floor = hi
	if len(l.acked) > 0 {
		l.acked.remove(0, hi) // a late copy may overlap
		if len(l.acked) > 0 && l.acked[0].lo <= l.floor {
			l.floor = l.acked[0].hi
			l.acked.remove(0, l.floor)
		}
	}
	l.buf.release(l.floor)
}

// lose notes that lo up to hi must be sent again, other than by net if possible.
func (l *sendLane) lose(net Network, lo, hi uint64) {
	lo = max(lo, l.floor)
	l.lost[net].add(lo, hi)
	for i := l.acked.find(lo); i < len(l.acked) && l.acked[i].lo < hi; i++ {
		l.lost[net].remove(l.acked[i].lo, l.acked[i].hi)
	}
}

// fragment appends stream bytes from position, at most n and at most what b has
// room for, as one chunk. It returns how many stream bytes it took; 0 if none fit.
func (l *sendLane) fragment(b []byte, lane Lane, position uint64, n uint64) ([]byte, int) {
	room := cap(b) - len(b) - wire.FragmentOverhead
	if room <= 0 {
		return b, 0
	}
	size := int(min(n, uint64(room)))
	b = wire.AppendFragmentHead(b, lane, position, size)
	for rest := size; rest > 0; {
		part := l.buf.peek(position, rest)
		b = append(b, part...)
		rest -= len(part)
		position += uint64(len(part))
	}
	return b, size
}

// receiveLane is the receiving end of a lane.
type receiveLane struct {
	buf    buffer // of what waits for an earlier piece
	held   spans  // where that stands
	window int    // bytes that the peer may send beyond what was taken
	next   uint64 // all below has been consumed
	taken  uint64 // all below has been handed out by take
	limit  uint64 // the credit that the peer was told

	head     [recordHead]byte // of the record being read
	headLen  int
	record   []byte // what is there of it
	want     int    // its length
	complete uint64 // end of the last complete record in the stream

	ready  [][]byte // complete records, to be taken
	out    [][]byte // taken before
	arena  []byte   // memory of short records in ready
	spare  []byte   // the arena of out
	orphan [][]byte // complete records of a connection that was lost, to be taken before Events tells

	records, bytes uint64
	broken         bool // the peer claims a record longer than it may send
}

// reset begins a new stream. With keep, what is complete can still be taken, until
// Events has told of the loss.
func (l *receiveLane) reset(keep bool) {
	l.buf.reset()
	orphan := l.orphan
	if keep {
		orphan = append(orphan, l.ready...)
	}
	*l = receiveLane{buf: l.buf, held: l.held[:0], window: l.window, limit: uint64(l.window), record: shrink(l.record),
		out: l.out, spare: l.spare, orphan: orphan, records: l.records, bytes: l.bytes}
}

// shrink empties b for reuse if it is short.
func shrink(b []byte) []byte {
	if cap(b) > ownRecord {
		return nil
	}
	return b[:0]
}

// fits reports whether a fragment is inside the credit and can be kept.
func (l *receiveLane) fits(position uint64, n int) bool {
	return position+uint64(n) <= l.limit && (position <= l.next || len(l.held) < maxHeld)
}

// add takes a fragment that fits.
func (l *receiveLane) add(position uint64, data []byte) {
	end := position + uint64(len(data))
	if end <= l.next {
		return
	}
	if position > l.next {
		l.held.add(position, end)
		l.buf.write(position, data)
		return
	}
	l.consume(data[l.next-position:])
	for len(l.held) > 0 && l.held[0].lo <= l.next {
		hi := l.held[0].hi
		l.held.remove(0, hi)
		for l.next < hi {
			l.consume(l.buf.peek(l.next, int(min(hi-l.next, blockSize))))
		}
	}
	l.buf.release(l.next)
}

// consume reads the next bytes of the stream.
func (l *receiveLane) consume(data []byte) {
	l.next += uint64(len(data))
	for len(data) > 0 {
		if l.headLen < recordHead {
			n := copy(l.head[l.headLen:], data)
			l.headLen += n
			data = data[n:]
			if l.headLen < recordHead {
				return
			}
			l.want = int(binary.BigEndian.Uint32(l.head[:]))
			if l.want > longestRecord(l.window) {
				l.broken = true
				return
			}
			if l.want >= ownRecord {
				l.record = make([]byte, 0, l.want)
			}
		}
		n := min(len(data), l.want-len(l.record))
		if len(l.record) == 0 && n == l.want && n < ownRecord {
			l.deliver(l.keep(data[:n])) // whole and short: copied once
		} else {
			l.record = append(l.record, data[:n]...)
			if len(l.record) == l.want {
				if l.want >= ownRecord {
					l.deliver(l.record)
					l.record = nil
				} else {
					l.deliver(l.keep(l.record))
					l.record = l.record[:0]
				}
			}
		}
		data = data[n:]
		if l.headLen == 0 {
			l.complete = l.next - uint64(len(data))
		}
	}
}

// keep copies a short record into the arena.
func (l *receiveLane) keep(record []byte) []byte {
	if len(l.arena)+len(record) > cap(l.arena) {
		// The records of the full one keep it alive until they are given up.
		l.arena = make([]byte, 0, max(min(2*cap(l.arena), arenaMax), arenaMin, len(record)))
	}
	from := len(l.arena)
	l.arena = append(l.arena, record...)
	return l.arena[from:len(l.arena):len(l.arena)]
}

func (l *receiveLane) deliver(record []byte) {
	l.ready = append(l.ready, record)
	l.records++
	l.bytes += uint64(len(record))
	l.headLen, l.want = 0, 0
}

// take hands out what is complete; with orphans, only what came before the loss.
func (l *receiveLane) take(orphans bool) [][]byte {
	clear(l.out) // lets go of long records
	if orphans {
		l.out, l.orphan = l.orphan, nil
		return l.out
	}
	l.out, l.ready = l.ready, l.out[:0]
	l.spare, l.arena = l.arena, l.spare[:0]
	l.taken = l.complete
	return l.out
}

// credit is how far the peer may send now, and whether that is worth telling.
func (l *receiveLane) credit() (position uint64, tell bool) {
	position = l.taken + uint64(l.window)
	return position, position-l.limit >= uint64(l.window)/4
}

// longestRecord is the longest record of a lane whose bound is n bytes: with less
// than a quarter of the credit untold, a record of half the window always fits.
func longestRecord(n int) int { return n/2 - recordHead }
