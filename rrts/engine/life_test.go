package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/message"
)

var errTest = errors.New("test")

// TestOrder: all are provisioned before any is validated, and validated before any
// is started; they drain and stop in the reverse order of start.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var life diary
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", life: &life}), made(stub{name: "b", life: &life})}).begin()
		life.expect(t, "a provision", "b provision", "a validate", "b validate", "a start", "b start")
		if err := f.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := f.state("a"); s != "ready" {
			t.Fatal(s)
		}
		f.end(nil)
		life.expect(t, "b drain", "b stop", "a drain", "a stop")
		if s := f.state("a"); s != "stopped" {
			t.Fatal(s)
		}
		if f.Run(t.Context()) == nil || f.Add(made(stub{name: "c"})) == nil {
			t.Fatal("an engine runs twice, or takes Components after Run")
		}
	})
}

// TestStopAtEveryPoint: wherever a Component fails on the way up, and wherever the
// engine is told to stop, everything that was made is stopped once or more, Run
// returns, and nothing runs on (a goroutine left behind fails the bubble).
func TestStopAtEveryPoint(t *testing.T) {
	points := []string{"provision", "validate", "start", "drain", "stop"}
	faults := []string{"error", "panic", "cancel", "cancel+error", "shutdown"}
	for _, point := range points {
		for _, fault := range faults {
			for _, who := range []string{"first", "second"} {
				t.Run(point+"/"+fault+"/"+who, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { stopAt(t, point, fault, who) })
				})
			}
		}
	}
}

func stopAt(t *testing.T, point, fault, who string) {
	var life diary
	var f *fixture
	happen := func(s *stub) error {
		switch fault {
		case "panic":
			panic("test")
		case "cancel":
			f.cancel()
		case "cancel+error":
			f.cancel()
			return errTest
		case "shutdown":
			return f.Shutdown(true)
		case "error":
			return errTest
		}
		return nil
	}
	parts := map[string]stub{}
	for _, name := range []string{"first", "second"} {
		s := stub{name: name, life: &life, start: func(s *stub) error {
			s.host.Go("loop", func(ctx context.Context) { <-ctx.Done() })
			return nil
		}}
		if name == who {
			switch point {
			case "provision":
				s.provision = happen
			case "validate":
				s.validate = happen
			case "start":
				begin := s.start
				s.start = func(s *stub) error { return errors.Join(begin(s), happen(s)) }
			case "drain":
				s.drain = happen
			case "stop":
				s.stop = func(s *stub) { happen(s) }
			}
		}
		parts[name] = s
	}
	f = newFixture(t, []func() (Component, error){made(parts["first"]), made(parts["second"])})
	f.begin()
	stopped := len(f.done) == 1
	goesUp := slices.Index([]string{"provision", "validate", "start"}, point) >= 0
	if want := goesUp; stopped != want {
		t.Fatalf("stopped by itself: %v, want %v", stopped, want)
	}
	f.cancel()
	err := <-f.done
	fails := goesUp && (fault == "error" || fault == "panic") || point == "stop" && fault == "panic"
	if fails != (err != nil) {
		t.Fatalf("Run: %v", err)
	}
	if fails && !strings.Contains(err.Error(), who) {
		t.Fatalf("the error does not name the Component: %v", err)
	}
	lines := life.take()
	for _, name := range []string{"first", "second"} {
		if !slices.Contains(lines, name+" stop") {
			t.Errorf("%s was never stopped: %q", name, lines)
		}
	}
	if i, j := slices.Index(lines, "first stop"), slices.Index(lines, "second stop"); i < j {
		t.Errorf("stopped in the order of start: %q", lines)
	}
}

func TestAddRefuses(t *testing.T) {
	f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo)})})
	stranger := &message.ServiceDescriptor{Number: 2000, Name: "Stranger"}
	for name, c := range map[string]struct {
		make func() (Component, error)
		want string
	}{
		"same name":    {made(stub{name: "a"}), "two Components a"},
		"same service": {made(stub{name: "b", services: provides(echo)}), "both answer Echo"},
		"unknown":      {made(stub{name: "c", services: provides(stranger)}), "does not know"},
		"fails":        {func() (Component, error) { return nil, errTest }, "test"},
	} {
		if err := f.Add(c.make); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 1; i < maxComponents; i++ {
		if err := f.Add(made(stub{name: fmt.Sprint("x", i)})); err != nil {
			t.Fatal(err)
		}
	}
	if f.Add(made(stub{name: "one too many"})) == nil {
		t.Error("there is no bound on Components")
	}
}

func TestConfig(t *testing.T) {
	_, err := New(Config{DrainWithin: -1, StopWithin: -1, HangAfter: time.Millisecond})
	for _, want := range []string{"SFU", "Registry", "DrainWithin", "StopWithin", "HangAfter"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
	empty, _ := message.NewRegistry()
	if _, err := New(Config{SFU: 1, Registry: empty}); err == nil || !strings.Contains(err.Error(), "enginepb.Schema") {
		t.Error(err)
	}
}

// TestStopHangs: a Component that cannot be stopped holds Run up for StopWithin,
// and Run says so.
func TestStopHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := newFixture(t, []func() (Component, error){
			made(stub{name: "a", stop: func(*stub) { <-release }}),
			made(stub{name: "b", start: func(s *stub) error {
				s.host.Go("deaf", func(context.Context) { <-release })
				return nil
			}}),
		}).begin()
		begin := time.Now()
		f.end(errHangs)
		if d := time.Since(begin); d != 2*f.cfg.StopWithin {
			t.Errorf("took %v", d)
		}
		close(release)
	})
}

// TestWayUpHangs: a Component that hangs on its way up holds a stop up for
// StopWithin, and is not stopped while it runs.
func TestWayUpHangs(t *testing.T) {
	for _, point := range []string{"provision", "validate", "start"} {
		synctest.Test(t, func(t *testing.T) {
			var life diary
			release := make(chan struct{})
			s := stub{name: "a", life: &life}
			hang := func(*stub) error { <-release; return nil }
			switch point {
			case "provision":
				s.provision = hang
			case "validate":
				s.validate = hang
			case "start":
				s.start = hang
			}
			f := newFixture(t, []func() (Component, error){made(s)}).begin()
			begin := time.Now()
			f.end(errHangs)
			if d := time.Since(begin); d != f.cfg.StopWithin {
				t.Errorf("%s: took %v", point, d)
			}
			if slices.Contains(life.take(), "a stop") {
				t.Errorf("%s: Stop was called while it ran", point)
			}
			close(release)
		})
	}
}

// TestDrainWithin: what never finishes is cut off, and its callers get a definite
// answer.
func TestDrainWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept []message.Request
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo),
			serve: func(_ *stub, r message.Request) { kept = append(kept, r) }})}).begin()
		slow := &pending{wait: make(chan Reply, 1)}
		f.call(slow, &Call{Service: echoService, Method: 2, Timeout: time.Hour})
		synctest.Wait()
		begin := time.Now()
		f.end(nil)
		if d := time.Since(begin); d != f.cfg.DrainWithin {
			t.Errorf("took %v", d)
		}
		f.expect(<-slow.wait, message.Unknown, "")
		kept[0].Reply(new(raw)) // too late, and harmless
	})
}
