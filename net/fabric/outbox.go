package fabric

import (
	"errors"
	"sync"

	"virtualservicesinc.com/net/session"
)

// Errors of Send. ErrPeerDown, ErrLaneFull, ErrRecordTooLarge and ErrNoLane are
// those of package session.
var (
	ErrPeerDown       = session.ErrPeerDown
	ErrLaneFull       = session.ErrLaneFull
	ErrRecordTooLarge = session.ErrRecordTooLarge
	ErrNoLane         = session.ErrNoLane
	ErrNoPeer         = errors.New("fabric: no such peer")
	ErrClosed         = errors.New("fabric: closed")
)

// recordHeader is what a record costs in its lane beside its bytes.
const recordHeader = 4

// outbox is where any goroutine leaves records for the sessions. It knows how much
// room each lane has, so that a caller is told at once when there is none; what it
// takes, the session has room for unless the peer is lost meanwhile.
type outbox struct {
	mu     sync.Mutex
	peers  map[uint16]*outPeer
	queue  []outRecord
	bytes  []byte // of the queued records, one behind the other
	closed bool

	// What the sessions are given, swapped with the above when all of it was.
	taken      []outRecord
	takenBytes []byte
	at, byteAt int // of taken and takenBytes: what comes before was given
}

// outPeer is what senders may know of a peer.
type outPeer struct {
	up bool
	// life counts connections: a record for one is not sent on the next.
	life uint64
	lane [lanes]outLane
}

type outLane struct {
	limit   int           // of the session's lane, in bytes
	free    int           // of limit, when the session was last asked
	waiting int           // bytes of records that the session has not been given
	longest int           // record that the two sides agreed on
	wake    chan struct{} // closed when there is more room, or the peer goes; nil while nobody waits
}

// outRecord is one record in outbox.bytes.
type outRecord struct {
	to   uint16
	lane Lane
	life uint64
	size int
}

// keepOutbox and keepRecords bound what an idle outbox keeps for the next burst: a
// mebibyte of records, in bytes, and the list of as many small ones.
const (
	keepOutbox  = 1 << 20
	keepRecords = 1 << 15
)

// addLocked takes a copy of a record if there is room for it.
func (o *outbox) addLocked(to uint16, lane Lane, record []byte) error {
	p, l, err := o.laneLocked(to, lane)
	if err != nil {
		return err
	}
	size := len(record) + recordHeader
	switch {
	case len(record) > l.longest:
		return ErrRecordTooLarge
	case l.waiting+size > l.free:
		return ErrLaneFull
	}
	l.waiting += size
	o.bytes = append(o.bytes, record...)
	o.queue = append(o.queue, outRecord{to: to, lane: lane, life: p.life, size: len(record)})
	return nil
}

// laneLocked returns the lane of a peer that is up.
func (o *outbox) laneLocked(to uint16, lane Lane) (*outPeer, *outLane, error) {
	p := o.peers[to]
	switch {
	case o.closed:
		return nil, nil, ErrClosed
	case p == nil:
		return nil, nil, ErrNoPeer
	case lane >= lanes:
		return nil, nil, ErrNoLane
	case !p.up:
		return nil, nil, ErrPeerDown
	}
	return p, &p.lane[lane], nil
}

// add is addLocked for one record.
func (o *outbox) add(to uint16, lane Lane, record []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.addLocked(to, lane, record)
}

// addPatiently is add for a caller that waits anyway: it has the lane full when the
// outbox holds as much of it as it keeps room for. More would only make it grow.
func (o *outbox) addPatiently(to uint16, lane Lane, record []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, l, err := o.laneLocked(to, lane); err == nil && l.waiting > 0 && l.waiting+len(record) > keepOutbox {
		return ErrLaneFull
	}
	return o.addLocked(to, lane, record)
}

// addBatch takes as many records as there is room for.
func (o *outbox) addBatch(to uint16, lane Lane, records [][]byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, r := range records {
		if err := o.addLocked(to, lane, r); err != nil {
			return i, err
		}
	}
	return len(records), nil
}

// wait returns a channel that is closed when the lane may have room again, or the
// peer's state has changed.
func (o *outbox) wait(to uint16, lane Lane) (<-chan struct{}, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, l, err := o.laneLocked(to, lane)
	if err != nil {
		return nil, err
	}
	if l.wake == nil {
		l.wake = make(chan struct{})
	}
	return l.wake, nil
}

// pending reports whether records wait to be taken.
func (o *outbox) pending() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) > 0 || o.at < len(o.taken)
}

// take returns waiting records, oldest first, and their bytes: at most max bytes, but
// one record at least. They are the caller's until the next take. Only who holds the
// Fabric's lock calls it.
func (o *outbox) take(max int) ([]outRecord, []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.at == len(o.taken) {
		if cap(o.takenBytes) > keepOutbox || cap(o.taken) > keepRecords {
			o.taken, o.takenBytes = nil, nil
		}
		o.queue, o.taken = o.taken[:0], o.queue
		o.bytes, o.takenBytes = o.takenBytes[:0], o.bytes
		o.at, o.byteAt = 0, 0
	}
	end, bytes := o.at, 0
	for end < len(o.taken) && (end == o.at || bytes+o.taken[end].size <= max) {
		bytes += o.taken[end].size
		end++
	}
	records, data := o.taken[o.at:end], o.takenBytes[o.byteAt:o.byteAt+bytes]
	o.at, o.byteAt = end, o.byteAt+bytes
	return records, data
}

// current reports whether a record taken is for the connection that there is now.
// Only who holds the
// Fabric's lock calls it: nobody else changes what it reads.
func (o *outbox) current(r *outRecord) bool {
	p := o.peers[r.to]
	return p != nil && p.up && p.life == r.life
}

// setPeers replaces the peers. Those that stay keep their state.
func (o *outbox) setPeers(sfus []uint16, limit [lanes]int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	old := o.peers
	o.peers = make(map[uint16]*outPeer, len(sfus))
	for _, sfu := range sfus {
		p := old[sfu]
		if p == nil {
			p = new(outPeer)
			for lane := range p.lane {
				p.lane[lane] = outLane{limit: limit[lane]}
			}
		}
		o.peers[sfu] = p
		delete(old, sfu)
	}
	for _, p := range old {
		p.wakeLocked()
	}
}

// setUp begins or ends a connection.
func (o *outbox) setUp(sfu uint16, up bool, s *session.Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.peers[sfu]
	if p == nil {
		return
	}
	p.up = up
	if up {
		p.life++
		p.lookLocked(s)
	}
	p.wakeLocked()
}

// publish tells senders how the lanes of a session stand, and that given bytes of
// its records are no longer waiting.
func (o *outbox) publish(sfu uint16, s *session.Session, given [lanes]int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.peers[sfu]
	if p == nil {
		return
	}
	p.lookLocked(s)
	for lane := range p.lane {
		l := &p.lane[lane]
		l.waiting -= given[lane]
		if l.wake != nil && l.free > l.waiting {
			close(l.wake)
			l.wake = nil
		}
	}
}

// lookLocked notes how the lanes of a session stand.
func (p *outPeer) lookLocked(s *session.Session) {
	for lane := range p.lane {
		l := &p.lane[lane]
		l.free = l.limit - s.Queued(Lane(lane))
		// What bounds a record in a lane with more room than that is the
		// longest that the two sides have agreed on.
		if room := s.Room(Lane(lane)); room < l.free-recordHeader {
			l.longest = room
		}
	}
}

// close refuses records from now on.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, p := range o.peers {
		p.wakeLocked()
	}
}

// wakeLocked lets all who wait for room look again.
func (p *outPeer) wakeLocked() {
	for lane := range p.lane {
		if l := &p.lane[lane]; l.wake != nil {
			close(l.wake)
			l.wake = nil
		}
	}
}
