// Package metrics offers an SFU's figures to Prometheus: the same that `rrts status`
// shows, from the same message.
//
// There is no login and no encryption: who reaches the listener reads the figures. They
// name SFUs, machines and directories, and no customer, account or amount.
package metrics

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"virtualservicesinc.com/comps/monitor"
	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

const (
	// readTimeout is how long a request may take to come, and idleTimeout how long a
	// connection may wait for the next one: longer than the usual interval of a scrape.
	readTimeout = 5 * time.Second
	idleTimeout = 2 * time.Minute
	// askFor is how long the Monitor may take to answer.
	askFor = 4 * time.Second
	// maxScrapes bounds the requests that are answered at a time; nobody needs more than
	// one and a second one by hand.
	maxScrapes = 4
)

// Status asks the Monitor.
type Status func(context.Context) (*monitorpb.MonitorStatus, error)

// Serve answers at /metrics until ctx ends; it closes the listener.
func Serve(ctx context.Context, l net.Listener, status Status) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{status})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.HTTPErrorOnError}))
	server := &http.Server{Handler: mux, ReadTimeout: readTimeout, WriteTimeout: readTimeout + askFor, IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	err := server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// figure is one family of figures.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	each func(s *monitorpb.MonitorStatus, add func(value float64, labels ...string))
}

func newFigure(kind prometheus.ValueType, name, help string, labels []string, each func(s *monitorpb.MonitorStatus, add func(float64, ...string))) figure {
	return figure{prometheus.NewDesc("rrts_"+name, help, labels, nil), kind, each}
}

// one is a figure without labels.
func one(kind prometheus.ValueType, name, help string, value func(s *monitorpb.MonitorStatus) (float64, bool)) figure {
	return newFigure(kind, name, help, nil, func(s *monitorpb.MonitorStatus, add func(float64, ...string)) {
		if v, ok := value(s); ok {
			add(v)
		}
	})
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// figures are all but the histogram of commits. Names are never changed: dashboards hold
// them.
var figures = append(append(append(processFigures, replicaFigures...), networkFigures...), machineFigures...)

var processFigures = []figure{
	newFigure(gauge, "info", "1; the labels say what runs.", []string{"sfu", "name", "type", "software"},
		func(s *monitorpb.MonitorStatus, add func(float64, ...string)) {
			add(1, strconv.Itoa(int(s.Sfu)), s.Name, s.Type, s.Software)
		}),
	one(gauge, "uptime_seconds", "Since the engine was started.", func(s *monitorpb.MonitorStatus) (float64, bool) { return float64(s.UptimeMillis) / 1000, true }),
	one(gauge, "resident_bytes", "Resident memory of the engine's process.", func(s *monitorpb.MonitorStatus) (float64, bool) { return float64(s.ResidentBytes), true }),
	one(counter, "cpu_seconds_total", "Processor time of the engine's process.", func(s *monitorpb.MonitorStatus) (float64, bool) { return float64(s.CpuMillis) / 1000, true }),
	newFigure(gauge, "alarm", "1 for an alarm that stands.", []string{"alarm", "severity", "acknowledged"},
		func(s *monitorpb.MonitorStatus, add func(float64, ...string)) {
			for i := range s.Alarms {
				a := &s.Alarms[i]
				add(1, a.Name, a.Severity, strconv.FormatBool(a.AcknowledgedBy != ""))
			}
		}),
	component(gauge, "component_ready", "1 when the Component is ready.", func(s *monitorpb.MonitorStatus, i int) float64 {
		if s.Components[i].State == "ready" {
			return 1
		}
		return 0
	}),
	component(gauge, "mailbox_requests", "Requests that wait for the Component.", func(s *monitorpb.MonitorStatus, i int) float64 { return float64(s.Components[i].MailboxDepth) }),
	component(counter, "component_handled_total", "Requests that the Component answered.", func(s *monitorpb.MonitorStatus, i int) float64 { return float64(s.Components[i].Handled) }),
	component(counter, "component_refused_total", "Requests refused because its mailbox was full or it did not run.", func(s *monitorpb.MonitorStatus, i int) float64 { return float64(s.Components[i].Refused) }),
	component(counter, "component_restarts_total", "How often the Component was made anew.", func(s *monitorpb.MonitorStatus, i int) float64 { return float64(s.Components[i].Restarts) }),
}

func component(kind prometheus.ValueType, name, help string, value func(*monitorpb.MonitorStatus, int) float64) figure {
	return newFigure(kind, name, help, []string{"component"}, func(s *monitorpb.MonitorStatus, add func(float64, ...string)) {
		for i := range s.Components {
			add(value(s, i), s.Components[i].Name)
		}
	})
}

var replicaFigures = []figure{
	newFigure(gauge, "role", "1; the label says what the SFU is in the transaction group.", []string{"role"}, func(s *monitorpb.MonitorStatus, add func(float64, ...string)) {
		if s.Replica != nil {
			add(1, s.Replica.Role)
		}
	}),
	replica(gauge, "leader_sfu", "The SFU that leads, as this one knows it; 0 for none.", func(s *monitorpb.MonitorStatus) uint64 { return uint64(s.Replica.Leader) }),
	replica(gauge, "csn", "Commit sequence number of the newest transaction applied here.", func(s *monitorpb.MonitorStatus) uint64 { return s.Replica.Csn }),
	replica(gauge, "lag_entries", "Log entries that the state is behind the leader's.", func(s *monitorpb.MonitorStatus) uint64 { return s.Lag }),
	replica(gauge, "pending_submissions", "Submissions queued or under way at the leader.", func(s *monitorpb.MonitorStatus) uint64 { return uint64(s.Replica.Pending) }),
	newFigure(gauge, "task_bytes", "What a backup or state transfer that is under way has done.", []string{"task", "sfu"}, func(s *monitorpb.MonitorStatus, add func(float64, ...string)) {
		if s.Replica != nil {
			for _, p := range s.Replica.Progress {
				add(float64(p.Done), p.Task.String(), strconv.Itoa(int(p.Sfu)))
			}
		}
	}),
	gateway(gauge, "gateway_connections", "Clients connected.", func(s *monitorpb.MonitorStatus) uint64 { return uint64(s.Gateway.Connections) }),
	gateway(gauge, "gateway_in_flight", "Requests that wait for an answer.", func(s *monitorpb.MonitorStatus) uint64 { return uint64(s.Gateway.InFlight) }),
	gateway(counter, "gateway_submits_total", "Transactions handed on.", func(s *monitorpb.MonitorStatus) uint64 { return s.Gateway.Submits }),
	gateway(counter, "gateway_retries_total", "Transactions handed on again.", func(s *monitorpb.MonitorStatus) uint64 { return s.Gateway.Retries }),
	gateway(counter, "gateway_pending_total", "Transactions whose deadline came before their outcome.", func(s *monitorpb.MonitorStatus) uint64 { return s.Gateway.Pending }),
	gateway(counter, "gateway_overloaded_total", "Requests refused because a bound was reached.", func(s *monitorpb.MonitorStatus) uint64 { return s.Gateway.Overloaded }),
}

func replica(kind prometheus.ValueType, name, help string, value func(*monitorpb.MonitorStatus) uint64) figure {
	return one(kind, name, help, func(s *monitorpb.MonitorStatus) (float64, bool) {
		if s.Replica == nil {
			return 0, false
		}
		return float64(value(s)), true
	})
}

func gateway(kind prometheus.ValueType, name, help string, value func(*monitorpb.MonitorStatus) uint64) figure {
	return one(kind, name, help, func(s *monitorpb.MonitorStatus) (float64, bool) {
		if s.Gateway == nil {
			return 0, false
		}
		return float64(value(s)), true
	})
}

var networkFigures = []figure{
	one(counter, "interconnect_uncompressed_bytes_total", "Bytes of messages to other SFUs that were compressed, before.", func(s *monitorpb.MonitorStatus) (float64, bool) {
		return float64(s.UncompressedBytes), true
	}),
	one(counter, "interconnect_compressed_bytes_total", "Bytes of the same messages as they were sent.", func(s *monitorpb.MonitorStatus) (float64, bool) {
		return float64(s.CompressedBytes), true
	}),
	network(gauge, "network_up", "1 when the peer is heard on the network.", func(n *monitorpb.NetworkStatus) float64 {
		if n.Up {
			return 1
		}
		return 0
	}),
	network(gauge, "network_rtt_seconds", "Round-trip time, smoothed.", func(n *monitorpb.NetworkStatus) float64 { return float64(n.RttMicros) / 1e6 }),
	network(counter, "network_sent_frames_total", "Frames sent.", func(n *monitorpb.NetworkStatus) float64 { return float64(n.SentFrames) }),
	network(counter, "network_received_frames_total", "Frames received.", func(n *monitorpb.NetworkStatus) float64 { return float64(n.ReceivedFrames) }),
	network(counter, "network_lost_frames_total", "Frames sent that the peer did not receive.", func(n *monitorpb.NetworkStatus) float64 { return float64(n.LostFrames) }),
	network(counter, "network_sent_bytes_total", "Bytes sent.", func(n *monitorpb.NetworkStatus) float64 { return float64(n.SentBytes) }),
	network(counter, "network_received_bytes_total", "Bytes received.", func(n *monitorpb.NetworkStatus) float64 { return float64(n.ReceivedBytes) }),
	network(counter, "network_paced_seconds_total", "Time in which requests or bulk data waited for room in the NIC.", func(n *monitorpb.NetworkStatus) float64 { return float64(n.PacedMicros) / 1e6 }),
	network(counter, "network_probes_missed_total", "Probes without an answer.", func(n *monitorpb.NetworkStatus) float64 { return float64(n.ProbesMissed) }),
}

func network(kind prometheus.ValueType, name, help string, value func(*monitorpb.NetworkStatus) float64) figure {
	return newFigure(kind, name, help, []string{"peer", "network"}, func(s *monitorpb.MonitorStatus, add func(float64, ...string)) {
		for i := range s.Networks {
			n := &s.Networks[i]
			add(value(n), strconv.Itoa(int(n.Peer)), n.Network)
		}
	})
}

var machineFigures = []figure{
	machine("machine_cpu_ratio", "How busy all processors together are.", nil, func(m *monitorpb.MachineStatus, add func(float64, ...string)) { add(float64(m.CpuThousandths) / 1000) }),
	machine("machine_memory_bytes", "Memory.", nil, func(m *monitorpb.MachineStatus, add func(float64, ...string)) { add(float64(m.MemoryBytes)) }),
	machine("machine_memory_available_bytes", "Memory that can be had without swapping.", nil, func(m *monitorpb.MachineStatus, add func(float64, ...string)) {
		add(float64(m.MemoryAvailableBytes))
	}),
	machine("machine_disk_bytes", "Size of a file system that holds an SFU's state.", []string{"directory"}, func(m *monitorpb.MachineStatus, add func(float64, ...string)) {
		for _, d := range m.Disks {
			add(float64(d.Bytes), d.Directory)
		}
	}),
	machine("machine_disk_free_bytes", "What is free of it.", []string{"directory"}, func(m *monitorpb.MachineStatus, add func(float64, ...string)) {
		for _, d := range m.Disks {
			add(float64(d.FreeBytes), d.Directory)
		}
	}),
	machine("machine_disk_write_seconds", "What a write to its disk takes, on the average of the last seconds.", []string{"directory"}, func(m *monitorpb.MachineStatus, add func(float64, ...string)) {
		for _, d := range m.Disks {
			add(float64(d.WriteMicros)/1e6, d.Directory)
		}
	}),
	machine("machine_temperature_celsius", "Temperature.", []string{"sensor"}, func(m *monitorpb.MachineStatus, add func(float64, ...string)) {
		for _, t := range m.Sensors {
			add(float64(t.Millicelsius)/1000, t.Name)
		}
	}),
	machine("machine_clock_offset_seconds", "The middle of the machines' clocks less this one's.", nil, func(m *monitorpb.MachineStatus, add func(float64, ...string)) {
		if m.ClockKnown {
			add(float64(m.ClockOffsetMicros) / 1e6)
		}
	}),
	machine("machine_watchdog", "1; the label says how the hardware watchdog is.", []string{"state"}, func(m *monitorpb.MachineStatus, add func(float64, ...string)) {
		if m.Watchdog != nil {
			add(1, m.Watchdog.State)
		}
	}),
	machine("machine_watchdog_resets", "Resets by it within an hour before it was started.", nil, func(m *monitorpb.MachineStatus, add func(float64, ...string)) {
		if m.Watchdog != nil {
			add(float64(m.Watchdog.Resets))
		}
	}),
}

// machine is a figure of the SFU that watches the machine.
func machine(name, help string, labels []string, each func(*monitorpb.MachineStatus, func(float64, ...string))) figure {
	return newFigure(gauge, name, help, labels, func(s *monitorpb.MonitorStatus, add func(float64, ...string)) {
		if s.Machine != nil {
			each(s.Machine, add)
		}
	})
}

// commits is how long transactions took.
var commits = prometheus.NewDesc("rrts_commit_seconds", "How long transactions took that this SFU answered as the leader.", nil, nil)

// collector asks the Monitor at every scrape.
type collector struct{ status Status }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for i := range figures {
		out <- figures[i].desc
	}
	out <- commits
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	s, err := c.status(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(figures[0].desc, err)
		return
	}
	for i := range figures {
		f := &figures[i]
		f.each(s, func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
		})
	}
	if s.Replica != nil {
		h := monitor.CommitHistogram(s.Replica)
		buckets, below := map[float64]uint64{}, uint64(0)
		for i := range router.Buckets - 1 { // the last one has no bound
			below += h.Seen[i]
			if i%everyBucket == 0 {
				buckets[router.Above(i).Seconds()] = below
			}
		}
		out <- prometheus.MustNewConstHistogram(commits, h.Count, h.Sum.Seconds(), buckets)
	}
}

// everyBucket is which of the engine's buckets, four to each doubling, are offered.
const everyBucket = 4
