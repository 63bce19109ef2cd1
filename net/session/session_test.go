package session

import (
	"testing"
	"time"
)

func TestUp(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.log = func(f string, a ...any) { t.Logf(f, a...) }
	w.up()
	got := 0
	w.node[1].got = func(lane Lane, r []byte) { got += len(r) }
	rec := make([]byte, 1<<20)
	for range 8 {
		if err := w.node[0].session.Send(w.now, LaneBulk, rec); err != nil {
			t.Fatal(err)
		}
	}
	w.run(100 * time.Millisecond)
	var st Stats
	w.node[0].session.Stats(&st)
	t.Logf("%+v", st)
	if got != 8<<20 {
		t.Fatal(got)
	}
	w.run(125 * time.Second)
	w.node[0].session.Stats(&st)
	t.Logf("%+v", st)
}
