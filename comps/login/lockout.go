package login

import (
	"container/list"
	"time"
)

// lockout makes guessing slow. It counts wrong passwords by key: a login name's
// hash, or an address. It reads no clock. Not safe for concurrent use.
type lockout struct {
	free    int // wrong attempts before anything is locked
	entries map[string]*list.Element
	order   *list.List // of *attempts, the one that was touched longest ago first
}

const (
	// maxLockouts bounds the keys that are remembered; the one that was touched
	// longest ago is forgotten. A key takes some 200 bytes.
	maxLockouts = 16_384
	// freeByName wrong passwords cost nothing: people mistype. freeByAddress is more:
	// a shop is one address.
	freeByName    = 5
	freeByAddress = 50
	// lockFirst is the first lock; each further wrong password doubles it up to
	// lockMost, so that guessing does not get further than a few hundred a day.
	lockFirst = time.Second
	lockMost  = 5 * time.Minute
	// forget is how long after the last wrong password a key is clean again.
	forget = 30 * time.Minute
	// together is how many attempts for one key may be under way at once while it has
	// free attempts left: an attacker gains no more than these by hurrying. One once
	// there are none left.
	together = 16
)

// attempts is what is known of a key.
type attempts struct {
	key    string
	wrong  int
	under  int           // under way now
	until  time.Duration // locked until then
	latest time.Duration
}

func newLockout(free int) *lockout {
	return &lockout{free: free, entries: make(map[string]*list.Element), order: list.New()}
}

// begin says whether an attempt may be made now. If so, end must follow; if not,
// wait is how long the key is locked, or 0 if too many attempts are under way.
func (l *lockout) begin(now time.Duration, key string) (wait time.Duration, ok bool) {
	a := l.touch(key)
	if a.wrong > 0 && now-a.latest > forget {
		a.wrong = 0
	}
	limit := together
	if a.wrong >= l.free {
		limit = 1
		if now < a.until {
			return a.until - now, false
		}
	}
	if a.under >= limit {
		return 0, false
	}
	a.under++
	return 0, true
}

// abort ends an attempt of which nothing became.
func (l *lockout) abort(key string) {
	if e := l.entries[key]; e != nil {
		e.Value.(*attempts).under--
	}
}

// end ends an attempt. A right password clears the key if clear says so.
func (l *lockout) end(now time.Duration, key string, right, clear bool) {
	a := l.touch(key)
	a.under = max(a.under-1, 0)
	switch {
	case right && clear:
		a.wrong = 0
	case !right:
		a.wrong++
		a.latest = now
		if over := a.wrong - l.free; over >= 0 {
			a.until = now + min(lockFirst<<min(over, 16), lockMost)
		}
	}
}

// touch returns what is known of a key, making room for it if need be.
func (l *lockout) touch(key string) *attempts {
	if e := l.entries[key]; e != nil {
		l.order.MoveToBack(e)
		return e.Value.(*attempts)
	}
	if l.order.Len() == maxLockouts {
		oldest := l.order.Front()
		delete(l.entries, oldest.Value.(*attempts).key)
		l.order.Remove(oldest)
	}
	a := &attempts{key: key}
	l.entries[key] = l.order.PushBack(a)
	return a
}
