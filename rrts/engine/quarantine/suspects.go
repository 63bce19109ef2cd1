package quarantine

import "time"

const (
	// Limit is how many crashes put a request into quarantine. One may be bad luck,
	// and so may two when others were served beside it; from the second try on a
	// suspect is served alone.
	Limit = 3
	// forget is how long a crash counts against a request.
	forget = time.Hour
	// maxSuspects bounds the requests that are remembered; the oldest goes first. A
	// crash makes at most a batch of them.
	maxSuspects = 4096
)

// Suspects counts crashes by request. The zero value is empty. It is not safe for
// concurrent use.
type Suspects struct {
	seen  map[string]*suspect
	order []*suspect // by the time of the last crash
}

type suspect struct {
	id      string
	crashes int
	last    time.Duration
}

// Crashed counts a crash in which request id took part and returns how many that
// makes.
func (s *Suspects) Crashed(now time.Duration, id string) int {
	for len(s.order) > 0 && (now-s.order[0].last > forget || len(s.order) >= maxSuspects) {
		s.drop(0)
	}
	if s.seen == nil {
		s.seen = make(map[string]*suspect)
	}
	x := s.seen[id]
	if x == nil {
		x = &suspect{id: id}
		s.seen[id] = x
	} else {
		s.unlist(x)
	}
	x.crashes++
	x.last = now
	s.order = append(s.order, x)
	return x.crashes
}

// Clear forgets request id: it was put into quarantine, or is to be tried afresh.
func (s *Suspects) Clear(id string) {
	if x := s.seen[id]; x != nil {
		s.unlist(x)
		delete(s.seen, id)
	}
}

func (s *Suspects) unlist(x *suspect) {
	for i := range s.order {
		if s.order[i] == x {
			s.order = append(s.order[:i], s.order[i+1:]...)
			return
		}
	}
}

func (s *Suspects) drop(i int) {
	delete(s.seen, s.order[i].id)
	s.order = append(s.order[:i], s.order[i+1:]...)
}
