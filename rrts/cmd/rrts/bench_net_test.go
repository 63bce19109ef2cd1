package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/sim/require"
)

// runBench runs `rrts bench net` and returns its report.
func runBench(t *testing.T, args ...string) map[string]float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, fault bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(arenatest.Programs(t), "rrts"), append([]string{"bench", "net", "--json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &fault
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, &fault)
	}
	var report map[string]float64
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v: %v in %s", args, err, &out)
	}
	return report
}

// Every mode measures itself and what it is compared with.
func TestBenchNet(t *testing.T) {
	require.Root(t)
	always := []string{"msgs_per_s", "mb_per_s", "rtt_p50_us", "rtt_p99_us", "longest_gap_ms", "cpu_s_per_million_msgs", "cpu_s_per_gb"}
	for mode, more := range map[string][]string{
		"pingpong": {"tcp_rtt_p50_us", "tcp_rtt_p99_us", "bare_rtt_p50_us", "bare_rtt_p99_us", "bare_twice_rtt_p50_us", "bare_twice_rtt_p99_us", "tcp_cpu_s_per_million_msgs"},
		"stream":   {"tcp_msgs_per_s", "tcp_cpu_s_per_million_msgs", "tls_msgs_per_s", "tls_cpu_s_per_million_msgs"},
		"bulk":     {"tcp_mb_per_s", "tls_mb_per_s", "tls_cpu_s_per_gb"},
	} {
		t.Run(mode, func(t *testing.T) {
			report := runBench(t, "--mode", mode, "--duration", "1s")
			for _, key := range append(more, always...) {
				if report[key] <= 0 {
					t.Errorf("%s is %v", key, report[key])
				}
			}
			for _, key := range []string{"lost", "reordered"} {
				if n, there := report[key]; !there || n != 0 {
					t.Errorf("%s is %v", key, n)
				}
			}
		})
	}
}

// A network that is cut, and one that loses frames, lose no record.
func TestBenchNetFaults(t *testing.T) {
	require.Root(t)
	for _, args := range [][]string{
		{"--mode", "stream", "--cut", "A@300ms"},
		{"--mode", "stream", "--cut", "B@300ms:receiver"},
		{"--mode", "bulk", "--cut", "A@300ms:oneway", "--cuts", "3"},
		{"--mode", "stream", "--loss", "A=20%", "--rate", "1000"},
		{"--mode", "bulk", "--loss", "A=5%", "--loss", "B=5%"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			report := runBench(t, append(args, "--duration", "1s")...)
			if report["msgs_per_s"] <= 0 || report["lost"] != 0 || report["reordered"] != 0 {
				t.Errorf("%v", report)
			}
			if _, compared := report["tcp_msgs_per_s"]; compared {
				t.Error("TCP is measured without the fault beside a network with it")
			}
			if i := slices.Index(args, "--cuts"); i >= 0 && (fmt.Sprint(report["cuts"]) != args[i+1] || report["cut_gap_p50_ms"] <= 0 || report["uncut_gap_p50_ms"] <= 0) {
				t.Errorf("%s cuts: %v", args[i+1], report)
			}
			if report["clean_mb_per_s"] <= 0 || report["clean_longest_gap_ms"] < report["clean_gap_p99_ms"] {
				t.Errorf("the stream before the fault: %v", report)
			}
		})
	}
}

func TestBenchNetFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--mode echo", "--mode is"},
		{"--size 8", "--size is 8, must be 9 to"},
		{"--size 200000 --lane control", "on the control lane"},
		{"--lane fast", "--lane is"},
		{"--rate -1", "--rate is -1"},
		{"--duration 1ms", "--duration is 1ms"},
		{"--cut A@20s", "not within"},
		{"--cuts 2", "how often --cut is done"},
		{"--cut A@1s --cuts 0", "--cuts is 0"},
		{"--cut A", "not NETWORK@TIME"},
		{"--loss A", "not NETWORK=SHARE"},
		{"--peer h:1", "need --nic-a and --nic-b"},
		{"--serve :1 --peer h:1", "exclude each other"},
		{"--nic-a x", "need --peer or --serve"},
		{"--all --mode bulk", "--all and --mode exclude each other"},
		{"--all --duration 1s", "at least 2s"},
	} {
		t.Run(c.args, func(t *testing.T) {
			cmd := root()
			cmd.SetArgs(append([]string{"bench", "net"}, strings.Fields(c.args)...))
			err := cmd.Execute()
			if _, usage := err.(usageError); !usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
