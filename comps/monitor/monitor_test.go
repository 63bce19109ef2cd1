package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

// scene is an engine with a Monitor, of which a test can change what is seen.
type scene struct {
	*engine.Engine
	t    *testing.T
	done chan error
	stop context.CancelFunc
}

func newScene(t *testing.T, change func(*Config)) *scene {
	t.Helper()
	reg, err := message.NewRegistry(&enginepb.Schema, &monitorpb.Schema)
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, done: make(chan error, 1)}
	s.Engine, err = engine.New(engine.Config{SFU: 7, Name: "seven", Type: "edge", Software: "test", Registry: reg, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Engine: s.Engine.Status, Progress: s.Progress, Alarms: s.Alarms}
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
		s := newScene(t, func(c *Config) {
			alarms := c.Alarms
			c.Alarms = func() []engine.Alarm {
				return append(alarms(), engine.Alarm{Name: "odd@3", Severity: engine.Critical, Detail: "it is", Raised: 0, Count: 2})
			}
			c.Networks = func() []monitorpb.NetworkStatus { return []monitorpb.NetworkStatus{{Peer: 3, Network: "B", Up: true}} }
		})
		time.Sleep(5 * time.Second)
		st := s.ask()
		if st.Sfu != 7 || st.Name != "seven" || st.Type != "edge" || st.Software != "test" || st.UptimeMillis != 5000 {
			t.Errorf("%v", st)
		}
		if st.ResidentBytes < 1<<20 || st.ResidentBytes > 1<<33 {
			t.Errorf("%d bytes resident", st.ResidentBytes)
		}
		if len(st.Networks) != 1 || st.Networks[0].Peer != 3 {
			t.Errorf("%+v", st.Networks)
		}
		want := monitorpb.Alarm{Name: "odd@3", Severity: "critical", Detail: "it is", AgeMillis: 5000, Count: 2}
		if len(st.Alarms) != 1 || st.Alarms[0] != want {
			t.Errorf("%+v", st.Alarms)
		}
		s.end()
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
		if got := s.names(); got != "[monitor-blind]" {
			t.Fatal(got)
		}
		if st := s.ask(); st.ResidentBytes != 0 || len(st.Alarms) != 1 || !strings.Contains(st.Alarms[0].Detail, dir) {
			t.Fatalf("%+v", st)
		}
		if err := os.Symlink("/proc", dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(calm + 2*sampleEvery)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		s.end()
	})
}

// TestBackupMissing: it is an alarm for as long as it is said, with what is said.
func TestBackupMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var missing atomic.Pointer[string]
		say := func(s string) { missing.Store(&s) }
		say("")
		s := newScene(t, func(c *Config) { c.Backup = func() string { return *missing.Load() } })
		time.Sleep(3 * sampleEvery)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		say("no backup has been taken yet")
		time.Sleep(2 * sampleEvery)
		synctest.Wait()
		if a := s.Alarms(); len(a) != 1 || a[0].Name != "backup-missing" || a[0].Detail != "no backup has been taken yet" {
			t.Fatalf("%+v", a)
		}
		say("")
		time.Sleep(2 * sampleEvery)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
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
		time.Sleep(stalledAfter + 3*sampleEvery)
		synctest.Wait()
		if got := s.names(); got != "[engine-stalled]" {
			t.Fatal(got)
		}
		stuck.Store(false)
		time.Sleep(calm + 2*sampleEvery)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
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
			{60, 2 * calm, "[mailbox-filling@txn]"}, // neither full nor fine
			{49, calm / 2, "[mailbox-filling@txn]"},
			{81, time.Second, "[mailbox-filling@txn]"},
			{49, calm + 3*time.Second, "[]"},
		} {
			depth.Store(step.depth)
			time.Sleep(step.after)
			synctest.Wait()
			if got := s.names(); got != step.want {
				t.Fatalf("step %d: %s, want %s", i, got, step.want)
			}
		}
		s.end()
	})
}

// TestPaused: a sample that comes much too late says that the process stood still.
func TestPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var block atomic.Bool
		s := newScene(t, func(c *Config) {
			c.Networks = func() []monitorpb.NetworkStatus {
				if block.CompareAndSwap(true, false) {
					time.Sleep(3 * time.Second) // stands for a process that is stopped
				}
				return nil
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
		time.Sleep(2 * calm)
		synctest.Wait()
		if got := s.names(); got != "[]" {
			t.Fatal(got)
		}
		s.end()
	})
}

func TestConfig(t *testing.T) {
	_, err := New(Config{})
	for _, want := range []string{"Engine", "Progress", "Alarms"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
}
