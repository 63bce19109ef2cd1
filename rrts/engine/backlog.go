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
	count atomic.Int64 // of items
	mu    sync.Mutex
	bytes int
	items []unsent
}

// way is one lane to one peer.
type way struct {
	to   uint16
	lane message.Lane
}

type unsent struct {
	way
	record []byte
}

// behind reports whether something waits on that way, so that what comes later
// must wait too.
func (b *backlog) behind(w way) bool {
	if b.count.Load() == 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.items, func(u unsent) bool { return u.way == w })
}

// push copies record. It reports false if there is no room here either.
func (b *backlog) push(w way, record []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) >= maxBacklog || b.bytes+len(record) > maxBacklogBytes {
		return false
	}
	b.items = append(b.items, unsent{w, bytes.Clone(record)})
	b.bytes += len(record)
	b.count.Store(int64(len(b.items)))
	return true
}

// flush sends, in order, what finds room. It reports whether something is
// left.
func (b *backlog) flush(t Transport) bool {
	if b.count.Load() == 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	full := make(map[way]bool)
	b.removeLocked(func(u unsent) bool {
		full[u.way] = full[u.way] || errors.Is(t.Send(u.to, u.lane, u.record), ErrFull)
		return !full[u.way]
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
