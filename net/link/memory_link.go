package link

import (
	"net"
	"slices"
	"time"
)

// NIC is what a node of a Network sends by. The zero NIC sends at once and refuses
// nothing.
type NIC struct {
	// Rate is what it puts on the wire, in Mbit/s; 0 has no bound. Whoever it sends to,
	// one frame leaves behind the other.
	Rate int
	// Queue is how many frames wait in it; Send refuses what comes then.
	Queue int
	// Speed is what Status says of it.
	Speed int
}

// nicOverhead is what Ethernet puts around a frame, in bytes: preamble, header, checksum
// and gap.
const nicOverhead = 38

// MemoryLink is one node's link to a Network.
type MemoryLink struct {
	network *Network
	sfu     uint16
	count   counters
	changed chan struct{}
	wake    chan struct{} // a token: inbox may hold frames
	closing chan struct{}

	// Guarded by network.mu.
	inbox []Frame
	nic   NIC
	leave []time.Duration // when those that wait in the NIC have left, in order
	down  bool
	done  bool
}

var _ Link = (*MemoryLink)(nil)

// Link joins a node to the network. A node's number can be used again after its
// link was closed; until then Link panics.
func (n *Network) Link(sfu uint16) *MemoryLink {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[sfu] != nil {
		panic("link: the network has that node already")
	}
	l := &MemoryLink{
		network: n,
		sfu:     sfu,
		changed: make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
	}
	n.nodes[sfu] = l
	at, _ := slices.BinarySearch(n.order, sfu)
	n.order = slices.Insert(n.order, at, sfu)
	return l
}

// SetCarrier takes the node's carrier away or gives it back, as pulling its
// cable does: nothing leaves or arrives, and both ends of the link can tell.
func (l *MemoryLink) SetCarrier(up bool) {
	l.network.mu.Lock()
	l.down = !up
	l.network.mu.Unlock()
	token(l.changed)
}

// SetNIC gives the node a NIC. What waits in the old one still leaves.
func (l *MemoryLink) SetNIC(nic NIC) {
	l.network.mu.Lock()
	l.nic = nic
	l.network.mu.Unlock()
	token(l.changed)
}

// Queued is how long it takes the NIC to send what waits in it.
func (l *MemoryLink) Queued() time.Duration {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	if len(l.leave) == 0 {
		return 0
	}
	return max(l.leave[len(l.leave)-1]-l.network.now(), 0)
}

func (l *MemoryLink) Send(frames []Frame) (int, error) {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	sent, bytes := 0, 0
	var first error
	for _, f := range frames {
		err := l.sendLocked(f)
		if err == nil {
			sent++
			bytes += len(f.Data)
		} else if first == nil {
			first = err
		}
	}
	l.count.sentFrames.Add(uint64(sent))
	l.count.sentBytes.Add(uint64(bytes))
	l.count.sendLost.Add(uint64(len(frames) - sent))
	n.deliverLocked()
	token(n.kick)
	return sent, first
}

func (l *MemoryLink) sendLocked(f Frame) error {
	n := l.network
	switch {
	case l.done:
		return net.ErrClosed
	case l.down:
		return ErrDown
	case len(f.Data) == 0 || len(f.Data) > n.mtu:
		return ErrSize
	case f.Addr.kind != kindLocal && f.Addr.kind != kindBroadcast:
		return ErrAddr
	}
	left, ok := l.leaveLocked(len(f.Data))
	if !ok {
		return ErrFull
	}
	if f.Addr.kind == kindLocal {
		n.sendLocked(l.sfu, f.Addr.num, f.Data, left)
		return nil
	}
	for _, to := range n.order {
		if to != l.sfu {
			n.sendLocked(l.sfu, to, f.Data, left)
		}
	}
	return nil
}

// leaveLocked puts a frame of n bytes into the NIC and returns when that has sent it; ok
// is false if the queue is full.
func (l *MemoryLink) leaveLocked(n int) (left time.Duration, ok bool) {
	now := l.network.now()
	if l.nic.Rate == 0 {
		return now, true
	}
	for len(l.leave) > 0 && l.leave[0] <= now {
		l.leave = l.leave[1:]
	}
	if len(l.leave) > l.nic.Queue {
		return 0, false
	}
	left = now
	if len(l.leave) > 0 {
		left = l.leave[len(l.leave)-1]
	}
	left += time.Duration(n+nicOverhead) * 8 * time.Microsecond / time.Duration(l.nic.Rate)
	l.leave = append(l.leave, left)
	return left, true
}

// arriveLocked takes one frame in.
func (l *MemoryLink) arriveLocked(f Frame) {
	switch {
	case l.down:
	case len(l.inbox) >= memoryDepth:
		l.count.overrun.Add(1)
	default:
		l.inbox = append(l.inbox, f)
		token(l.wake)
	}
}

// Poll is Receive without waiting: it returns 0 when nothing is there. A
// simulation that owns every goroutine calls it.
func (l *MemoryLink) Poll(frames []Frame) int {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	n := 0
	for len(l.inbox) > 0 && n < min(len(frames), BatchSize) {
		f := l.inbox[0]
		l.inbox[0] = Frame{}
		l.inbox = l.inbox[1:]
		if len(f.Data) > cap(frames[n].Data) {
			l.count.truncated.Add(1)
			continue
		}
		frames[n].Addr = f.Addr
		frames[n].Data = append(frames[n].Data[:0], f.Data...)
		n++
	}
	if len(l.inbox) == 0 {
		l.inbox = nil
	} else {
		token(l.wake)
	}
	l.count.received(frames[:n])
	return n
}

func (l *MemoryLink) Receive(frames []Frame) (int, error) {
	for {
		select {
		case <-l.closing:
			return 0, net.ErrClosed
		default:
		}
		if n := l.Poll(frames); n > 0 {
			return n, nil
		}
		select {
		case <-l.closing:
		case <-l.wake:
		}
	}
}

func (l *MemoryLink) Status() Status {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	s := Status{Up: true, Local: Local(l.sfu), MTU: l.network.mtu, Speed: l.nic.Speed}
	switch {
	case l.done:
		s.Up, s.Why = false, "closed"
	case l.down:
		s.Up, s.Why = false, "no carrier"
	}
	return s
}

func (l *MemoryLink) Changed() <-chan struct{} { return l.changed }
func (l *MemoryLink) Counters() Counters       { return l.count.snapshot() }

func (l *MemoryLink) Close() error {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.done {
		return nil
	}
	l.done = true
	delete(n.nodes, l.sfu)
	n.order = slices.DeleteFunc(n.order, func(s uint16) bool { return s == l.sfu })
	close(l.closing)
	return nil
}
