package router

import (
	"math/bits"
	"time"
)

// A Call stands in up to two lists at a time: with the instance that holds it, or
// among the parked calls of its service; and in the slot of the wheel in which it
// must be looked at.
const (
	byPlace = iota
	byTime
	kinds
)

type links struct{ prev, next *Call }

// list is a doubly linked list of Calls in the order in which they were pushed.
type list struct {
	head, tail *Call
	kind       uint8
}

func (l *list) push(c *Call) {
	c.links[l.kind] = links{prev: l.tail}
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.links[l.kind].next = c
	}
	l.tail = c
}

func (l *list) remove(c *Call) {
	k := &c.links[l.kind]
	if k.prev == nil {
		l.head = k.next
	} else {
		k.prev.links[l.kind].next = k.next
	}
	if k.next == nil {
		l.tail = k.prev
	} else {
		k.next.links[l.kind].prev = k.prev
	}
	*k = links{}
}

// take empties the list into dst, in order.
func (l *list) take(dst []*Call) []*Call {
	for l.head != nil {
		dst = append(dst, l.head)
		l.remove(l.head)
	}
	return dst
}

const (
	// slotWidth is how late a deadline may be noticed. Callers count in seconds, and
	// an idle engine must not wake up for nothing.
	slotWidth = 4 * time.Millisecond
	// slots times slotWidth is four seconds: most calls are over before the wheel has
	// turned once, and those that are not cost one look a turn.
	slots = 1024
)

// wheel finds the calls whose time has come, in O(1) per call. A call stands in
// the slot of its due time and is due when that slot has passed.
type wheel struct {
	slot  [slots]list
	used  [slots / 64]uint64 // bit s: slot s holds a call
	tick  int64              // slots below this number were looked at
	calls int
}

func (w *wheel) init() {
	for i := range w.slot {
		w.slot[i].kind = byTime
	}
}

// add puts c where c.due tells; a due time in the past counts as the next slot.
func (w *wheel) add(c *Call) {
	c.tick = max(int64(c.due/slotWidth), w.tick)
	s := c.tick % slots
	w.slot[s].push(c)
	w.used[s/64] |= 1 << (s % 64)
	w.calls++
}

func (w *wheel) remove(c *Call) {
	s := c.tick % slots
	w.slot[s].remove(c)
	if w.slot[s].head == nil {
		w.used[s/64] &^= 1 << (s % 64)
	}
	w.calls--
}

// advance takes out every call that is due at now, in the order of slots and in
// each in the order of add.
func (w *wheel) advance(now time.Duration, due []*Call) []*Call {
	end := int64(now / slotWidth)
	if w.calls == 0 {
		w.tick = max(w.tick, end)
		return due
	}
	last := min(end, w.tick+slots) // one turn visits every slot
	for t := w.tick; t < last; t++ {
		for c := w.slot[t%slots].head; c != nil; {
			next := c.links[byTime].next
			if c.tick < end {
				w.remove(c)
				due = append(due, c)
			}
			c = next
		}
	}
	w.tick = max(w.tick, end)
	return due
}

// next returns when advance should be called again, if any call waits: the end of
// the first slot that holds a call. That call may belong to a later turn.
func (w *wheel) next() (time.Duration, bool) {
	if w.calls == 0 {
		return 0, false
	}
	for t := w.tick; ; {
		s := t % slots
		if rest := w.used[s/64] >> (s % 64); rest != 0 {
			return time.Duration(t+int64(bits.TrailingZeros64(rest))+1) * slotWidth, true
		}
		t += 64 - s%64
	}
}
