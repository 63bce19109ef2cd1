package login

import (
	"sync"
	"time"

	"virtualservicesinc.com/rrts/message/sealed"
)

const (
	// grace is how long the keys of a schema live on after another has followed it: far
	// longer than a client takes from asking for a schema to logging in under it.
	grace = time.Minute
	// maxFormer bounds the schemas in their time of grace; with more, the oldest goes
	// earlier. Its clients seal again.
	maxFormer = 16
)

// schemas are this service's login schemas with their private keys. They are nowhere
// else, and are gone when this forgets them.
type schemas struct {
	every time.Duration
	make  func(epoch uint64) (*sealed.Keys, error)

	mu      sync.Mutex
	current *sealed.Keys
	former  []former // the oldest first
	due     time.Duration
}

// former is a schema in its time of grace.
type former struct {
	keys  *sealed.Keys
	until time.Duration
}

// rotate makes a new schema the current one. destroy ends the others at once. wall is
// nanoseconds since 1970.
func (s *schemas) rotate(now time.Duration, wall int64, destroy bool) (*sealed.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rotateLocked(now, wall, destroy)
}

func (s *schemas) rotateLocked(now time.Duration, wall int64, destroy bool) (*sealed.Schema, error) {
	epoch := uint64(max(wall/int64(time.Millisecond), 1))
	if s.current != nil {
		epoch = max(epoch, s.current.Schema().Epoch+1)
	}
	keys, err := s.make(epoch)
	if err != nil {
		return nil, err
	}
	switch {
	case destroy:
		s.former = nil
	case s.current != nil:
		s.former = append(s.former, former{s.current, now + grace})
		if over := len(s.former) - maxFormer; over > 0 {
			s.former = append([]former(nil), s.former[over:]...) // the array would keep their keys
		}
	}
	s.current, s.due = keys, now+s.every
	return keys.Schema(), nil
}

// tick rotates if it is time, destroys what has had its grace, and returns when to come
// again.
func (s *schemas) tick(now time.Duration, wall int64) (next time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || now >= s.due {
		if _, err = s.rotateLocked(now, wall, false); err != nil {
			return now + time.Second, err
		}
	}
	for len(s.former) > 0 && s.former[0].until <= now {
		s.former = append([]former(nil), s.former[1:]...)
	}
	next = s.due
	if len(s.former) > 0 {
		next = min(next, s.former[0].until)
	}
	return next, nil
}

// newest is the current schema; nil before the first tick.
func (s *schemas) newest() *sealed.Schema {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	return s.current.Schema()
}

// find returns the keys of an epoch, or nil when there are none, or none any more.
func (s *schemas) find(now time.Duration, epoch uint64) *sealed.Keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.current.Schema().Epoch == epoch {
		return s.current
	}
	for _, f := range s.former {
		if f.keys.Schema().Epoch == epoch && now < f.until {
			return f.keys
		}
	}
	return nil
}
