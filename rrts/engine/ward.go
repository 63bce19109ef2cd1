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

	mu       sync.Mutex
	suspects quarantine.Suspects
	held     map[string]kind
	kinds    map[kind]int // how many of each are held
}

// kind is a method: only requests of a kind that is held need a closer look.
type kind struct{ service, method uint16 }

func kindOf(env *message.Envelope) kind { return kind{env.Service, env.Method} }

func newWard(store quarantine.Store, wall func() time.Time, alarms *alarmTable) (*ward, error) {
	w := &ward{store: store, wall: wall, alarms: alarms, held: make(map[string]kind), kinds: make(map[kind]int)}
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
	all := make([]Held, 0, len(ids))
	for _, id := range ids {
		h := Held{ID: id}
		if r, err := e.ward.store.Get(id); err != nil {
			h.Err = err
		} else {
			h.Record = *r
		}
		all = append(all, h)
	}
	return all, nil
}

// Retry gives a request in quarantine another chance in this SFU and waits for the
// answer. It leaves quarantine for good if the Component answered, whatever the
// answer; if it crashes its Component again as often as before, or is not answered
// in time, it stays. The error says that it stays, or that there is none of that id.
func (e *Engine) Retry(ctx context.Context, id string) (Reply, error) {
	r, err := e.ward.store.Get(id)
	if err != nil {
		return Reply{}, err
	}
	e.ward.release(id)
	c := Call{Service: r.Request.Service, Method: r.Request.Method, Target: e.cfg.SFU, Principal: r.Request.Principal, Role: r.Request.Role,
		Trace: r.Request.Trace, Epoch: r.Request.Epoch, Group: r.Request.Group, Body: r.Request.Body}
	p := &pending{wait: make(chan Reply, 1)}
	e.call(p, &c)
	reply := Reply{Code: message.Expired}
	select {
	case reply = <-p.wait:
	case <-ctx.Done():
		err = ctx.Err()
	}
	switch reply.Code {
	case message.Overloaded, message.Unavailable, message.Draining, message.Expired, message.Unknown, message.Quarantined:
		e.ward.hold(id, kindOf(&r.Request))
		return reply, errors.Join(err, fmt.Errorf("engine: the request stays in quarantine: %w", reply.Err()))
	}
	return reply, e.ward.store.Delete(id)
}

// Discard removes a request from quarantine for good. The same request, sent
// again, is then served like any other.
func (e *Engine) Discard(id string) error {
	if _, err := e.ward.store.Get(id); err != nil && !errors.Is(err, quarantine.ErrSealed) && !errors.Is(err, quarantine.ErrBadRecord) {
		return err
	}
	if err := e.ward.store.Delete(id); err != nil {
		return err
	}
	e.log.Warn("Request was discarded from quarantine", "id", id)
	e.ward.release(id)
	return nil
}
