package monitor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

// shelf is a book, and the engine's alarms that it is told of.
type shelf struct {
	t     *testing.T
	path  string
	book  *Book
	stand []engine.Alarm
	begun time.Time
}

func (s *shelf) open() {
	s.t.Helper()
	var err error
	if s.book, err = OpenBook(s.path, time.Now); err != nil {
		s.t.Fatal(err)
	}
	s.stand, s.begun = nil, time.Now()
}

func (s *shelf) raise(name string) {
	a := engine.Alarm{Name: name, Severity: engine.Warning, Detail: "of " + name, Count: 1, Raised: time.Since(s.begun)}
	s.stand = append(s.stand, a)
	s.book.Note(engine.AlarmEvent{Alarm: a})
}

func (s *shelf) clear(name string) {
	for i, a := range s.stand {
		if a.Name == name {
			s.stand = append(s.stand[:i], s.stand[i+1:]...)
			s.book.Note(engine.AlarmEvent{Alarm: a, Cleared: true})
			return
		}
	}
}

// text is the book's content in one line: name, seconds since raised, who looks after it.
func (s *shelf) text() string {
	answer := s.book.list(s.stand, time.Since(s.begun), 10)
	var out []string
	show := func(a monitorpb.Alarm, more string) {
		out = append(out, fmt.Sprintf("%s/%ds/%s%s", a.Name, a.AgeMillis/1000, a.AcknowledgedBy, more))
	}
	for _, a := range answer.Standing {
		show(a, "")
	}
	out = append(out, "|")
	for _, a := range answer.Ended {
		a.AgeMillis = a.Cleared - a.Raised
		more := ""
		if a.Lost {
			more = "/lost"
		}
		show(a, more)
	}
	return strings.Join(out, " ")
}

func (s *shelf) expect(want string) {
	s.t.Helper()
	if got := s.text(); got != want {
		s.t.Fatalf("the book says %q, want %q", got, want)
	}
}

// TestBook: what stood, who looks after it and what ended is known after a restart; what
// does not come back is lost.
func TestBook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{t: t, path: filepath.Join(t.TempDir(), "alarms.json")}
		s.open()
		s.raise("cpu-busy")
		s.raise("peer-lost@2")
		time.Sleep(10 * time.Second)
		if !s.book.acknowledge("peer-lost@2", "anna") || s.book.acknowledge("peer-lost@3", "anna") {
			t.Fatal("what stands can be acknowledged, and nothing else")
		}
		s.raise("disk-slow@/srv")
		time.Sleep(5 * time.Second)
		s.clear("disk-slow@/srv")
		s.expect("cpu-busy/15s/ peer-lost@2/15s/anna | disk-slow@/srv/5s/")
		if err := s.book.write(); err != nil {
			t.Fatal(err)
		}

		time.Sleep(time.Minute)
		s.open()
		s.expect("| disk-slow@/srv/5s/") // nothing stands until it is raised
		if s.book.acknowledge("cpu-busy", "anna") {
			t.Error("an alarm of the last life can be acknowledged")
		}
		time.Sleep(30 * time.Second)
		s.raise("peer-lost@2")
		s.expect("peer-lost@2/105s/anna | disk-slow@/srv/5s/")
		time.Sleep(carryFor)
		s.expect("peer-lost@2/705s/anna | cpu-busy/75s//lost disk-slow@/srv/5s/")
		s.clear("peer-lost@2")
		s.raise("peer-lost@2") // another one
		s.expect("peer-lost@2/0s/ | peer-lost@2/705s/anna cpu-busy/75s//lost disk-slow@/srv/5s/")
		s.book.acknowledge("peer-lost@2", "bert")
		s.book.acknowledge("peer-lost@2", "")
		s.expect("peer-lost@2/0s/ | peer-lost@2/705s/anna cpu-busy/75s//lost disk-slow@/srv/5s/")
	})
}

// TestBookIsWritten: changes of a moment together, and the last ones at the end.
func TestBookIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{t: t, path: filepath.Join(t.TempDir(), "alarms.json")}
		s.open()
		ctx, cancel := context.WithCancel(t.Context())
		written := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.book.run(ctx, func(err error) {
				if written++; err != nil {
					t.Error(err)
				}
			})
		}()
		for i := range 100 {
			s.raise(fmt.Sprint("a-", i))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if written != 1 {
			t.Errorf("written %d times", written)
		}
		s.clear("a-0")
		synctest.Wait()
		cancel()
		<-done
		s.open()
		s.expect("| a-0/10s/")
	})
}

func TestBookIsBounded(t *testing.T) {
	s := &shelf{t: t}
	s.open()
	for i := range 2 * maxEnded {
		s.raise(fmt.Sprint("a-", i))
		s.clear(fmt.Sprint("a-", i))
	}
	if n := len(s.book.ended); n != maxEnded || s.book.ended[n-1].Name != fmt.Sprint("a-", 2*maxEnded-1) {
		t.Fatal(n)
	}
}

// TestBookDamaged: a book that cannot be read is said so, and begun anew.
func TestBookDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alarms.json")
	if err := os.WriteFile(path, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBook(path, time.Now)
	if err == nil || !strings.Contains(err.Error(), path) || b == nil {
		t.Fatal(err)
	}
	if err := b.write(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBook(path, time.Now); err != nil {
		t.Fatal(err)
	}
}
