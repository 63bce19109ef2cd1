package watchdog

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"golang.org/x/sys/unix"
)

// fake is a driver that does what drivers do: it clamps and remembers.
type fake struct {
	options  uint32
	seconds  int
	min, max int
	fail     string // the call that fails
	log      []string
	stopped  bool
	magic    bool
}

func (f *fake) call(name string) error {
	f.log = append(f.log, name)
	if f.fail == name {
		return unix.EIO
	}
	return nil
}

func (f *fake) info() (string, uint32, error) { return "fake", f.options, f.call("info") }
func (f *fake) timeout() (int, error)         { return f.seconds, f.call("gettimeout") }
func (f *fake) keepalive() error              { return f.call("keepalive") }
func (f *fake) write(b []byte) error          { f.magic = b[0] == 'V'; return f.call("write " + string(b)) }
func (f *fake) setTimeout(n int) error {
	f.seconds = min(max(n, f.min), f.max)
	return f.call(fmt.Sprint("settimeout ", n))
}
func (f *fake) close() error {
	f.stopped = f.magic && f.options&unix.WDIOF_MAGICCLOSE != 0
	return f.call("close")
}

const usual = unix.WDIOF_SETTIMEOUT | unix.WDIOF_MAGICCLOSE | unix.WDIOF_KEEPALIVEPING

func TestDevice(t *testing.T) {
	for _, tc := range []struct {
		name    string
		driver  fake
		ask     time.Duration
		want    time.Duration // 0: refused
		calls   string
		problem string
		armed   bool // after Disarm, or after the refusal
	}{
		{"usual", fake{options: usual, max: 600}, 90 * time.Second, 90 * time.Second,
			"info, settimeout 90, gettimeout, keepalive, write V, close", "", false},
		{"clamped", fake{options: usual, max: 75}, 90 * time.Second, 75 * time.Second,
			"info, settimeout 90, gettimeout, keepalive, write V, close", "", false},
		{"fixed", fake{options: unix.WDIOF_MAGICCLOSE, seconds: 120}, 90 * time.Second, 120 * time.Second,
			"info, gettimeout, keepalive, write V, close", "", false},
		{"clamped too low", fake{options: usual, max: 30}, 90 * time.Second, 0,
			"info, settimeout 90, gettimeout, write V, close", "watchdog: /dev/w (fake) resets after 30s at most, below the limit of 1m0s: do not use it", false},
		{"asked too low", fake{options: usual, max: 600}, 10 * time.Second, 0,
			"write V, close", "watchdog: a time-out of 10s is below the limit of 1m0s", false},
		{"no way out", fake{options: unix.WDIOF_SETTIMEOUT, max: 600}, 60 * time.Second, 60 * time.Second,
			"info, settimeout 60, gettimeout, keepalive, write V, close", "watchdog: /dev/w (fake) is still armed and will reset the machine: the driver cannot stop it", true},
		{"refuses", fake{options: usual, max: 600, fail: "settimeout 90"}, 90 * time.Second, 0,
			"info, settimeout 90, write V, close", "watchdog: /dev/w (fake) refuses a time-out of 1m30s: input/output error", false},
		{"mute", fake{options: usual, max: 600, fail: "gettimeout"}, 90 * time.Second, 0,
			"info, settimeout 90, gettimeout, write V, close", "watchdog: /dev/w (fake) does not tell its time-out: input/output error", false},
		{"dead", fake{options: usual, max: 600, fail: "keepalive"}, 90 * time.Second, 0,
			"info, settimeout 90, gettimeout, keepalive, write V, close", "watchdog: /dev/w: keepalive: input/output error", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, err := open("/dev/w", &tc.driver, tc.ask)
			if (err == nil) != (tc.want != 0) {
				t.Fatalf("open: %v", err)
			}
			if err == nil {
				if h.Timeout() != tc.want || h.Identity() != "fake" {
					t.Errorf("time-out %s of %s, want %s", h.Timeout(), h.Identity(), tc.want)
				}
				err = h.Disarm()
			}
			if got := fmt.Sprint(err); tc.problem != "" && got != tc.problem || tc.problem == "" && err != nil {
				t.Errorf("error %s, want %s", got, tc.problem)
			}
			if got := strings.Join(tc.driver.log, ", "); got != tc.calls {
				t.Errorf("calls %s, want %s", got, tc.calls)
			}
			if tc.driver.stopped == tc.armed {
				t.Errorf("stopped: %v", tc.driver.stopped)
			}
		})
	}
}

// TestKernel speaks the real ioctls to what is not a watchdog.
func TestKernel(t *testing.T) {
	if _, err := Open("/dev/null", MinTimeout); !errors.Is(err, unix.ENOTTY) || !strings.Contains(err.Error(), "/dev/null is not a watchdog") {
		t.Errorf("/dev/null: %v", err)
	}
	if _, err := Open("/dev/watchdog99", MinTimeout); err == nil || err.Error() != "watchdog: /dev/watchdog99 is missing: no driver is loaded; see ls /sys/class/watchdog" {
		t.Errorf("missing: %v", err)
	}
	if os.Getuid() != 0 {
		path := t.TempDir() + "/w"
		if err := os.WriteFile(path, nil, 0o400); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, MinTimeout); err == nil || !strings.Contains(err.Error(), "permission denied; it is root's alone") {
			t.Errorf("forbidden: %v", err)
		}
	}
}

// TestFeeder replays testdata/feeder.txt. Commands:
//
//	new                 another Feeder
//	step at=DURATION    one Step with an answer of systemd of that time; the input has
//	                    one engine a line: NAME watched|busy|gone [PROGRESS] [doomed]
//	until at=DURATION   steps every second up to then; systemd goes on to answer the
//	                    same, or, with mute, nothing; engines that advance are named
//	                    by advance=(NAME,…)
//
// Only steps that say something, or do not feed, are shown; of several in a row that do
// not feed and say nothing the first is.
func TestFeeder(t *testing.T) {
	var f *Feeder
	var now time.Duration
	var look Look
	fed := true
	step := func() string {
		var b strings.Builder
		feed, events := f.Step(now, look)
		for _, e := range events {
			fmt.Fprintf(&b, "%s %s %s for %s", now, e.Kind, e.Engine, e.For)
			if e.Kind == LettingGo {
				fmt.Fprintf(&b, ": %s", e.Why())
			}
			b.WriteString("\n")
		}
		if feed != fed {
			fed = feed
			fmt.Fprintf(&b, "%s %s\n", now, map[bool]string{true: "fed", false: "not fed"}[feed])
		}
		return b.String()
	}
	datadriven.RunTest(t, "testdata/feeder.txt", func(t *testing.T, d *datadriven.TestData) string {
		var at time.Duration
		if d.HasArg("at") {
			var s string
			d.ScanArgs(t, "at", &s)
			v, err := time.ParseDuration(s)
			if err != nil {
				t.Fatal(err)
			}
			at = v
		}
		switch d.Cmd {
		case "new":
			var err error
			if f, err = NewFeeder(Config{}); err != nil {
				t.Fatal(err)
			}
			fed, now, look = true, 0, Look{}
			return ""
		case "step":
			now, look = at, Look{At: at}
			for line := range strings.Lines(d.Input) {
				look.Engines = append(look.Engines, engineOf(t, strings.Fields(line)))
			}
			return step()
		case "until":
			var b strings.Builder
			var advance []string
			if d.HasArg("advance") {
				d.ScanArgs(t, "advance", &advance)
			}
			for now += time.Second; now <= at; now += time.Second {
				if !d.HasArg("mute") {
					look.At = now
					for i := range look.Engines {
						if slices.Contains(advance, look.Engines[i].Name) {
							look.Engines[i].Progress++
						}
					}
				}
				b.WriteString(step())
			}
			now -= time.Second
			return b.String()
		}
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
		return ""
	})
}

// engineOf reads NAME watched|busy|gone [PROGRESS] [doomed].
func engineOf(t *testing.T, words []string) Engine {
	e := Engine{Name: words[0], State: map[string]State{"watched": Watched, "busy": Busy, "gone": Gone}[words[1]]}
	for _, w := range words[2:] {
		if w == "doomed" {
			e.Doomed = true
		} else if _, err := fmt.Sscan(w, &e.Progress); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func TestConfig(t *testing.T) {
	_, err := NewFeeder(Config{RestartAfter: 30 * time.Second})
	if err == nil || err.Error() != "watchdog: ResetAfter 1m0s is below 3 × RestartAfter 30s: systemd needs time to restart the engine" {
		t.Error(err)
	}
	if _, err := NewFeeder(Config{RestartAfter: -time.Second}); err == nil || err.Error() != "watchdog: RestartAfter -1s is negative" {
		t.Error(err)
	}
}
