package cluster

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// seeds is how many seeds a test run plays: RRTS_SIM_SEEDS, or this many.
const seeds = 200

func seedCount(t *testing.T) uint64 {
	v := os.Getenv("RRTS_SIM_SEEDS")
	if v == "" {
		if testing.Short() {
			return seeds / 10
		}
		return seeds
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("RRTS_SIM_SEEDS=%q: %v", v, err)
	}
	return n
}

// TestSeeds runs seed after seed. RRTS_SIM_SEED=N replays one, with a trace.
func TestSeeds(t *testing.T) {
	if v := os.Getenv("RRTS_SIM_SEED"); v != "" {
		seed, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("RRTS_SIM_SEED=%q: %v", v, err)
		}
		r, err := Run(Config{Seed: seed, Trace: os.Stderr})
		t.Logf("%+v", r)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var total Report
	began := time.Now()
	n := seedCount(t)
	for seed := uint64(1); seed <= n; seed++ {
		r, err := Run(Config{Seed: seed})
		if err != nil {
			t.Fatalf("%v\nreplay it: RRTS_SIM_SEED=%d go test ./rrts/sim/cluster -run TestSeeds -v", err, seed)
		}
		if r.Committed == 0 {
			t.Fatalf("seed %d committed nothing: it tested nothing", seed)
		}
		total.Committed += r.Committed
		total.Aborted += r.Aborted
		total.Retries += r.Retries
		total.Crashes += r.Crashes
		total.Cuts += r.Cuts
		total.Pauses += r.Pauses
		total.Transfers += r.Transfers
		total.Virtual += r.Virtual
		if seed%1000 == 0 {
			t.Logf("%d seeds in %v", seed, time.Since(began).Round(time.Second))
		}
	}
	t.Logf("%d seeds, %v of virtual time: %+v", n, total.Virtual, total)
	if total.Crashes == 0 || total.Cuts == 0 || total.Pauses == 0 || total.Retries == 0 || total.Transfers == 0 {
		t.Fatal("the seeds arranged too few faults")
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

// TestCatchesAckBeforeSync plants the bug that a node answers before its disk has
// synced; some seed must notice.
func TestCatchesAckBeforeSync(t *testing.T) {
	const most = 200
	for seed := uint64(1); seed <= most; seed++ {
		if _, err := Run(Config{Seed: seed, AckBeforeSync: true}); err != nil {
			t.Logf("caught by seed %d: %v", seed, err)
			return
		}
	}
	t.Fatal(fmt.Sprintf("%d seeds did not notice that nodes answer before they have synced", most))
}
