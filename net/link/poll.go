package link

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pollable is a link that a [Poller] can wait for.
type Pollable interface {
	Link
	// Poll is Receive without the wait: it stores the frames that are there, and
	// reports whether more may be. After Close there are none. One goroutine at a time
	// may call Receive or Poll.
	Poll(frames []Frame) (n int, more bool)
	// attach lets p wait for this link's socket, and for those that it opens later. It
	// reports false if the carrier has none to wait for.
	attach(p *Poller) (bool, error)
}

// Poller waits for several links and a timer at once: a frame whose copies arrive on
// two networks wakes one goroutine, once. It is an epoll instance that holds the links'
// sockets and a timerfd, and that the runtime's own poller waits for as for any file.
//
//	p, err := link.NewPoller()
//	for _, l := range links {
//		polled, err := p.Add(l)
//	}
//	p.Run(func() { … Poll of each link, until none has more; what the timer is for })
//
// A timer of the runtime's would cost an idle process five wake-ups each time: two of
// its poller, which counts in whole milliseconds, two of the thread that watches over it,
// and one to hand over to a second processor.
type Poller struct {
	file   *os.File
	rc     syscall.RawConn
	timer  int             // descriptor
	next   unix.ItimerSpec // of the last Arm; here because the kernel is given its address
	closed atomic.Bool
}

// NewPoller returns a Poller that waits for nothing yet. The caller closes it.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("link: epoll: %w", err)
	}
	// The runtime polls only files that do not block.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("link: epoll: %w", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "links"), timer: -1}
	if p.rc, err = p.file.SyscallConn(); err == nil {
		err = p.addTimer(fd)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("link: epoll: %w", err), p.Close())
	}
	return p, nil
}

// addTimer makes the timer.
func (p *Poller) addTimer(epoll int) (err error) {
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return err
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN}
	return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, p.timer, &event)
}

// Arm lets Run call drain once d has passed, and not when an earlier Arm said. It is
// not called after Close, nor by two at a time.
func (p *Poller) Arm(d time.Duration) {
	// It fails for a bad descriptor or time only. Nobody reads the descriptor: to set it
	// is what makes it unready.
	p.next.Value = unix.NsecToTimespec(int64(max(d, 1)))
	if err := unix.TimerfdSettime(p.timer, 0, &p.next, nil); err != nil {
		panic(fmt.Errorf("link: timer of %v: %w", d, err))
	}
}

// Add lets the Poller wait for a link, and reports false if that kind of link needs
// somebody in its Receive. Before Run.
func (p *Poller) Add(l Link) (bool, error) {
	if l, ok := l.(Pollable); ok {
		return l.attach(p)
	}
	return false, nil
}

// add waits for a socket until that is closed.
func (p *Poller) add(rc syscall.RawConn) error {
	var fault error
	err := rc.Control(func(socket uintptr) {
		fault = p.rc.Control(func(epoll uintptr) {
			event := unix.EpollEvent{Events: unix.EPOLLIN}
			fault = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, int(socket), &event)
		})
	})
	if err := errors.Join(err, fault); err != nil {
		return fmt.Errorf("link: epoll: %w", err)
	}
	return nil
}

// Run calls drain once, and then whenever frames may have arrived or the timer has
// fired, until Close. drain
// must poll every link until it has no more: nothing calls it again for what it leaves.
func (p *Poller) Run(drain func()) {
	// The runtime notes an arrival during drain, so that the wait behind it returns at
	// once: no try is spent on finding that there is nothing more. The error is that
	// of a closed file.
	_ = p.rc.Read(func(uintptr) (done bool) {
		drain()
		return p.closed.Load()
	})
}

// Close ends Run. It waits for a drain that is under way, which may still Arm: who calls it
// holds nothing that drain waits for, and is not drain.
func (p *Poller) Close() error {
	p.closed.Store(true)
	err := p.file.Close()
	if p.timer >= 0 {
		err = errors.Join(err, unix.Close(p.timer))
	}
	return err
}
