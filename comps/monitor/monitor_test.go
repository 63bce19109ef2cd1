package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/comps/monitor/judge"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm"
	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

// never is a limit that no value of the machine that the test runs on exceeds.
var never = judge.Limit{Raise: 1e9, Clear: 1e9}

// scene is an engine with a Monitor, of which a test can change what is seen.
type scene struct {
	*engine.Engine
	t    *testing.T
	saw  alarmtest.Record
	done chan error
	stop context.CancelFunc
}

func newScene(t *testing.T, change func(*Config)) *scene {
	t.Helper()
	reg, err := message.NewRegistry(&enginepb.Schema, &monitorpb.Schema)
	if err != nil {
		t.Fatal(err)
	}
	book, err := OpenBook("", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, done: make(chan error, 1)}
	s.Engine, err = engine.New(engine.Config{SFU: 7, Name: "seven", Type: "edge", Software: "test", Registry: reg, Log: slog.New(slog.DiscardHandler), OnAlarm: func(e engine.AlarmEvent) {
		book.Note(e)
		if e.Cleared {
			s.saw.End(e.Name)
		} else {
			s.saw.Raise(e.Name)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Engine: s.Engine.Status, Progress: s.Progress, Alarms: s.Alarms, Book: book, Watch: func() bool { return false },
		Limits: judge.Limits{CPU: never, DiskLatency: never, Temperature: never, CommitLatency: never, Lag: never, NetworkLoss: judge.Limit{Raise: 5, Clear: 1, Hold: 30 * time.Second}, Clock: judge.Limit{Raise: 0.25, Clear: 0.1, Hold: time.Minute}}}
	if change != nil {
		change(&cfg)
	}
	if err := s.Add(func() (engine.Component, error) { return New(cfg) }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.done <- s.Run(ctx) }()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) end() {
	s.t.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) ask() *monitorpb.MonitorStatus {
	s.t.Helper()
	st, err := monitorpb.MonitorClient{Caller: s.Caller(7)}.Status(s.t.Context(), new(monitorpb.StatusRequest))
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *scene) names() string {
	names := []string{}
	for _, a := range s.Alarms() {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return fmt.Sprint(names)
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := newScene(t, func(c *Config) {
			alarms := c.Alarms
			c.Alarms = func() []engine.Alarm {
				return append(alarms(), engine.Alarm{Name: "odd@3", Severity: engine.Critical, Detail: "it is", Raised: 0, Count: 2, Flapping: true})
			}
			c.Networks = func() []monitorpb.NetworkStatus {
				asked++
				return []monitorpb.NetworkStatus{{Peer: 3, Network: "B", Up: true}}
			}
		})
		time.Sleep(4 * time.Second)
		st := s.ask()
		if st.Sfu != 7 || st.Name != "seven" || st.Type != "edge" || st.Software != "test" || st.UptimeMillis != 4000 || len(st.Components) != 1 {
			t.Errorf("%v", st)
		}
		if st.ResidentBytes < 1<<20 || st.ResidentBytes > 1<<33 {
			t.Errorf("%d bytes resident", st.ResidentBytes)
		}
		if len(st.Networks) != 1 || st.Networks[0].Peer != 3 {
			t.Errorf("%+v", st.Networks)
		}
		want := monitorpb.Alarm{Name: "odd@3", Severity: "critical", Detail: "it is", AgeMillis: 4000, Count: 2, Flapping: true}
		if len(st.Alarms) != 1 || st.Alarms[0] != want {
			t.Errorf("%+v", st.Alarms)
		}
		if st.Machine != nil {
			t.Errorf("%+v: this SFU does not watch the machine", st.Machine)
		}
		// Many who ask at once make no more work than one.
		before := asked
		for range 20 {
			s.ask()
		}
		time.Sleep(freshFor + 1)
		s.ask()
		if asked != before+1 {
			t.Errorf("networks were asked %d times for 21 answers", asked-before)
		}
		s.end()
	})
}

// TestMachine: the SFU that has the machine's watch tells of the machine, and another
// one does when that is gone.
func TestMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mine atomic.Bool
		s := newScene(t, func(c *Config) {
			c.Watch, c.Machine, c.Dirs = mine.Load, "pc1", []string{t.TempDir()}
			c.Networks = func() []monitorpb.NetworkStatus {
				return []monitorpb.NetworkStatus{
					{Peer: 2, Network: "A", Up: true, ClockOffsetMicros: -9e6, ClockErrorMicros: 100},
					{Peer: 2, Network: "B", Up: true, ClockOffsetMicros: -9e6, ClockErrorMicros: 100},
					{Peer: 3, Network: "machine", Up: true, ClockErrorMicros: 100}, // the same clock
					{Peer: 4, Network: "A", ClockOffsetMicros: 1e6, ClockErrorMicros: 100},
				}
			}
		})
		time.Sleep(5 * time.Minute)
		if got := s.names(); got != "[]" || s.ask().Machine != nil {
			t.Fatalf("%s, although another SFU watches the machine", got)
		}
		mine.Store(true)
		time.Sleep(2 * time.Minute)
		got := s.ask().Machine
		if got == nil || got.Name != "pc1" || got.Processors == 0 || got.MemoryBytes == 0 || len(got.Disks) != 1 || !got.ClockKnown || got.ClockOffsetMicros != -9e6 {
			t.Fatalf("%+v", got)
		}
		if names := s.names(); names != "[clock-off]" {
			t.Fatal(names)
		}
		s.end()
	})
}

// TestLoss: what is lost of the frames of the last seconds, as it is judged and told.
func TestLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent, lost uint64
		var bad atomic.Bool
		s := newScene(t, func(c *Config) {
			c.Networks = func() []monitorpb.NetworkStatus {
				if sent += 1000; bad.Load() {
					lost += 100
				}
				return []monitorpb.NetworkStatus{{Peer: 3, Network: "B", Up: true, SentFrames: sent, LostFrames: lost}}
			}
		})
		time.Sleep(30 * time.Second)
		bad.Store(true)
		time.Sleep(time.Minute)
		if got, loss := s.names(), s.ask().Networks[0].LossMillionths; got != "[network-lossy@B.3]" || loss < 90_000 || loss > 110_000 {
			t.Fatalf("%s, %d of a million lost; 100 of each 1000 were", got, loss)
		}
		bad.Store(false)
		time.Sleep(time.Minute)
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		s.end()
	})
}

// TestAlarmTest: an operator raises alarm-test, says that he looks after it, and it ends
// by itself.
func TestAlarmTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, nil)
		c := monitorpb.MonitorClient{Caller: s.Caller(7)}
		if _, err := c.TestAlarm(t.Context(), &monitorpb.TestAlarmRequest{By: "anna"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for by, stands := range map[string]string{"anna": testAlarm, "bert": "peer-lost@9"} {
			a, err := c.Acknowledge(t.Context(), &monitorpb.AcknowledgeRequest{Name: stands, By: by})
			if err != nil || a.Stands != (stands == testAlarm) {
				t.Fatal(a, err)
			}
		}
		if _, err := c.Acknowledge(t.Context(), &monitorpb.AcknowledgeRequest{Name: testAlarm, By: strings.Repeat("x", 65)}); err == nil {
			t.Fatal("any name will do")
		}
		a, err := c.Alarms(t.Context(), &monitorpb.AlarmsRequest{Ended: 10})
		if err != nil || len(a.Standing) != 1 || len(a.Ended) != 0 || a.Standing[0].AcknowledgedBy != "anna" || a.Standing[0].Name != "alarm-test" || a.Standing[0].AgeMillis != 10_000 ||
			!strings.Contains(a.Standing[0].Detail, "anna") {
			t.Fatalf("%+v, %v", a, err)
		}
		time.Sleep(testFor)
		synctest.Wait()
		a, err = c.Alarms(t.Context(), &monitorpb.AlarmsRequest{Ended: 10})
		if err != nil || len(a.Standing) != 0 || len(a.Ended) != 1 || a.Ended[0].Name != testAlarm || a.Ended[0].AcknowledgedBy != "anna" {
			t.Fatalf("%+v, %v", a, err)
		}
		s.saw.Proves(t)
		s.end()
	})
}

// TestTryKinds: every kind can be tried, with its severity, and what does not stand is
// no alarm.
func TestTryKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, nil)
		c := monitorpb.MonitorClient{Caller: s.Caller(7)}
		stands := map[string]engine.Severity{}
		for i := range alarm.Kinds {
			k := &alarm.Kinds[i]
			if _, err := c.TestAlarm(t.Context(), &monitorpb.TestAlarmRequest{By: "anna", Kind: k.Name, Seconds: 5}); err != nil {
				t.Fatalf("%s: %v", k.Name, err)
			}
			switch {
			case k.Event:
			case k.Name == testAlarm:
				stands[k.Name] = k.Severity
			default:
				stands[k.Name+"@test"] = k.Severity
			}
		}
		for _, in := range []monitorpb.TestAlarmRequest{{Kind: "nothing"}, {Kind: "peer-lost@3"}, {Kind: "peer-lost", Seconds: 3601}} {
			if _, err := c.TestAlarm(t.Context(), &in); err == nil {
				t.Errorf("%+v is tried", in)
			}
		}
		time.Sleep(4 * time.Second)
		got := map[string]engine.Severity{}
		for _, a := range s.Alarms() {
			got[a.Name] = a.Severity
		}
		if !maps.Equal(got, stands) {
			t.Errorf("%v stand, want %v", got, stands)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Errorf("%s stand when their time is over", got)
		}
		s.end()
	})
}

// TestWatchdog: a watchdog that stays off, or that nobody feeds, is an alarm, and its
// state is told.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var state atomic.Pointer[monitorpb.WatchdogStatus]
		s := newScene(t, func(c *Config) { c.Watchdog, c.Watch = state.Load, nil })
		for _, x := range []struct {
			is    *monitorpb.WatchdogStatus
			after time.Duration
			want  string
		}{
			{nil, 2 * time.Minute, "[]"},
			{&monitorpb.WatchdogStatus{State: "armed"}, 2 * time.Minute, "[]"},
			{&monitorpb.WatchdogStatus{State: "off", Why: "3 resets within 1h0m0s"}, 20 * time.Second, "[watchdog-off]"},
			{&monitorpb.WatchdogStatus{State: "not running"}, 50 * time.Second, "[]"},
			{&monitorpb.WatchdogStatus{State: "not running"}, 50 * time.Second, "[watchdog-unusable]"},
			{&monitorpb.WatchdogStatus{State: "armed"}, time.Minute, "[]"},
		} {
			state.Store(x.is)
			time.Sleep(x.after)
			synctest.Wait()
			if got := s.names(); got != x.want {
				t.Fatalf("%+v: %s, want %s", x.is, got, x.want)
			}
			if m := s.ask().Machine; m == nil || m.Watchdog != nil != (x.is != nil) || x.is != nil && m.Watchdog.State != x.is.State {
				t.Fatalf("%+v is told as %+v", x.is, m)
			}
		}
		s.saw.Proves(t)
		s.end()
	})
}

// TestStopEndsAlarms: what nobody looks at any more does not stand.
func TestStopEndsAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *Config) { c.Progress = func() uint64 { return 1 } })
		time.Sleep(10 * time.Second)
		if got := s.names(); got != "[engine-stalled]" {
			t.Fatal(got)
		}
		s.end()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
	})
}

// TestProcess: what is read is this process's own.
func TestProcess(t *testing.T) {
	before, cpu, err := process("/proc")
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<20)
	for i := range block {
		block[i] = byte(i)
	}
	for begin := time.Now(); time.Since(begin) < 100*time.Millisecond; {
	}
	after, more, err := process("/proc")
	if err != nil || after < before+32<<20 || more <= cpu {
		t.Errorf("%d then %d bytes, %v then %v, %v", before, after, cpu, more, err)
	}
	clear(block)
}

func TestBlind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "proc")
		s := newScene(t, func(c *Config) { c.Proc = dir })
		time.Sleep(2 * time.Second)
		if got := s.names(); got != "[monitor-blind]" {
			t.Fatal(got)
		}
		if st := s.ask(); st.ResidentBytes != 0 || len(st.Alarms) != 1 || !strings.Contains(st.Alarms[0].Detail, dir) {
			t.Fatalf("%+v", st)
		}
		if err := os.Symlink("/proc", dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		s.saw.Proves(t)
		s.end()
	})
}

// TestBackupMissing: it is an alarm for as long as it is said, with what is said.
func TestBackupMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var missing atomic.Pointer[string]
		say := func(s string) { missing.Store(&s) }
		say("")
		s := newScene(t, func(c *Config) { c.Backup, c.Watch = func() string { return *missing.Load() }, nil })
		time.Sleep(2 * machineEvery)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		say("no backup has been taken yet")
		time.Sleep(machineEvery)
		synctest.Wait()
		if a := s.Alarms(); len(a) != 1 || a[0].Name != "backup-missing" || a[0].Detail != "no backup has been taken yet" {
			t.Fatalf("%+v", a)
		}
		say("")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		s.saw.Proves(t)
		s.end()
	})
}

// TestStalled: the engine's loop stands still, and turns again.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stuck atomic.Bool
		s := newScene(t, func(c *Config) {
			progress := c.Progress
			c.Progress = func() uint64 {
				if stuck.Load() {
					return 1
				}
				return progress()
			}
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		stuck.Store(true)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := s.names(); got != "[engine-stalled]" {
			t.Fatal(got)
		}
		stuck.Store(false)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		s.saw.Proves(t)
		s.end()
	})
}

func TestMailboxFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var depth atomic.Uint32
		s := newScene(t, func(c *Config) {
			status := c.Engine
			c.Engine = func() enginepb.EngineStatus {
				s := status()
				s.Components = append(s.Components, enginepb.ComponentStatus{Name: "txn", MailboxDepth: depth.Load(), MailboxBound: 100})
				return s
			}
		})
		for i, step := range []struct {
			depth uint32
			after time.Duration
			want  string
		}{
			{90, 2 * time.Second, "[]"},
			{10, 2 * time.Second, "[]"}, // a burst
			{81, 5 * time.Second, "[mailbox-filling@txn]"},
			{60, time.Minute, "[mailbox-filling@txn]"}, // neither full nor fine
			{49, 15 * time.Second, "[mailbox-filling@txn]"},
			{81, time.Second, "[mailbox-filling@txn]"},
			{49, 33 * time.Second, "[]"},
		} {
			depth.Store(step.depth)
			time.Sleep(step.after)
			synctest.Wait()
			if got := s.names(); got != step.want {
				t.Fatalf("step %d: %s, want %s", i, got, step.want)
			}
		}
		s.saw.Proves(t)
		s.end()
	})
}

// TestPaused: a sample that comes much too late says that the process stood still.
func TestPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var block atomic.Bool
		s := newScene(t, func(c *Config) {
			progress := c.Progress
			c.Progress = func() uint64 {
				if block.CompareAndSwap(true, false) {
					time.Sleep(3 * time.Second) // stands for a process that is stopped
				}
				return progress()
			}
		})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		block.Store(true)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := s.names(); !strings.Contains(got, "process-paused") {
			t.Fatal(got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		s.saw.Proves(t)
		s.end()
	})
}

func TestConfig(t *testing.T) {
	_, err := New(Config{})
	for _, want := range []string{"Engine", "Progress", "Alarms", "Book"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
}
