package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Rotation changes the keys that log and state are sealed under while both are in use.
// After Begin everything new is sealed under the fresh key; Finish destroys all others,
// once nothing is sealed under them. A crash leaves keys that open everything. It belongs
// to one goroutine, but for IDs.
type Rotation interface {
	// IDs are the current key's id, and those of older ones.
	IDs() (current uint32, older []uint32)
	// Begin adds a fresh key, durably, and makes it the current one.
	Begin() error
	// Reseal seals all files of the state under the current key, and says of how many that
	// was so. The state may be used and replaced meanwhile.
	Reseal() (files int, err error)
	// Finish destroys all keys but the current one, durably.
	Finish() error
}

// keysRetry is how long a rotation that cannot go on waits: for space on the disk, mostly.
const keysRetry = time.Second

// rotation is the change of keys that is under way, or none.
type rotation struct {
	c    *Component
	wake chan struct{}

	begin sync.Mutex // held by Begin and Finish

	mu           sync.Mutex // guards what is below
	segmentsLeft int
	filesDone    int
	waits        string
}

// Keys implements txnpb.ReplicaHandler.
func (d replicaService) Keys(r message.Responder[*txnpb.KeysStatus], in *txnpb.KeysRequest) {
	c := d.c
	switch {
	case r.Envelope().Role != message.RoleOperator:
		r.Fail(message.Denied, "keys are the operator's")
		return
	case c.cfg.Rotation == nil:
		r.Fail(message.Invalid, "txn: the keys of this SFU are not its own to change")
		return
	}
	c.host.Go("keys", func(context.Context) {
		if in.Rotate {
			if err := c.rotation.start(); err != nil {
				r.Fail(message.Internal, err.Error())
				return
			}
		}
		r.Reply(c.rotation.status())
	})
}

// start begins a rotation, unless one is under way.
func (r *rotation) start() error {
	r.begin.Lock()
	defer r.begin.Unlock()
	if _, older := r.c.cfg.Rotation.IDs(); len(older) > 0 {
		return nil
	}
	if err := r.c.cfg.Rotation.Begin(); err != nil {
		return fmt.Errorf("txn: a fresh key: %w", err)
	}
	current, older := r.c.cfg.Rotation.IDs()
	r.c.host.Log().Info("what is written is sealed under a fresh key from here on", "key", current, "before", older)
	r.note(0, 0, nil)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return nil
}

func (r *rotation) status() *txnpb.KeysStatus {
	out := &txnpb.KeysStatus{}
	out.Current, out.Older = r.c.cfg.Rotation.IDs()
	r.mu.Lock()
	defer r.mu.Unlock()
	out.SegmentsLeft, out.FilesDone, out.Waits = uint32(r.segmentsLeft), uint64(r.filesDone), r.waits
	return out
}

// note takes note of how far it is, and of why it does not go on.
func (r *rotation) note(segmentsLeft, filesDone int, waits error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.segmentsLeft, r.filesDone, r.waits = segmentsLeft, filesDone, ""
	if waits != nil {
		r.waits = waits.Error()
	}
}

// run ends rotations: those that are asked for, and one that a crash has cut short.
func (r *rotation) run(ctx context.Context) {
	for {
		_, older := r.c.cfg.Rotation.IDs()
		var retry <-chan time.Time
		if len(older) > 0 {
			err := r.reseal(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case journal.IsDamage(err), journal.IsFailed(err):
				r.c.host.Fatal(err)
				return
			case store.IsDamage(err) && !r.c.witness():
				r.c.fence(err)
				return
			case err != nil:
				r.c.host.Log().Warn("the change of keys waits", "err", err)
				retry = time.After(keysRetry)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-retry:
		}
	}
}

// reseal seals everything under the current key, and destroys the others.
func (r *rotation) reseal(ctx context.Context) (err error) {
	keys, j := r.c.cfg.Rotation, r.c.log.Journal()
	left, files := 0, 0
	defer func() { r.note(left, files, err) }()
	if len(j.KeysInUse()) > 0 { // otherwise the first segment will have the current key
		if err := r.c.appender.roll(ctx); err != nil {
			return err
		}
	}
	for {
		if left, err = j.Reseal(); err != nil || left == 0 {
			break
		}
		r.note(left, 0, nil)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	if files, err = keys.Reseal(); err != nil {
		return err
	}
	r.begin.Lock()
	defer r.begin.Unlock()
	current, older := keys.IDs()
	for _, id := range j.KeysInUse() {
		if id != current {
			return fmt.Errorf("txn: the journal is still sealed under key %d", id)
		}
	}
	r.note(left, files, nil) // who sees that it is over sees what was done
	if err := keys.Finish(); err != nil {
		return err
	}
	r.c.host.Log().Info("old keys are destroyed, nothing is sealed under them any more", "keys", older, "current", current, "files", files)
	return nil
}

// roll has the append thread begin a segment of the journal, under the current key.
func (a *appender) roll(ctx context.Context) error {
	done := make(chan error, 1)
	a.mu.Lock()
	a.rolls = append(a.rolls, done)
	a.mu.Unlock()
	a.poke()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rollNow begins a segment for those who asked for it. It reports whether the appender goes
// on; without space it does.
func (a *appender) rollNow(asked []chan error) bool {
	if len(asked) == 0 {
		return true
	}
	j := a.c.log.Journal()
	err := j.Rotate(j.Epoch())
	for _, done := range asked {
		done <- err
	}
	if err != nil && !errors.Is(err, journal.ErrNoSpace) {
		a.fatal(err)
		return false
	}
	return true
}
