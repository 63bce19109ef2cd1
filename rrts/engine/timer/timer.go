// Package timer wakes a goroutine at a time that may be put off or brought forward, again
// and again, as a loop's next tick.
//
//	t, err := timer.Kernel()
//	go t.Run(func() { …; t.Arm(next) })
//	t.Arm(10 * time.Millisecond)
//	t.Close()
//
// [Runtime] is a timer of the Go runtime, the one for tests on virtual time. [Kernel] is a
// timerfd that the runtime's poller waits for as for any socket. A process that has other
// work does not feel the difference. One that is idle does: for a timer of its own the
// runtime wakes five times, twice in its poller, which counts in whole milliseconds, twice
// in the thread that watches over it, and once to hand over to a second processor; for a
// descriptor once.
package timer

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Next is how long it is to a multiple of d by the wall clock, from d/2 to d and a half. Loops
// that look again and again, and need not be exact, wait for so long: those of a process look
// at the same moment, and wake it once. A clock that is set costs one of them half a d.
func Next(d time.Duration) time.Duration {
	return d + d/2 - (time.Duration(time.Now().UnixNano())+d/2)%d
}

// Timer fires once after each Arm.
type Timer interface {
	// Arm lets the timer fire when d has passed, at once if that is not above 0, and not
	// when an earlier Arm said. One goroutine at a time may call it, also from within Run's
	// fire. After Close it does nothing.
	Arm(d time.Duration)
	// Run calls fire when the timer has fired, until Close. It is called once. An Arm that
	// comes while the timer fires may cost a call too many; none is lost.
	Run(fire func())
	// Close ends Run. It may wait for a fire that is under way: who calls it holds nothing
	// that fire waits for, and is not fire. It is called once.
	Close() error
}

// Runtime returns a timer of the Go runtime.
func Runtime() Timer {
	r := &runtime{timer: time.NewTimer(time.Hour), closed: make(chan struct{})}
	r.timer.Stop()
	return r
}

type runtime struct {
	timer  *time.Timer
	closed chan struct{}
}

func (r *runtime) Arm(d time.Duration) { r.timer.Reset(d) }

func (r *runtime) Run(fire func()) {
	for {
		select {
		case <-r.closed:
			return
		case <-r.timer.C:
			fire()
		}
	}
}

func (r *runtime) Close() error {
	close(r.closed)
	r.timer.Stop()
	return nil
}

// Kernel returns a timer of the kernel's.
func Kernel() (Timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("timer: %w", err)
	}
	k := &kernel{file: os.NewFile(uintptr(fd), "timer")}
	if k.rc, err = k.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("timer: %w", err), k.file.Close())
	}
	return k, nil
}

type kernel struct {
	file *os.File
	rc   syscall.RawConn
	next unix.ItimerSpec // of the last Arm; here because the kernel is given its address
}

func (k *kernel) Arm(d time.Duration) {
	k.next.Value = unix.NsecToTimespec(int64(max(d, 1)))
	var fault error
	_ = k.rc.Control(func(fd uintptr) { fault = unix.TimerfdSettime(int(fd), 0, &k.next, nil) }) // or it is closed
	if fault != nil {                                                                            // a bad time
		panic(fmt.Errorf("timer: %v: %w", d, fault))
	}
}

func (k *kernel) Run(fire func()) {
	// Nobody reads the descriptor: the runtime is told of each firing, and notes one that
	// comes during fire, so that the wait behind it returns at once. The error is that of a
	// closed file.
	armed := false
	_ = k.rc.Read(func(fd uintptr) (done bool) {
		// Before the first wait the runtime may have been told, and have forgotten it.
		if armed || k.expired(fd) {
			fire()
		}
		armed = true
		return false
	})
}

// expired reports whether the timer has fired, and takes note of it.
func (k *kernel) expired(fd uintptr) bool {
	var count [8]byte
	n, _ := unix.Read(int(fd), count[:])
	return n == len(count)
}

func (k *kernel) Close() error { return k.file.Close() }
