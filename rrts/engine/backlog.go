package engine

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"virtualservicesinc.com/rrts/message"
)

// backlog keeps answers and announcements that found no room in the transport, in
// order. Requests and notices do not wait here: their senders are told.
type backlog struct {
	count atomic.Int64
	mu    sync.Mutex
	bytes int
	items []unsent
}

type unsent struct {
	to     uint16
	lane   message.Lane
	record []byte
}

func (b *backlog) waiting() bool { return b.count.Load() > 0 }

// push copies record. It reports false if there is no room here either.
func (b *backlog) push(to uint16, lane message.Lane, record []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) >= maxBacklog || b.bytes+len(record) > maxBacklogBytes {
		return false
	}
	b.items = append(b.items, unsent{to, lane, bytes.Clone(record)})
	b.bytes += len(record)
	b.count.Store(int64(len(b.items)))
	return true
}

// flush sends what there is room for now. What is for one peer and lane stays in
// order. It reports whether something is left.
func (b *backlog) flush(t Transport) bool {
	if !b.waiting() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	type way struct {
		to   uint16
		lane message.Lane
	}
	full := map[way]bool{}
	b.removeLocked(func(u unsent) bool {
		w := way{u.to, u.lane}
		full[w] = full[w] || errors.Is(t.Send(u.to, u.lane, u.record), ErrFull)
		return !full[w]
	})
	return len(b.items) > 0
}

// drop forgets what was for a peer that is lost.
func (b *backlog) drop(to uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.removeLocked(func(u unsent) bool { return u.to == to })
}

func (b *backlog) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.removeLocked(func(unsent) bool { return true })
}

func (b *backlog) removeLocked(gone func(unsent) bool) {
	b.items = slices.DeleteFunc(b.items, gone)
	b.bytes = 0
	for _, u := range b.items {
		b.bytes += len(u.record)
	}
	b.count.Store(int64(len(b.items)))
}
