package link

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sendPatience bounds how long one Send waits for room in a full queue. The
	// other network's copy waits as long, so it is far below the millisecond that a cut
	// may cost: a virtual NIC says that its queue is full when its far end is down. A
	// gigabit NIC drains some 20 full frames in it.
	sendPatience = 250 * time.Microsecond
	// sendPause is the wait between two tries: about what the kernel's scheduler can
	// do, and half a dozen frames on a gigabit wire.
	sendPause = 50 * time.Microsecond
)

// patience decides how often a full queue is tried again. A queue that stayed
// full for a whole Send is jammed: it is not waited for again until it has taken
// a frame, so that a stuck NIC or a stopped neighbour costs the others a
// quarter of a millisecond once and not at every Send.
type patience struct {
	began  time.Time
	jammed map[Addr]struct{}
}

// begin starts the budget of one Send.
func (p *patience) begin() { p.began = time.Time{} }

// wait pauses and returns true if queue is worth another try.
func (p *patience) wait(queue Addr) bool {
	if _, ok := p.jammed[queue]; ok {
		return false
	}
	now := time.Now()
	if p.began.IsZero() {
		p.began = now
	}
	if now.Sub(p.began) >= sendPatience {
		p.jam(queue)
		return false
	}
	shortSleep(sendPause)
	return true
}

// shortSleep sleeps in the kernel, on this thread: the runtime's timers count in
// milliseconds when a process is otherwise idle. It may wake early.
func shortSleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	unix.Nanosleep(&t, nil)
}

// maxJammed bounds the queues remembered as jammed: more neighbours than one
// machine holds. A queue beyond it is only waited for again.
const maxJammed = 256

// jam marks queue as jammed.
func (p *patience) jam(queue Addr) {
	if p.jammed == nil {
		p.jammed = make(map[Addr]struct{})
	}
	if len(p.jammed) < maxJammed {
		p.jammed[queue] = struct{}{}
	}
}

// took marks that queue took a frame.
func (p *patience) took(queue Addr) {
	if len(p.jammed) > 0 {
		delete(p.jammed, queue)
	}
}
