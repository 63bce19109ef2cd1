package txn

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// tasks are what takes long and is under way: two or three at a time.
type tasks struct {
	mu      sync.Mutex
	running []*task
}

// task is one of them. Whoever does it counts; anybody may look.
type task struct {
	all   *tasks
	kind  txnpb.Task
	sfu   uint16
	began time.Duration
	done  atomic.Uint64 // bytes
}

// begin begins a task with an SFU, or with none.
func (t *tasks) begin(kind txnpb.Task, sfu uint16, now time.Duration) *task {
	k := &task{all: t, kind: kind, sfu: sfu, began: now}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = append(t.running, k)
	return k
}

// end ends it; once more does nothing.
func (k *task) end() {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	k.all.running = slices.DeleteFunc(k.all.running, func(o *task) bool { return o == k })
}

// count adds the rows that were done.
func (k *task) count(rows []txnpb.Row) {
	n := 0
	for i := range rows {
		n += len(rows[i].Key) + len(rows[i].Value)
	}
	k.done.Add(uint64(n))
}

// status is how far they are, in the order of their beginning.
func (t *tasks) status(now time.Duration) (all []txnpb.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.running {
		all = append(all, txnpb.Progress{Task: k.kind, Sfu: uint32(k.sfu), Done: k.done.Load(), AgeMillis: uint64((now - k.began) / time.Millisecond)})
	}
	return all
}
