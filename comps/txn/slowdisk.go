package txn

import (
	"fmt"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/engine"
)

const (
	// slowWrite is how long a write of the log takes on a disk that is slow, and slowWrites
	// how many of them in a row say so: a hard disk that shares its queue with a backup
	// needs some tens of milliseconds.
	slowWrite  = 250 * time.Millisecond
	slowWrites = 4
	// stuckWrite is how long one that is under way may take until the disk counts as slow:
	// clients wait that long.
	stuckWrite = time.Second
	// goodWrite and goodWrites say that the disk is good again, and goodFor that it has been
	// for long enough: the lead should not come and go.
	goodWrite  = slowWrite / 2
	goodWrites = 20
	goodFor    = 10 * time.Second
	// relieveAgain is how often a leader tries to pass the lead on while its disk is slow:
	// what is submitted meanwhile waits.
	relieveAgain = 2 * time.Second

	// alarmSlow is the journal's own: the Monitor raises it for disks.
	alarmSlow = "disk-slow@journal"
)

// diskSpeed is how fast the disk takes the log. The append thread writes it.
type diskSpeed struct {
	began atomic.Int64 // of the write under way; 0: none
	slow  atomic.Bool
	took  atomic.Int64 // of the newest slow write

	slowRow, goodRow int
	lastSlow         time.Duration
}

func (s *diskSpeed) begin(now time.Duration) { s.began.Store(int64(max(now, 1))) }

// end takes note of a write, if it was one.
func (s *diskSpeed) end(now time.Duration, wrote bool) {
	took := now - time.Duration(s.began.Swap(0))
	if !wrote {
		return
	}
	if took >= slowWrite {
		s.slowRow++
		s.lastSlow = now
		s.took.Store(int64(took))
	} else {
		s.slowRow = 0
	}
	if took < goodWrite {
		s.goodRow++
	} else {
		s.goodRow = 0
	}
	switch {
	case s.slowRow >= slowWrites || took >= stuckWrite:
		s.slow.Store(true)
	case s.goodRow >= goodWrites && now-s.lastSlow >= goodFor:
		s.slow.Store(false)
	}
}

// look reports whether the disk is slow, and how long a write took or takes.
func (s *diskSpeed) look(now time.Duration) (slow bool, took time.Duration) {
	if began := time.Duration(s.began.Load()); began > 0 && now-began >= stuckWrite {
		return true, now - began
	}
	return s.slow.Load(), time.Duration(s.took.Load())
}

// lookAtSpeed notes whether the disk is slow. A slow leader lets a member lead that is not.
func (l *loop) lookAtSpeed(now time.Duration) {
	slow, took := l.c.appender.speed.look(now)
	if slow && l.leading && (l.relieved == 0 || now-l.relieved >= relieveAgain) && l.replica.Relieve() {
		l.relieved = now
		l.c.host.Log().Warn("the disk is slow, another SFU is asked to lead", "write", took)
	}
	if slow == l.c.slow.Load() {
		return
	}
	l.c.slow.Store(slow)
	if slow {
		l.c.host.Alarm(alarmSlow, engine.Warning, fmt.Sprintf("a write of the journal in %s takes %v; another SFU leads if its disk is better", l.c.cfg.Dir, took.Round(time.Millisecond)))
	} else {
		l.c.host.ClearAlarm(alarmSlow)
	}
}
