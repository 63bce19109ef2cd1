package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// scrape asks a server with that status.
func scrape(t *testing.T, status Status, path string) (int, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "m")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, status) }()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	r, err := client.Get("http://sfu" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return r.StatusCode, string(text)
}

func TestFigures(t *testing.T) {
	seen := make([]uint64, 60)
	seen[1], seen[41] = 3, 7 // from 1 µs, from 1024 µs
	full := &monitorpb.MonitorStatus{Sfu: 2, Name: "bravo", Type: "all", Software: "1.0", UptimeMillis: 5500, ResidentBytes: 41e6, CpuMillis: 1230, Lag: 9,
		Alarms:     []monitorpb.Alarm{{Name: "peer-lost@3", Severity: "warning", AcknowledgedBy: "anna"}},
		Components: []enginepb.ComponentStatus{{Name: "txn", State: "ready", MailboxDepth: 4, Handled: 77, Refused: 2, Restarts: 1}, {Name: "gateway", State: "failed"}},
		Replica: &txnpb.ReplicaStatus{Role: "leader", Leader: 2, Csn: 1234, Pending: 6, CommitSeen: seen, CommitNanos: 8e6,
			Progress: []txnpb.Progress{{Task: txnpb.TaskStateSent, Sfu: 3, Done: 5e6}}},
		Gateway:  &gatewaypb.GatewayStatus{Connections: 3, InFlight: 1, Submits: 10, Retries: 11, Pending: 12, Overloaded: 13},
		Networks: []monitorpb.NetworkStatus{{Peer: 3, Network: "B", Up: true, RttMicros: 180, SentFrames: 1, ReceivedFrames: 2, LostFrames: 3, SentBytes: 4, ReceivedBytes: 5, ProbesMissed: 6, PacedMicros: 7e6}},
		Machine: &monitorpb.MachineStatus{CpuThousandths: 120, MemoryBytes: 8e9, MemoryAvailableBytes: 4e9, ClockKnown: true, ClockOffsetMicros: -300,
			Disks: []monitorpb.DiskStatus{{Directory: "/srv", Bytes: 100, FreeBytes: 40, WriteMicros: 1200}}, Sensors: []monitorpb.SensorStatus{{Name: "cpu", Millicelsius: 61500}},
			Watchdog: &monitorpb.WatchdogStatus{State: "off", Resets: 3}},
	}
	code, text := scrape(t, func(context.Context) (*monitorpb.MonitorStatus, error) { return full, nil }, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, text)
	}
	for _, want := range []string{
		`rrts_info{name="bravo",sfu="2",software="1.0",type="all"} 1`, `rrts_uptime_seconds 5.5`, `rrts_resident_bytes 4.1e+07`, `rrts_cpu_seconds_total 1.23`,
		`rrts_alarm{acknowledged="true",alarm="peer-lost@3",severity="warning"} 1`, `rrts_component_ready{component="txn"} 1`, `rrts_component_ready{component="gateway"} 0`,
		`rrts_mailbox_requests{component="txn"} 4`, `rrts_component_handled_total{component="txn"} 77`, `rrts_component_refused_total{component="txn"} 2`,
		`rrts_component_restarts_total{component="txn"} 1`, `rrts_role{role="leader"} 1`, `rrts_leader_sfu 2`, `rrts_csn 1234`, `rrts_lag_entries 9`, `rrts_pending_submissions 6`,
		`rrts_task_bytes{sfu="3",task="` + txnpb.TaskStateSent.String() + `"} 5e+06`, `rrts_gateway_connections 3`, `rrts_gateway_in_flight 1`, `rrts_gateway_submits_total 10`,
		`rrts_gateway_retries_total 11`, `rrts_gateway_pending_total 12`, `rrts_gateway_overloaded_total 13`,
		`rrts_network_up{network="B",peer="3"} 1`, `rrts_network_rtt_seconds{network="B",peer="3"} 0.00018`, `rrts_network_sent_frames_total{network="B",peer="3"} 1`,
		`rrts_network_received_frames_total{network="B",peer="3"} 2`, `rrts_network_lost_frames_total{network="B",peer="3"} 3`, `rrts_network_sent_bytes_total{network="B",peer="3"} 4`,
		`rrts_network_received_bytes_total{network="B",peer="3"} 5`, `rrts_network_probes_missed_total{network="B",peer="3"} 6`, `rrts_network_paced_seconds_total{network="B",peer="3"} 7`,
		`rrts_machine_cpu_ratio 0.12`, `rrts_machine_memory_bytes 8e+09`, `rrts_machine_memory_available_bytes 4e+09`, `rrts_machine_disk_bytes{directory="/srv"} 100`,
		`rrts_machine_disk_free_bytes{directory="/srv"} 40`, `rrts_machine_disk_write_seconds{directory="/srv"} 0.0012`, `rrts_machine_temperature_celsius{sensor="cpu"} 61.5`,
		`rrts_machine_clock_offset_seconds -0.0003`, `rrts_machine_watchdog{state="off"} 1`, `rrts_machine_watchdog_resets 3`,
		`rrts_commit_seconds_bucket{le="0.001024"} 3`, `rrts_commit_seconds_bucket{le="0.002048"} 10`, `rrts_commit_seconds_count 10`, `rrts_commit_seconds_sum 0.008`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(text, "# TYPE "); n != len(figures)+1 {
		t.Errorf("%d families, there are %d: one of them has no test", n, len(figures)+1)
	}
	if router.Above(40).Seconds() != 0.001024 {
		t.Error("the test's buckets are not the engine's")
	}

	// An SFU without replica, gateway or the machine's watch says nothing of them.
	_, text = scrape(t, func(context.Context) (*monitorpb.MonitorStatus, error) {
		return &monitorpb.MonitorStatus{Name: "edge"}, nil
	}, "/metrics")
	for _, not := range []string{"rrts_csn", "rrts_gateway", "rrts_machine", "rrts_commit"} {
		if strings.Contains(text, "\n"+not) {
			t.Errorf("%s of an SFU that has none", not)
		}
	}
}

// TestSilent: a Monitor that does not answer is an error, not zeros.
func TestSilent(t *testing.T) {
	code, text := scrape(t, func(context.Context) (*monitorpb.MonitorStatus, error) { return nil, errors.New("too busy") }, "/metrics")
	if code != http.StatusInternalServerError || !strings.Contains(text, "too busy") {
		t.Errorf("%d: %s", code, text)
	}
	if code, _ := scrape(t, nil, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("%d for what is not there", code)
	}
}
