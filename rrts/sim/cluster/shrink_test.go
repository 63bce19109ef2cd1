package cluster

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestScheduleReplays: a schedule that was written down is the same run.
func TestScheduleReplays(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		c := Plan(Config{Seed: seed})
		path := filepath.Join(t.TempDir(), "schedule")
		if err := os.WriteFile(path, []byte("# a comment\n\n"+c.Schedule()), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseSchedule(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, c) {
			t.Fatalf("seed %d came back as\n%s", seed, back.Schedule())
		}
		whole, err := Run(Config{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Run(back); err != nil || again != whole {
			t.Fatalf("seed %d: %+v, and from its schedule %+v, %v", seed, whole, again, err)
		}
	}
}

// TestKeptSchedules replays what failed once.
func TestKeptSchedules(t *testing.T) {
	paths, err := filepath.Glob("testdata/schedules/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ParseSchedule(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Run(c); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestScheduleKinds: every kind is planned by some seed, and stands in a schedule.
func TestScheduleKinds(t *testing.T) {
	seen := map[Kind]bool{}
	for seed := uint64(1); seed <= 50; seed++ {
		c := Plan(Config{Seed: seed})
		for i := range c.Events {
			seen[c.Events[i].Kind] = true
		}
	}
	for _, k := range kinds {
		if !seen[k] {
			t.Errorf("no seed plans %q", k)
		}
	}
	if len(seen) != len(kinds) {
		t.Errorf("%d kinds are planned, %d are listed", len(seen), len(kinds))
	}
}

func TestScheduleRefused(t *testing.T) {
	const run = "run seed=1 nodes=3 witness=false clients=6 effects=false safety=3s bug=0\n"
	for _, c := range []struct{ text, want string }{
		{"", "no line that begins with run"},
		{"run seed=1\n", "line 1: 1 values, want 7"},
		{run + "soon crash node=1 for=1s\n", "line 2: time: invalid duration"},
		{run + "1s\n", "line 2: \"1s\", want a time and a kind"},
		{run + "1s fire node=1\n", `line 2: unknown kind "fire"`},
		{run + "1s crash for=1s node=1\n", `line 2: crash: "for=1s", want node=`},
		{run + "1s crash node=x for=1s\n", "line 2: crash: node: "},
	} {
		if _, err := ParseSchedule(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gives %v, want %q", c.text, err, c.want)
		}
	}
}

// TestShrink cuts runs with planted bugs down to the few events that bring them out;
// each of them is needed, and what is left replays from its written form.
func TestShrink(t *testing.T) {
	for _, test := range []struct {
		bug  Bug
		most int // events
	}{{AckBeforeSync, 8}, {SplitApplied, 3}} {
		c := failing(t, test.bug)
		small, err := Shrink(c, 500)
		if err == nil {
			t.Fatalf("seed %d does not fail any more", c.Seed)
		}
		t.Logf("seed %d: %d events became %d, which fail with: %v\n%s", c.Seed, len(Plan(c).Events), len(small.Events), err, small.Schedule())
		if len(small.Events) > test.most {
			t.Errorf("%d events are left, want at most %d", len(small.Events), test.most)
		}
		back, parseErr := ParseSchedule(small.Schedule())
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		if _, again := Run(back); again == nil || firstLine(again) != firstLine(err) {
			t.Errorf("replayed: %v", again)
		}
		for i := range small.Events {
			less := back
			less.Events = append(append([]Event{}, back.Events[:i]...), back.Events[i+1:]...)
			if _, err := Run(less); err != nil {
				t.Errorf("%q was not needed: %v", small.Events[i].String(), err)
			}
		}
		back.Bug = NoBug
		if _, err := Run(back); err != nil {
			t.Errorf("without the bug: %v", err)
		}
	}
}

// failing returns a run that notices the bug.
func failing(t *testing.T, bug Bug) Config {
	for seed := uint64(1); seed <= 200; seed++ {
		c := Config{Seed: seed, Nodes: 3, Bug: bug}
		if _, err := Run(c); err != nil {
			return c
		}
	}
	t.Fatal("200 seeds did not notice")
	return Config{}
}

// firstLine is what failed, without the stack of a panic, whose addresses differ.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
