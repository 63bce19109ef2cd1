package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/journal"
)

const (
	// scrubEvery is the pause between two looks through the state: a row that rots is found
	// within about that time.
	scrubEvery = time.Hour
	// scrubBytes is read every scrubPause, some megabytes a second: what a disk and a
	// processor that clients share do not notice.
	scrubBytes = 128 << 10
	scrubPause = 50 * time.Millisecond

	// alarmDiverged stands where the state is not what the log made of it.
	alarmDiverged = "state-diverged"
)

// scrubs looks through the state in the background.
type scrubs struct {
	c *Component

	mu      sync.Mutex // guards current; held for a step
	current *store.Scrub
}

// run looks through the state again and again.
func (s *scrubs) run(ctx context.Context) {
	pause := s.c.cfg.Scrub
	for {
		select {
		case <-ctx.Done():
			s.giveUp()
			return
		case <-time.After(pause):
		}
		done, err := s.step()
		pause = scrubPause
		switch {
		case err != nil:
			s.c.fence(err)
			return
		case done:
			pause = s.c.cfg.Scrub
		}
	}
}

// step reads some more; where nothing is being read it begins.
func (s *scrubs) step() (done bool, err error) {
	s.c.storeMu.RLock()
	defer s.c.storeMu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		if s.current, err = s.c.store.Scrub(); err != nil {
			return true, err
		}
	}
	if done, err = s.current.Step(scrubBytes); done {
		s.giveUpLocked()
	}
	return done, err
}

// giveUp ends the look that is under way: the state is about to be replaced.
func (s *scrubs) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUpLocked()
}

func (s *scrubs) giveUpLocked() {
	if s.current == nil {
		return
	}
	if err := s.current.Close(); err != nil {
		s.c.host.Log().Error("closing a scrub", "err", err)
	}
	s.current = nil
}

// fence takes this member, whose state is damaged, out of service: it is noted durably that
// the state must not be used, and the Component is made anew, which rebuilds the state from
// the others' first. Where there are no others it halts.
func (c *Component) fence(cause error) {
	if !c.noteFence(cause) {
		return
	}
	c.post(func() { c.loop.halted = true }) // what it says is of no worth
	c.host.Renew("its state is damaged")
}

// noteFence does what has to be done before this life ends, and reports whether it ends.
func (c *Component) noteFence(cause error) bool {
	if c.halted.Load() || c.fencing.Swap(true) {
		return false
	}
	if len(c.others()) == 0 {
		c.haltWith(alarmDiverged, fmt.Errorf("%w; no other SFU has the state: restore a backup with `rrts restore`", cause))
		return false
	}
	c.host.Alarm(alarmDiverged, engine.Critical, cause.Error())
	c.host.Log().Error("the state is damaged, and will be rebuilt from the others'", "err", cause)
	if err := c.store.Fence(cause.Error()); err != nil {
		c.host.Fatal(errors.Join(cause, err))
		return false
	}
	return true
}

// unreadable returns the error with which a panic says that the state cannot be read.
func unreadable(panicked any) (error, bool) {
	err, ok := panicked.(*ledger.ReadError)
	return err, ok
}

// openFenced makes the Component one that rebuilds its state before it takes part.
func (c *Component) openFenced(why string) error {
	c.host.Alarm(alarmDiverged, engine.Critical, why)
	c.fenced = true
	return nil
}

// readable calls f, and returns as its error that the state could not be read.
func readable(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			unread, ok := unreadable(v)
			if !ok {
				panic(v)
			}
			err = fmt.Errorf("%w: %w", store.ErrCorrupt, unread)
		}
	}()
	return f()
}

// openDamagedState makes the Component one that puts the state of another member in the
// place of its own before it takes part. Its log, and so all that it has promised, is whole,
// or is mended: the state is made of it. The damaged one stays until the other is there.
func (c *Component) openDamagedState(cause error) error {
	c.host.Alarm(alarmStateDamaged, engine.Critical, cause.Error())
	switch {
	case c.witness():
		return fmt.Errorf("txn: what this witness keeps is damaged; give it a new identity with `rrts sfu replace`: %w", cause)
	case len(c.others()) == 0 || c.cfg.OpenDamaged == nil:
		return fmt.Errorf("txn: the state of this SFU is damaged, and no other SFU has it; restore a backup with `rrts restore`: %w", cause)
	}
	var faults []error
	if c.log != nil {
		faults = append(faults, c.log.Close())
		c.log = nil
	}
	if c.keep != nil {
		if err := c.keep.Close(); err != nil {
			c.host.Log().Warn("closing the damaged state", "err", err)
		}
		c.keep, c.store = nil, nil
	}
	s, err := c.cfg.OpenDamaged(cause.Error())
	if err = errors.Join(append(faults, err)...); err != nil {
		return errors.Join(cause, err)
	}
	c.store, c.keep, c.fenced = s, s, true
	c.host.Log().Error("the state is damaged, and the state of another SFU will take its place", "err", cause)
	return nil
}

// rebuild takes over the state of another member. What the log holds behind that is applied
// again; where the log is damaged, too, it is mended next.
func (c *Component) rebuild(ctx context.Context) error {
	if c.mend == nil {
		err := c.openLog()
		if journal.IsDamage(err) || errors.Is(err, raftlog.ErrVoteLost) {
			err = c.openDamaged(err)
		}
		if err != nil {
			return err
		}
	}
	if c.mend != nil {
		return c.fetchState(ctx, 0, noIntent)
	}
	if c.log.Fresh() {
		err := c.lostDisk()
		c.host.Fatal(err)
		return err
	}
	c.epoch.Store(max(c.epoch.Load(), uint32(c.log.Epoch()))) // the state that knew it may be lost
	first, err := c.log.FirstIndex()
	if err == nil {
		err = c.fetchState(ctx, first-1, c.log.Intend)
	}
	err = errors.Join(err, c.log.Close())
	c.log = nil
	return err
}
