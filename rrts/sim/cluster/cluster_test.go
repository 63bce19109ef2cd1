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

// TestSeeds runs seed after seed: RRTS_SIM_SEEDS of them, from RRTS_SIM_FIRST on.
// RRTS_SIM_SEED=N replays one, with a trace.
func TestSeeds(t *testing.T) {
	if seed := number(t, "RRTS_SIM_SEED", 0); seed != 0 {
		r, err := Run(Config{Seed: seed, Trace: os.Stderr})
		t.Logf("%+v", r)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var total Report
	var longest time.Duration
	began := time.Now()
	first, n := number(t, "RRTS_SIM_FIRST", 1), uint64(seeds)
	if testing.Short() {
		n /= 10
	}
	n = number(t, "RRTS_SIM_SEEDS", n)
	for seed := first; seed < first+n; seed++ {
		r, err := Run(Config{Seed: seed})
		if err != nil {
			t.Fatalf("%v\nreplay it: RRTS_SIM_SEED=%d go test ./rrts/sim/cluster -run TestSeeds -v", err, seed)
		}
		if r.Committed == 0 {
			t.Fatalf("seed %d committed nothing: it tested nothing", seed)
		}
		total.add(&r)
		longest = max(longest, r.Settled)
		if done := seed - first + 1; done%1000 == 0 {
			t.Logf("%d seeds in %v", done, time.Since(began).Round(time.Second))
		}
	}
	t.Logf("%d seeds, %v of virtual time: %+v", n, total.Virtual, total)
	t.Logf("%v to settle in the mean, %v at most", total.Settled/time.Duration(n), longest)
	if !testing.Short() && total.lacks() {
		t.Fatal("the seeds arranged too few faults")
	}
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
	r.Transfers += o.Transfers
	r.Full += o.Full
	r.Mended += o.Mended
	r.Damaged += o.Damaged
	r.Added += o.Added
	r.Removed += o.Removed
	r.Replaced += o.Replaced
	r.Promoted += o.Promoted
	r.Demoted += o.Demoted
	r.Refused += o.Refused
	r.Settled += o.Settled
	r.Virtual += o.Virtual
}

// lacks reports whether something never happened.
func (r *Report) lacks() bool {
	return min(r.Committed, r.Aborted, r.Reads, r.Retries, r.Resolves, r.Crashes, r.Cuts, r.Pauses, r.Transfers, r.Full, r.Mended+r.Damaged,
		r.Added, r.Removed, r.Replaced, r.Promoted, r.Demoted, r.Refused) == 0
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
	const most = 200
	for seed := uint64(1); seed <= most; seed++ {
		if _, err := Run(Config{Seed: seed, Nodes: 3, Bug: bug}); err != nil {
			t.Logf("caught by seed %d: %v", seed, err)
			return
		}
	}
	t.Fatalf("%d seeds did not notice", most)
}

func TestCatchesAckBeforeSync(t *testing.T)    { catches(t, AckBeforeSync) }
func TestCatchesSkippedDedupe(t *testing.T)    { catches(t, SkipDedupe) }
func TestCatchesSplitApplied(t *testing.T)     { catches(t, SplitApplied) }
func TestCatchesDuplicateRecords(t *testing.T) { catches(t, DuplicateRecords) }
func TestCatchesLeaveEarly(t *testing.T)       { catches(t, LeaveEarly) }
