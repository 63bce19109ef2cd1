package main

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

// TestBenchIdle leaves three SFUs alone for a moment. An SFU in which something turns, where
// it should sleep, wakes thousands of times a second.
func TestBenchIdle(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(arenatest.Programs(t), "rrts"),
		"bench", "idle", "--rest", "2s", "--duration", "2s", "--json").Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r bench.IdleReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	leaders := 0
	for _, s := range r.SFUs {
		if s.Leader {
			leaders++
		}
		// Some 200 of a machine that does nothing else.
		if s.Wakes < 50 || s.Wakes > 2000 || s.RSSMB <= 0 {
			t.Errorf("%+v", s)
		}
	}
	if len(r.SFUs) != 3 || leaders != 1 || r.DurationS < 2 {
		t.Errorf("%+v", r)
	}
}
