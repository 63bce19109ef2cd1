package txn

import "testing"

// TestTurnThatPanics: when a turn panics, on whichever goroutine, none of the others goes on
// with what it has left half done.
func TestTurnThatPanics(t *testing.T) {
	for name, take := range map[string]func(l *loop, events ...func()){
		"posted": func(l *loop, events ...func()) {
			l.c.post(events...)
			l.turn(cause{heard: true})
		},
		"received": func(l *loop, events ...func()) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.turnLocked(cause{heard: true, received: events})
		},
	} {
		l := &loop{c: &Component{}, beat: func() {}}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			take(l, func() { panic("it was told to") })
		}()
		l.c.post(func() { t.Errorf("%s: another turn was taken", name) })
		func() {
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("%s: another turn went on: %v", name, v)
				}
			}()
			l.turn(cause{fired: true})
		}()
	}
}
