package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// TestAlarms: raised once and cleared once, with a count; the severity rises and
// does not fall; one that comes back soon is the same.
func TestAlarms(t *testing.T) {
	now := time.Duration(0)
	var told diary
	table := newAlarmTable(func() time.Duration { return now }, slog.New(slog.DiscardHandler), func(e AlarmEvent) {
		told.add("%s %v cleared=%v count=%d", e.Name, e.Severity, e.Cleared, e.Count)
	})
	table.raise("a", Warning, "one")
	table.raise("a", Info, "two")
	told.expect(t, "a warning cleared=false count=1")
	table.raise("a", Critical, "three")
	told.expect(t, "a critical cleared=false count=3")
	now = time.Second
	table.raise("b", Critical, "")
	table.raise("c", Info, "")
	if l := table.list(); len(l) != 3 || l[0].Name != "a" || l[0].Detail != "three" || l[0].Raised != 0 || l[1].Name != "b" || l[2].Name != "c" {
		t.Fatalf("%+v", l)
	}
	told.take()
	table.clear("a")
	table.clear("a")
	table.clear("never")
	told.expect(t, "a critical cleared=true count=3")
	now += flapWithin - 1
	table.raise("a", Info, "four")
	told.expect(t, "a info cleared=false count=4")
	table.clear("a")
	now += flapWithin
	table.raise("a", Info, "five")
	told.expect(t, "a info cleared=true count=4", "a info cleared=false count=1")
	for i := range 2 * maxAlarms {
		table.raise(fmt.Sprint(i), Info, "")
	}
	if n := len(table.list()); n != maxAlarms {
		t.Fatalf("%d alarms stand", n)
	}
	for i := range 2 * maxAlarms {
		table.clear(fmt.Sprint(i))
	}
	if len(table.cleared) > maxAlarms || len(table.list()) != 3 {
		t.Fatal(len(table.cleared), len(table.list()))
	}
}

// TestFlapping: what comes and goes is one alarm with a count, which says so once and
// ends when it has been quiet.
func TestFlapping(t *testing.T) {
	now := time.Duration(0)
	var told diary
	table := newAlarmTable(func() time.Duration { return now }, slog.New(slog.DiscardHandler), func(e AlarmEvent) {
		told.add("%v cleared=%v count=%d flapping=%v", now, e.Cleared, e.Count, e.Flapping)
	})
	for i := range 60 { // a plug with a loose contact, for an hour
		now = time.Duration(i) * time.Minute
		table.raise("a", Warning, "loose")
		now += 30 * time.Second
		table.settle()
		table.clear("a")
	}
	told.expect(t, "0s cleared=false count=1 flapping=false", "30s cleared=true count=1 flapping=false",
		"1m0s cleared=false count=2 flapping=false", "1m30s cleared=true count=2 flapping=false",
		"2m0s cleared=false count=3 flapping=false", "2m30s cleared=true count=3 flapping=false",
		"3m0s cleared=false count=4 flapping=true")
	now += flapWithin - 1
	table.clear("a") // once more changes nothing
	if table.settle(); len(table.list()) != 1 {
		t.Fatal("it ended before it was quiet")
	}
	now++
	table.settle()
	told.expect(t, "1h4m30s cleared=true count=60 flapping=true")
	now++
	table.raise("a", Warning, "another day")
	told.expect(t, "1h4m30.000000001s cleared=false count=1 flapping=false")
}

// narrow is a Transport with room for so many records on each way.
type narrow struct {
	room map[way]int
	sent []string
}

func (n *narrow) Send(to uint16, lane message.Lane, record []byte) error {
	w := way{to, lane}
	switch {
	case to == 9:
		return errors.New("no such peer")
	case n.room[w] == 0:
		return ErrFull
	}
	n.room[w]--
	n.sent = append(n.sent, string(record))
	return nil
}

// TestBacklog: in order on each way, no way holds up another, and within bounds.
func TestBacklog(t *testing.T) {
	var b backlog
	slow, fast, gone := way{2, 2}, way{3, 2}, way{9, 2}
	for _, x := range []struct {
		way
		record string
	}{{slow, "s1"}, {gone, "g"}, {slow, "s2"}, {fast, "f1"}, {fast, "f2"}, {slow, "s3"}} {
		if !b.push(x.way, []byte(x.record)) {
			t.Fatal(x)
		}
	}
	if !b.behind(slow) || b.behind(way{2, 3}) {
		t.Fatal("behind")
	}
	n := &narrow{room: map[way]int{slow: 1, fast: 5}}
	if !b.flush(n) || !slices.Equal(n.sent, []string{"s1", "f1", "f2"}) || b.behind(fast) || !b.behind(slow) {
		t.Fatalf("%q", n.sent)
	}
	n.room[slow] = 1
	if !b.flush(n) || n.sent[3] != "s2" {
		t.Fatalf("%q", n.sent)
	}
	b.drop(2)
	if b.flush(n) || b.bytes != 0 || b.count.Load() != 0 {
		t.Fatal(b.bytes)
	}
	for i := range maxBacklog + 1 {
		if took := b.push(slow, nil); took != (i < maxBacklog) {
			t.Fatal(i)
		}
	}
	b.clear()
	big := make([]byte, maxBacklogBytes/2)
	first, second, beyond := b.push(slow, big), b.push(slow, big), b.push(slow, big[:1])
	if !first || !second || beyond {
		t.Fatal("bytes have no bound")
	}
}
