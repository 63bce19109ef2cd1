package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

// TestBenchGateway measures a gateway with a few clients of each kind, beside a flood of
// four kinds of attackers: every figure is there, and no honest client notices anything.
func TestBenchGateway(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(arenatest.Programs(t), "rrts"), "bench", "gateway", "--sfus", "1", "--idle", "40", "--active", "4",
		"--honest", "4", "--duration", "1s", "--rest", "500ms", "--attackers", "80", "--rate", "400", "--json")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, said.String())
	}
	var r bench.GatewayReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if r.Errors != 0 || r.Idle != 40 || r.Active != 4 || r.Honest != 4 || r.SFUs != 1 {
		t.Errorf("%+v\n%s", r, said.String())
	}
	if min(r.P50us, r.NormalP50us, r.FloodP50us, r.OpenP99us) <= 0 || r.SubmitsPerS <= 0 || r.Opened == 0 || r.FloodPerS < 20 ||
		r.P99us < r.P50us || r.NormalP99us < r.NormalP50us || r.FloodP99us < r.FloodP50us || r.FloodRatio <= 0 || r.ClientKBPerConnection <= 0 {
		t.Errorf("%+v", r)
	}
}

func TestBenchGatewayRefuses(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--idle 60001", "--idle is 60001, must be 0 to 60000"},
		{"--attackers 0", "--attackers is 0, must be 1 to 20000"},
		{"--duration 1ms", "--duration is 1ms, must be at least 1s"},
		{"--rest 0", "--rest is 0s, must be more than 0"},
	} {
		cmd := exec.Command(filepath.Join(arenatest.Programs(t), "rrts"), append([]string{"bench", "gateway"}, strings.Fields(tt.args)...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v, %s", tt.args, err, out)
		}
	}
	// More than a process may have that may not raise its limit: one line, with its cure.
	script := `ulimit -n 1000; exec "$0" bench gateway --idle 5000`
	if os.Getuid() == 0 {
		script = `ulimit -n 1000; exec setpriv --bounding-set=-sys_resource "$0" bench gateway --idle 5000`
	}
	cmd := exec.Command("bash", "-c", script, filepath.Join(arenatest.Programs(t), "rrts"))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "open files, a process may have 1000 here: `ulimit -Hn") {
		t.Errorf("too few files: %v, %s", err, out)
	}
}
