package main

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

// TestBenchGrowth grows a small ledger: two steps, each with every figure.
func TestBenchGrowth(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(arenatest.Programs(t), "rrts"),
		"bench", "growth", "--accounts", "2000", "--transfers", "10000", "--batch", "300", "--rest", "1ms", "--json").Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var steps []bench.GrowthStep
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var s bench.GrowthStep
		if err := d.Decode(&s); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, s)
	}
	if len(steps) != 2 || steps[0].Transfers != 1000 || steps[1].From != 1000 || steps[1].Transfers != 10_000 {
		t.Fatalf("%+v", steps)
	}
	for _, s := range steps {
		if min(s.WallUs, s.RSSMB, s.StateMB) <= 0 || s.MaxRSSMB < s.RSSMB || s.Accounts != 2000 {
			t.Errorf("%+v", s)
		}
	}
	// A thousand transfers may take less than the 10 ms in which the kernel counts.
	if steps[0].OpeningUs <= 0 || steps[1].SteadyMB <= 0 || min(steps[1].CPUUs, steps[1].SFUCPUUs) <= 0 {
		t.Errorf("%+v", steps)
	}
}
