package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/engine/quarantine"
	"virtualservicesinc.com/rrts/message"
)

// quarantineAlarm stands as long as a request is in quarantine.
const quarantineAlarm = "requests-quarantined"

// ward decides which requests go into quarantine, and refuses those that are there.
type ward struct {
	store  quarantine.Store
	wall   func() time.Time
	alarms *alarmTable
	count  atomic.Int64 // of held: the hot path asks

	// deciding is held by who retries or discards: a request that is being tried must not
	// be discarded under the try, nor be tried twice at a time.
	deciding sync.Mutex
	// asked holds who reads the store for an operator.
	asked chan struct{}

	mu       sync.Mutex
	suspects quarantine.Suspects
	held     map[string]kind
	kinds    map[kind]int // how many of each are held
}

// kind is a method: only requests of a kind that is held need a closer look.
type kind struct{ service, method uint16 }

func kindOf(env *message.Envelope) kind { return kind{env.Service, env.Method} }

func newWard(store quarantine.Store, wall func() time.Time, alarms *alarmTable) (*ward, error) {
	w := &ward{store: store, wall: wall, alarms: alarms, asked: make(chan struct{}, maxAsked),
		held: make(map[string]kind), kinds: make(map[kind]int)}
	ids, err := store.List()
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if r, err := store.Get(id); err == nil {
			w.held[id] = kindOf(&r.Request)
			w.kinds[kindOf(&r.Request)]++
			continue
		}
		w.held[id] = kind{} // it cannot be read, but it is listed, and can be discarded
	}
	w.changedLocked()
	return w, nil
}

func (w *ward) changedLocked() {
	w.count.Store(int64(len(w.held)))
	if n := len(w.held); n > 0 {
		w.alarms.raise(quarantineAlarm, Warning, fmt.Sprintf("%d requests are held for the operator", n))
	} else {
		w.alarms.clear(quarantineAlarm)
	}
}

// any reports whether anything is held at all.
func (w *ward) any() bool { return w.count.Load() > 0 }

// holds reports whether that request is held.
func (w *ward) holds(env *message.Envelope) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kinds[kindOf(env)] == 0 {
		return false
	}
	_, held := w.held[quarantine.ID(env)]
	return held
}

// crashed counts a crash against r, once for all requests of the same content:
// counted holds those that this crash has been counted against. When it was one
// crash too many it puts r into quarantine and returns its id; an error says that
// it could not.
func (w *ward) crashed(now time.Duration, r *request, component string, f failure, counted map[string]bool) (id string, err error) {
	id = quarantine.ID(&r.env)
	w.mu.Lock()
	defer w.mu.Unlock()
	if counted[id] {
		if _, held := w.held[id]; held {
			return id, nil
		}
		return "", nil
	}
	counted[id] = true
	n := w.suspects.Crashed(now, id)
	if n < quarantine.Limit {
		return "", nil
	}
	if len(w.held) >= maxQuarantine {
		return "", fmt.Errorf("engine: %d requests are in quarantine", len(w.held))
	}
	record := quarantine.Record{Time: w.wall().UnixNano(), Crashes: uint16(n), Component: component,
		Reason: f.reason + "\n" + f.stack, Request: r.env}
	if err := w.store.Put(id, &record); err != nil {
		return "", err
	}
	w.suspects.Clear(id)
	w.holdLocked(id, kindOf(&r.env))
	return id, nil
}

// release makes room for another try, or for good.
func (w *ward) release(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.suspects.Clear(id)
	if k, held := w.held[id]; held {
		delete(w.held, id)
		if w.kinds[k]--; w.kinds[k] <= 0 {
			delete(w.kinds, k)
		}
		w.changedLocked()
	}
}

// hold takes a request back that is in the store.
func (w *ward) hold(id string, k kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holdLocked(id, k)
}

func (w *ward) holdLocked(id string, k kind) {
	if _, held := w.held[id]; !held {
		w.held[id] = k
		w.kinds[k]++
		w.changedLocked()
	}
}

// Held is one request in quarantine, for the operator's eyes.
type Held struct {
	ID string
	quarantine.Record
	// Err says why the record cannot be read; then only ID is set.
	Err error
}

// Quarantine lists the requests in quarantine, by id.
func (e *Engine) Quarantine() ([]Held, error) {
	ids, err := e.ward.store.List()
	if err != nil {
		return nil, err
	}
	all := make([]Held, len(ids))
	for i, id := range ids {
		all[i] = e.held(id)
	}
	return all, nil
}

func (e *Engine) held(id string) Held {
	r, err := e.ward.store.Get(id)
	if err != nil {
		return Held{ID: id, Err: err}
	}
	return Held{ID: id, Record: *r}
}

var (
	// ErrDeciding says that another request in quarantine is being tried or discarded.
	ErrDeciding = errors.New("engine: another request in quarantine is being tried; ask again in a few seconds")
	// ErrNotice says that a notice cannot be tried again.
	ErrNotice = errors.New("engine: it is a notice, which has no answer that would tell how a try ended; discard it: who sent it may send it again")
)

// Retry gives a request in quarantine another chance in this SFU, now, in the name of
// its sender, and waits for the answer, DefaultTimeout at most. While it is being tried
// it is not refused when its caller sends it again. It leaves quarantine for good if the
// Component answered, whatever the answer; it stays if it crashes its Component again as
// often as before (once, if its method is not idempotent), if it was not served, or not
// answered in time. The error says that it stays; it is fs.ErrNotExist if there is none
// of that id, ErrNotice, or ErrDeciding.
func (e *Engine) Retry(ctx context.Context, id string) (Reply, error) {
	if !e.ward.deciding.TryLock() {
		return Reply{}, ErrDeciding
	}
	defer e.ward.deciding.Unlock()
	r, err := e.ward.store.Get(id)
	switch {
	case err != nil:
		return Reply{}, err
	case r.Request.Kind == message.KindNotice:
		return Reply{}, ErrNotice
	}
	e.ward.release(id)
	c := Call{Service: r.Request.Service, Method: r.Request.Method, Target: e.cfg.SFU, Principal: r.Request.Principal, Role: r.Request.Role,
		Trace: r.Request.Trace, Epoch: r.Request.Epoch, Group: r.Request.Group, Body: r.Request.Body}
	reply, err := e.try(ctx, &c)
	switch reply.Code {
	case message.Overloaded, message.NotLeader, message.Unavailable, message.NoMethod, message.Draining, message.Expired, message.Unknown, message.Quarantined:
		e.ward.hold(id, kindOf(&r.Request))
		return reply, errors.Join(err, fmt.Errorf("engine: the request stays in quarantine: %w", reply.Err()))
	}
	return reply, e.ward.store.Delete(id)
}

// try calls once a Component is there that answers: one that rests after crashes comes
// back at once.
func (e *Engine) try(ctx context.Context, c *Call) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	until, _ := ctx.Deadline()
	if s := (*e.byService.Load())[c.Service]; s.unit != nil {
		s.unit.hurry() // once: if it does not start, its rests are as long as ever
	}
	for {
		change := e.nextChange()
		c.Timeout = time.Until(until) // so that nothing is begun after Retry has returned
		p := &pending{wait: make(chan Reply, 1)}
		e.call(p, c)
		select {
		case reply := <-p.wait:
			if reply.Code != message.Unavailable { // then nothing was executed
				return reply, nil
			}
		case <-ctx.Done():
			return Reply{Code: message.Expired}, ctx.Err()
		}
		select {
		case <-change:
		case <-ctx.Done():
			return Reply{Code: message.Unavailable, Detail: "engine: no Component was ready to answer it"}, ctx.Err()
		}
	}
}

// Discard removes a request from quarantine for good. The same request, sent
// again, is then served like any other. The error is fs.ErrNotExist if there is none
// of that id, or ErrDeciding.
func (e *Engine) Discard(id string) error {
	if !e.ward.deciding.TryLock() {
		return ErrDeciding
	}
	defer e.ward.deciding.Unlock()
	if _, err := e.ward.store.Get(id); err != nil && !errors.Is(err, quarantine.ErrSealed) && !errors.Is(err, quarantine.ErrBadRecord) {
		return err
	}
	if err := e.ward.store.Delete(id); err != nil {
		return err
	}
	e.ward.release(id)
	return nil
}
