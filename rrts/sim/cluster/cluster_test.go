package cluster

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// seeds is how many seeds a test run plays.
const seeds = 200

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, v, err)
	}
	return n
}

// TestSeeds runs seed after seed: RRTS_SIM_SEEDS of them, from RRTS_SIM_FIRST on. What
// fails is cut down to a small schedule, which is printed; RRTS_SIM_SCHEDULE=FILE
// replays one that was kept, and RRTS_SIM_SEED=N a whole seed, both with a trace.
func TestSeeds(t *testing.T) {
	if path := os.Getenv("RRTS_SIM_SCHEDULE"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ParseSchedule(string(text))
		if err != nil {
			t.Fatal(err)
		}
		replay(t, c)
		return
	}
	if seed := number(t, "RRTS_SIM_SEED", 0); seed != 0 {
		replay(t, Config{Seed: seed})
		return
	}
	first, n := number(t, "RRTS_SIM_FIRST", 1), uint64(seeds)
	if testing.Short() {
		n /= 10
	}
	runs := &campaign{t: t, began: time.Now()}
	runs.play(first, number(t, "RRTS_SIM_SEEDS", n))
	if !testing.Short() && runs.total.lacks() {
		t.Fatal("the seeds arranged too few faults")
	}
}

func replay(t *testing.T, c Config) {
	c.Trace = os.Stderr
	r, err := Run(c)
	t.Logf("%+v", r)
	if err != nil {
		t.Fatal(err)
	}
}

// campaign is many seeds in a row.
type campaign struct {
	t       *testing.T
	began   time.Time
	said    time.Time
	seeds   int
	failed  int
	total   Report
	longest time.Duration // to settle
}

const (
	// progressInterval is how often a campaign says how far it is.
	progressInterval = 30 * time.Second
	// maxFailures ends a campaign, and shrinkRuns bounds the work on each failure.
	maxFailures = 5
	shrinkRuns  = 400
)

func (c *campaign) play(first, n uint64) {
	c.said = c.began
	for seed := first; seed < first+n && c.failed < maxFailures; seed++ {
		r, err := Run(Config{Seed: seed})
		c.seeds++
		c.total.add(&r)
		c.longest = max(c.longest, r.Settled)
		switch {
		case err != nil:
			c.failure(seed, err)
		case r.Committed == 0:
			c.failed++
			c.t.Errorf("seed %d committed nothing: it tested nothing", seed)
		}
		if time.Since(c.said) >= progressInterval {
			c.said = time.Now()
			c.progress()
		}
	}
	c.progress()
}

// failure reports a failing seed, and the least that still fails.
func (c *campaign) failure(seed uint64, err error) {
	c.failed++
	c.t.Errorf("%v\nreplay it: RRTS_SIM_SEED=%d go test ./rrts/sim/cluster -run TestSeeds -v", err, seed)
	small, err := Shrink(Config{Seed: seed}, shrinkRuns)
	c.t.Logf("seed %d in %d events, which fail with: %v\n%s", seed, len(small.Events), err, small.Schedule())
}

func (c *campaign) progress() {
	hours := time.Since(c.began).Hours()
	c.t.Logf("%d seeds, %d failed, %.0f seeds/h, %v of virtual time, settled in %v in the mean, %v at most: %+v", c.seeds, c.failed,
		float64(c.seeds)/hours, c.total.Virtual.Round(time.Second), (c.total.Settled / time.Duration(c.seeds)).Round(time.Millisecond), c.longest, c.total)
}

// add sums up what runs did.
func (r *Report) add(o *Report) {
	r.Committed += o.Committed
	r.Aborted += o.Aborted
	r.Reads += o.Reads
	r.Retries += o.Retries
	r.Resolves += o.Resolves
	r.Crashes += o.Crashes
	r.Cuts += o.Cuts
	r.Pauses += o.Pauses
	r.Slow += o.Slow
	r.FailedSyncs += o.FailedSyncs
	r.ClocksApart += o.ClocksApart
	r.Activated += o.Activated
	r.Halted += o.Halted
	r.Transfers += o.Transfers
	r.Markers += o.Markers
	r.Lifted += o.Lifted
	r.Full += o.Full
	r.Mended += o.Mended
	r.Damaged += o.Damaged
	r.Fenced += o.Fenced
	r.Rebuilt += o.Rebuilt
	r.Added += o.Added
	r.Removed += o.Removed
	r.Replaced += o.Replaced
	r.Promoted += o.Promoted
	r.Demoted += o.Demoted
	r.Effects += o.Effects
	r.InDoubt += o.InDoubt
	r.Refused += o.Refused
	r.Forced += o.Forced
	r.Overruled += o.Overruled
	r.Settled += o.Settled
	r.Virtual += o.Virtual
}

// lacks reports whether something never happened.
func (r *Report) lacks() bool {
	return min(r.Committed, r.Aborted, r.Reads, r.Retries, r.Resolves, r.Crashes, r.Cuts, r.Pauses, r.Slow, r.FailedSyncs, r.ClocksApart, r.Activated, r.Halted,
		r.Transfers, r.Markers, r.Lifted, r.Full, r.Mended+r.Damaged, r.Fenced, r.Rebuilt,
		r.Added, r.Removed, r.Replaced, r.Promoted, r.Demoted, r.Refused, r.Effects, r.InDoubt) == 0
}

// TestForcedRecovery: one of two is lost, the other goes on by a forced recovery, in the
// middle of all faults. Nothing that a client was told gets lost, the one that was
// overruled answers nobody any more, and a new one takes its place.
func TestForcedRecovery(t *testing.T) {
	var total Report
	n := number(t, "RRTS_SIM_SEEDS", seeds/8)
	if testing.Short() {
		n /= 5
	}
	first := number(t, "RRTS_SIM_FIRST", 1)
	for seed := first; seed < first+n; seed++ {
		c := Config{Seed: seed, Force: true}
		if number(t, "RRTS_SIM_SEED", 0) == seed {
			c.Trace = os.Stderr
		}
		r, err := Run(c)
		if err != nil {
			t.Fatalf("%v\nreplay it: RRTS_SIM_FIRST=%d RRTS_SIM_SEED=%d go test ./rrts/sim/cluster -run TestForcedRecovery -v", err, seed, seed)
		}
		if r.Forced != 1 || r.Replaced != 1 {
			t.Fatalf("seed %d: %d forced recoveries, %d replaced", seed, r.Forced, r.Replaced)
		}
		total.add(&r)
	}
	t.Logf("%d seeds: %+v", n, total)
	if total.Overruled == 0 || !testing.Short() && total.Overruled < int(n)/4 {
		t.Fatalf("%d of %d lost nodes heard that they were overruled", total.Overruled, n)
	}
}

// TestSameSeedSameRun: a failing seed can only be replayed if nothing but the
// seed decides.
func TestSameSeedSameRun(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		first, err := Run(Config{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		second, err := Run(Config{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if first != second {
			t.Fatalf("seed %d: %+v, and then %+v", seed, first, second)
		}
	}
}

// catches plants a bug; some seed must notice.
func catches(t *testing.T, bug Bug) {
	c := failing(t, bug)
	_, err := Run(c)
	t.Logf("caught by seed %d: %v", c.Seed, err)
}

func TestCatchesAckBeforeSync(t *testing.T)    { catches(t, AckBeforeSync) }
func TestCatchesSkippedDedupe(t *testing.T)    { catches(t, SkipDedupe) }
func TestCatchesSplitApplied(t *testing.T)     { catches(t, SplitApplied) }
func TestCatchesDuplicateRecords(t *testing.T) { catches(t, DuplicateRecords) }
func TestCatchesLeaveEarly(t *testing.T)       { catches(t, LeaveEarly) }
func TestCatchesStaleReads(t *testing.T)       { catches(t, StaleReads) }
func TestCatchesTrustedClock(t *testing.T)     { catches(t, TrustClock) }
func TestCatchesApplyDiffers(t *testing.T)     { catches(t, ApplyDiffers) }
func TestCatchesOtherRows(t *testing.T)        { catches(t, OtherRows) }
func TestCatchesForgottenClaims(t *testing.T)  { catches(t, ForgetClaims) }
func TestCatchesIgnoredRot(t *testing.T)       { catches(t, IgnoreRot) }

// TestCatchesLeaveAtOnce: one seed in ten thousand finds it; the schedule is kept.
func TestCatchesLeaveAtOnce(t *testing.T) {
	text, err := os.ReadFile("testdata/schedules/left-too-early.txt")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseSchedule(string(text))
	if err != nil {
		t.Fatal(err)
	}
	c.Bug = LeaveAtOnce
	if _, err = Run(c); err == nil {
		t.Fatal("the schedule did not notice")
	}
	t.Log(err)
}
