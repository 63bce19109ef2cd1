package watchdog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hardware is a Device that remembers.
type hardware struct {
	fed      []time.Time
	disarmed bool
}

func (h *hardware) Identity() string       { return "fake" }
func (h *hardware) Timeout() time.Duration { return 75 * time.Second }
func (h *hardware) Keepalive() error       { h.fed = append(h.fed, time.Now()); return nil }
func (h *hardware) Disarm() error          { h.disarmed = true; return nil }

// gap is the longest time without food within a span of the run.
func (h *hardware) gap(begin time.Time, from, to time.Duration) time.Duration {
	last, longest := begin.Add(from), time.Duration(0)
	for _, at := range append(h.fed, begin.Add(to)) {
		if at.After(last) && !at.After(begin.Add(to)) {
			longest = max(longest, at.Sub(last))
			last = at
		}
	}
	return longest
}

// scene is a Guard on virtual time.
type scene struct {
	*Guard
	hardware hardware
	lines    bytes.Buffer
	begin    time.Time
	engines  []Engine
	advance  bool // the engines make progress
	mute     bool // systemd answers nothing
}

func newScene(t *testing.T) *scene {
	s := &scene{begin: time.Now(), engines: []Engine{{Name: "rrts@alpha", State: Watched}}, advance: true}
	s.Guard = &Guard{
		Order: &Order{ID: "1", Device: "/dev/watchdog0", TimeoutS: 60}, Boot: "one", Dir: t.TempDir(), RunDir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(&s.lines, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
		Ready: func(string) {}, Alive: func(time.Duration) {},
		Engines: func(ctx context.Context) ([]Engine, error) {
			if s.mute {
				ctx, cancel := context.WithTimeout(ctx, answerWithin)
				defer cancel()
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if s.advance {
				s.engines[0].Progress++
			}
			return append([]Engine(nil), s.engines...), nil
		},
		Open: func(*Order) (Device, error) { return &s.hardware, nil },
	}
	return s
}

// run runs the guard while do does, then stops it.
func (s *scene) run(t *testing.T, do func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	do()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *scene) said(t *testing.T, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(s.lines.String(), w) {
			t.Errorf("nothing says %s:\n%s", w, s.lines.String())
		}
	}
}

func (s *scene) onDisk(t *testing.T) *Record {
	t.Helper()
	r, err := ReadRecord(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGuardFeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.run(t, func() {
			pass(10 * time.Minute)
			if r := s.onDisk(t); r.Armed == nil || r.Armed.Boot != "one" {
				t.Errorf("armed: %+v", r.Armed)
			}
			if st, err := ReadStatus(s.RunDir); err != nil || st.State != ArmedState || st.TimeoutS != 75 || st.Driver != "fake" {
				t.Errorf("status %+v, %v", st, err)
			}
		})
		if gap := s.hardware.gap(s.begin, 0, 10*time.Minute); gap > 2*time.Second {
			t.Errorf("not fed for %s", gap)
		}
		if !s.hardware.disarmed || s.onDisk(t).Armed != nil {
			t.Error("a clean stop leaves it armed")
		}
		s.said(t, "level=INFO msg=\"the hardware watchdog is armed\" event=watchdog-armed device=/dev/watchdog0 driver=fake timeout=1m15s", "event=watchdog-stopped")
	})
}

func TestGuardLetsGo(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*scene)
		cure  func(*scene)
		why   string
	}{
		{"unkillable", func(s *scene) { s.engines[0].Doomed = true }, func(s *scene) { s.engines[0].Doomed = false }, "rrts@alpha could not be killed for 1m0s"},
		{"silent", func(s *scene) { s.advance = false }, func(s *scene) { s.advance = true }, "rrts@alpha made no progress for 1m0s"},
		{"systemd", func(s *scene) { s.mute = true }, func(s *scene) { s.mute = false }, "systemd did not answer for 1m"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				s.run(t, func() {
					pass(time.Minute)
					tc.spoil(s)
					pass(2 * time.Minute)
					if gap := s.hardware.gap(s.begin, 0, 115*time.Second); gap > 2*time.Second {
						t.Errorf("not fed for %s, before a minute was over", gap)
					}
					if gap := s.hardware.gap(s.begin, 125*time.Second, 180*time.Second); gap != 55*time.Second {
						t.Errorf("fed after a minute: gap %s", gap)
					}
					if r := s.onDisk(t); r.Armed.LetGo == nil || !strings.HasPrefix(r.Armed.LetGo.Why, tc.why) {
						t.Errorf("recorded: %+v", r.Armed.LetGo)
					}
					if st, err := ReadStatus(s.RunDir); err != nil || st.State != LettingGoState {
						t.Errorf("status %+v, %v", st, err)
					}
					s.said(t, "level=ERROR+4 msg=\"letting the machine go: the hardware will reset it\" event=machine-let-go why=\""+tc.why)
					tc.cure(s)
					pass(time.Minute)
					if gap := s.hardware.gap(s.begin, 190*time.Second, 240*time.Second); gap > 2*time.Second {
						t.Errorf("cured and not fed for %s", gap)
					}
					if r := s.onDisk(t); r.Armed.LetGo != nil {
						t.Errorf("still recorded: %+v", r.Armed.LetGo)
					}
				})
			})
		})
	}
}

// TestGuardJournalHangs: neither feeding nor letting go waits for it.
func TestGuardJournalHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		hang := make(chan struct{})
		s.Log = slog.New(blocked{s.Log.Handler(), hang})
		s.Alive = func(time.Duration) { <-hang } // systemd takes no notice either
		s.run(t, func() {
			pass(10 * time.Minute)
			if gap := s.hardware.gap(s.begin, 0, 10*time.Minute); gap > 2*time.Second {
				t.Errorf("not fed for %s", gap)
			}
			s.engines[0].Doomed = true
			pass(2 * time.Minute)
			if gap := s.hardware.gap(s.begin, 670*time.Second, 720*time.Second); gap != 50*time.Second {
				t.Errorf("fed after a minute: gap %s", gap)
			}
			close(hang)
		})
		s.said(t, "event=watchdog-armed", "event=machine-let-go")
	})
}

// blocked is a journal that takes nothing until open is closed.
type blocked struct {
	slog.Handler
	open <-chan struct{}
}

func (b blocked) Handle(ctx context.Context, r slog.Record) error {
	<-b.open
	return b.Handler.Handle(ctx, r)
}

// TestGuardOff: three resets within an hour, and the hardware is not touched.
func TestGuardOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		for i, boot := range []string{"one", "two", "three", "four", "five"} {
			s.Boot, s.hardware = boot, hardware{}
			if i < 3 {
				// What a reset leaves: nobody stopped it.
				r := s.onDisk(t)
				r.Begin(time.Now(), boot, s.Order.ID, NoEvidence)
				r.Arm(time.Now(), boot)
				if err := WriteRecord(s.Dir, r); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				continue
			}
			if err := s.Run(t.Context()); !errors.Is(err, ErrOff) {
				t.Errorf("boot %s: %v", boot, err)
			}
			if len(s.hardware.fed) > 0 {
				t.Errorf("boot %s: the hardware was started", boot)
			}
		}
		s.said(t, "level=ERROR msg=\"the machine was reset by its watchdog\" event=machine-was-reset", "resets_within_an_hour=3",
			"level=ERROR msg=\"the hardware watchdog stays off\" alarm=watchdog-off why=\"3 resets within 1h0m0s\"")
		s.Order = &Order{ID: "2"}
		s.run(t, func() { pass(time.Minute) })
		if len(s.hardware.fed) == 0 {
			t.Error("another order does not arm it")
		}
	})
}

// TestGuardUnusable: what cannot be opened is not taken for armed.
func TestGuardUnusable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.Open = func(*Order) (Device, error) { return nil, ErrHeld }
		if err := s.Run(t.Context()); !errors.Is(err, ErrUnusable) || !errors.Is(err, ErrHeld) {
			t.Error(err)
		}
		if r := s.onDisk(t); r.Armed != nil {
			t.Errorf("armed: %+v", r.Armed)
		}
		s.said(t, "alarm=watchdog-unusable")
	})
}

// TestChain: systemd is told when nobody keeps it from that, and told again when it does
// not listen.
func TestChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		c := NewChain(time.Minute, func(context.Context) error { told++; return errors.New("busy") }, slog.New(slog.DiscardHandler))
		for range 100 {
			time.Sleep(time.Second)
			if err := c.Keepalive(); err != nil {
				t.Fatal(err)
			}
		}
		pass(59 * time.Second)
		if told != 0 {
			t.Errorf("told %d times although it was fed", told)
		}
		pass(3 * time.Second)
		if told != 1 {
			t.Errorf("told %d times after the time-out", told)
		}
		pass(resetRetry)
		if told != 2 {
			t.Errorf("told %d times, and it did not listen", told)
		}
		if err := c.Disarm(); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if told != 2 {
			t.Errorf("told %d times although it is disarmed", told)
		}
	})
}
