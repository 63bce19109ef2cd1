package main

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/drill"
)

const (
	// allKills is how often a test run kills everything.
	allKills = 4
	// goesOnWithin is how long the SFUs may take from their start to the next payment.
	goesOnWithin = 30 * time.Second
)

// TestAllKilled kills all SFUs at the same moment, again and again, while clients pay:
// under load, and now and then while they start. In the end every store holds what each
// client was told, once. RRTS_POWERCUT_KILLS says how often, RRTS_POWERCUT_FIRST is the
// seed of the moments.
func TestAllKilled(t *testing.T) {
	kills, seed := environ(t, "RRTS_POWERCUT_KILLS", allKills), environ(t, "RRTS_POWERCUT_FIRST", 1)
	rng := rand.New(rand.NewPCG(seed, 0))
	payments, err := drill.ReadPayments("../../../packaging/demo/payments.csv")
	if err != nil {
		t.Fatal(err)
	}
	a := newArena(t, 3, nil)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+time.Duration(kills)*(goesOnWithin+time.Second))
	defer cancel()
	crowd, told, err := a.Crowd(ctx, 8, payments)
	if err != nil {
		t.Fatal(err)
	}
	crowd.Repeat = true
	paid := make(chan error, 1)
	go func() { paid <- crowd.Run(ctx) }()
	early, slowest := 0, time.Duration(0)
	for range kills {
		if rng.IntN(4) == 0 {
			early++ // the SFUs are about to join, to read their journals, to elect
		} else if d := untilPaid(t, crowd); d > slowest {
			slowest = d
		}
		time.Sleep(time.Duration(rng.Int64N(int64(400 * time.Millisecond))))
		killAll(t, a)
		for i := range a.SFUs() {
			if err := a.Start(i); err != nil {
				t.Fatal(err)
			}
		}
	}
	untilPaid(t, crowd)
	crowd.Stop()
	if err := <-paid; err != nil {
		t.Fatal(err)
	}
	v, err := a.Settle(ctx, crowd, append(told, drill.AllTold(crowd.Answers())...), &term.Out{Std: io.Discard, Err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d times all SFUs killed at once, %d of them while they started: %d payments told, %d lost, %d duplicated; payments went on %v after a start at the latest",
		kills, early, v.Submitted, v.Lost, v.Duplicated, slowest.Round(time.Millisecond))
	if !v.OK() || v.Submitted == 0 {
		t.Errorf("the audit: %q", v.Findings)
	}
}

// killAll ends all SFUs at the same moment.
func killAll(t *testing.T, a *arena.Arena) {
	t.Helper()
	var dying sync.WaitGroup
	for i := range a.SFUs() {
		dying.Go(func() {
			if err := a.Kill(i); err != nil {
				t.Error(err)
			}
		})
	}
	dying.Wait()
}

// untilPaid waits for the next answer to a client, and returns how long that took.
func untilPaid(t *testing.T, crowd *drill.Crowd) time.Duration {
	t.Helper()
	began, before := time.Now(), crowd.Figures().Answered
	for crowd.Figures().Answered == before {
		if time.Since(began) > goesOnWithin {
			t.Fatalf("no payment is answered within %v", goesOnWithin)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// environ reads a number from the environment.
func environ(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
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
