// Package glance is the cluster at a glance: what the SFUs' Monitors say, put together
// for `rrts status` and `rrts top`, for people and for programs.
package glance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// askFor is how long one SFU may take to answer.
const askFor = 2 * time.Second

// Cluster is a cluster at one moment.
type Cluster struct {
	Name string
	SFUs []SFU // in the order of their numbers
}

// SFU is one SFU; in JSON, one line of `rrts status --json`.
type SFU struct {
	SFU       uint16 `json:"sfu"`
	Name      string `json:"name"`
	Type      string `json:"type"`
	Reachable bool   `json:"reachable"`
	Error     string `json:"error,omitempty"`

	Software   string  `json:"software,omitempty"`
	UptimeS    uint64  `json:"uptime_s,omitempty"`
	ResidentMB float64 `json:"resident_mb,omitempty"`
	CPUPercent float64 `json:"cpu_percent"` // of one processor
	Draining   bool    `json:"draining,omitempty"`

	Role         string  `json:"role,omitempty"`
	Term         uint64  `json:"term,omitempty"`
	AppliedIndex uint64  `json:"applied_index,omitempty"`
	Lag          uint64  `json:"lag"`
	CSN          uint64  `json:"csn,omitempty"`
	Transactions uint64  `json:"transactions,omitempty"`
	PerSecond    float64 `json:"transactions_per_s"`
	P50Micros    uint64  `json:"p50_us,omitempty"`
	P99Micros    uint64  `json:"p99_us,omitempty"`

	Connections uint32 `json:"connections,omitempty"`
	InFlight    uint32 `json:"in_flight,omitempty"`

	NetworksUp string      `json:"networks_up,omitempty"`
	Paths      []Path      `json:"paths,omitempty"`
	Components []Component `json:"components,omitempty"`
	Progress   []string    `json:"progress,omitempty"`
	Machine    *Machine    `json:"machine,omitempty"`
	Alarms     []Alarm     `json:"alarms,omitempty"`
}

// Path is one network towards one peer.
type Path struct {
	Peer        uint16  `json:"peer"`
	Network     string  `json:"network"`
	Up          bool    `json:"up"`
	RTTMicros   uint64  `json:"rtt_us"`
	LossPercent float64 `json:"loss_percent"`
	SentFrames  uint64  `json:"sent_frames"`
	SentBytes   uint64  `json:"sent_bytes"`
	Received    uint64  `json:"received_frames"`
	Lost        uint64  `json:"lost_frames"`
	PacedMicros uint64  `json:"paced_us"` // for which requests or bulk data waited for the NIC
}

// Component is one Component of an SFU.
type Component struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Restarts uint32 `json:"restarts"`
	Waiting  uint32 `json:"waiting"`
	Handled  uint64 `json:"handled"`
	Refused  uint64 `json:"refused"`
	// Of a program of the site: that it is one, its services, and why it failed last.
	Site     bool     `json:"site,omitempty"`
	Services []uint32 `json:"services,omitempty"`
	Failure  string   `json:"failure,omitempty"`
}

// Machine is the machine of an SFU, told by the one that watches it.
type Machine struct {
	Name           string   `json:"name"`
	Processors     uint32   `json:"processors"`
	CPUPercent     float64  `json:"cpu_percent"`
	MemoryMB       uint64   `json:"memory_mb"`
	MemoryLeftMB   uint64   `json:"memory_left_mb"`
	Disks          []Disk   `json:"disks"`
	HottestCelsius float64  `json:"hottest_celsius,omitempty"`
	ClockOffsetMS  *float64 `json:"clock_offset_ms,omitempty"`

	Watchdog *Watchdog `json:"watchdog,omitempty"` // nil where nothing is known of it
}

// Watchdog is the hardware that resets the machine when it hangs.
type Watchdog struct {
	State    string `json:"state"` // as in monitorpb.WatchdogStatus
	Why      string `json:"why,omitempty"`
	Device   string `json:"device,omitempty"`
	Driver   string `json:"driver,omitempty"`
	TimeoutS uint32 `json:"timeout_s,omitempty"`
	// Resets are those within an hour before it was started; the rest is of the newest.
	Resets       uint32     `json:"resets"`
	LastReset    *time.Time `json:"last_reset,omitempty"`
	LastResetWhy string     `json:"last_reset_why,omitempty"`
}

// Disk is a file system that holds an SFU's state.
type Disk struct {
	Directory   string `json:"directory"`
	MB          uint64 `json:"mb"`
	FreeMB      uint64 `json:"free_mb"`
	WriteMicros uint64 `json:"write_us,omitempty"`
}

// Alarm is an alarm that stands, or stood, at one SFU.
type Alarm struct {
	SFU            string     `json:"sfu"`
	Name           string     `json:"name"`
	Severity       string     `json:"severity"`
	Detail         string     `json:"detail"`
	Count          uint32     `json:"count"`
	Flapping       bool       `json:"flapping,omitempty"`
	Raised         *time.Time `json:"raised,omitempty"`
	Cleared        *time.Time `json:"cleared,omitempty"`
	AgeS           uint64     `json:"age_s"`
	AcknowledgedBy string     `json:"acknowledged_by,omitempty"`
	Lost           bool       `json:"lost,omitempty"`
}

// Ask asks every SFU of a cluster at once: one that is silent must not make the others'
// answers old.
func Ask(ctx context.Context, op *client.Client, cluster *config.Cluster) *Cluster {
	c := &Cluster{Name: cluster.Name, SFUs: make([]SFU, len(cluster.SFUs))}
	names := map[uint32]string{}
	for _, m := range cluster.SFUs {
		names[uint32(m.Number)] = m.Name
	}
	var asking sync.WaitGroup
	for i := range cluster.SFUs {
		m := &cluster.SFUs[i]
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askFor)
			defer cancel()
			s := SFU{SFU: m.Number, Name: m.Name, Type: string(m.Type)}
			st, err := monitorpb.MonitorClient{Caller: op.To(m.Number)}.Status(ctx, &monitorpb.StatusRequest{})
			if err == nil && st.Replica == nil && m.Type.Transactions() {
				// The Monitor of the release before says nothing of the replica; and one that is
				// busy may have missed its answer.
				st.Replica, _ = txnpb.ReplicaClient{Caller: op.To(m.Number)}.Status(ctx, &txnpb.ReplicaStatusRequest{})
			}
			if err != nil {
				s.Error = err.Error()
			} else {
				s.take(st, m.Type, names)
			}
			c.SFUs[i] = s
		})
	}
	asking.Wait()
	return c
}

// take takes over what a Monitor says.
func (s *SFU) take(st *monitorpb.MonitorStatus, kind config.Type, names map[uint32]string) {
	s.Reachable, s.Software, s.UptimeS, s.Draining = true, st.Software, st.UptimeMillis/1000, st.Draining
	s.ResidentMB = float64(st.ResidentBytes/1000) / 1000
	if r := st.Recent; r != nil && r.Millis > 0 {
		s.CPUPercent = float64(r.CpuThousandths) / 10
		s.PerSecond, s.P50Micros, s.P99Micros = float64(1000*r.Transactions)/float64(r.Millis), r.P50Micros, r.P99Micros
	}
	if r := st.Replica; r != nil {
		s.Role, s.Term, s.AppliedIndex, s.Lag = r.Role, r.Term, r.AppliedIndex, st.Lag
		s.CSN, s.Transactions = r.Csn, r.Transactions
		for _, p := range r.Progress {
			s.Progress = append(s.Progress, progress(&p, names))
		}
	} else if kind.Transactions() {
		s.Error = "its replica does not answer"
	}
	if g := st.Gateway; g != nil {
		s.Connections, s.InFlight = g.Connections, g.InFlight
	}
	s.takeNetworks(st.Networks)
	for _, c := range st.Components {
		s.Components = append(s.Components, component(&c))
	}
	if st.Machine != nil {
		s.Machine = machine(st.Machine)
	}
	for _, a := range st.Alarms {
		s.Alarms = append(s.Alarms, TakeAlarm(s.Name, &a))
	}
}

func (s *SFU) takeNetworks(networks []monitorpb.NetworkStatus) {
	down, heard, hears := map[string]bool{}, map[uint32]bool{}, len(networks) == 0
	for _, n := range networks {
		heard[n.Peer] = heard[n.Peer] || n.Up
		hears = hears || n.Up
	}
	for _, n := range networks {
		// A peer that is not heard at all says nothing of the networks, unless none is.
		down[n.Network] = down[n.Network] || !n.Up && heard[n.Peer]
		s.Paths = append(s.Paths, Path{Peer: uint16(n.Peer), Network: n.Network, Up: n.Up, RTTMicros: n.RttMicros, LossPercent: float64(n.LossMillionths) / 1e4,
			SentFrames: n.SentFrames, SentBytes: n.SentBytes, Received: n.ReceivedFrames, Lost: n.LostFrames, PacedMicros: n.PacedMicros})
	}
	var up []string
	for _, name := range []string{"A", "B", "udp_a", "udp_b", "machine"} {
		there := len(networks) == 0 && len(name) == 1 // who has nobody to hear has both
		for i := range networks {
			there = there || networks[i].Network == name
		}
		if hears && there && !down[name] {
			up = append(up, name)
		}
	}
	s.NetworksUp = strings.Join(up, "+")
}

func component(c *enginepb.ComponentStatus) Component {
	return Component{Name: c.Name, State: c.State, Restarts: c.Restarts, Waiting: c.MailboxDepth, Handled: c.Handled, Refused: c.Refused,
		Site: c.Site, Services: c.Services, Failure: c.Failure}
}

func machine(m *monitorpb.MachineStatus) *Machine {
	out := &Machine{Name: m.Name, Processors: m.Processors, CPUPercent: float64(m.CpuThousandths) / 10, MemoryMB: m.MemoryBytes / 1e6, MemoryLeftMB: m.MemoryAvailableBytes / 1e6}
	for _, d := range m.Disks {
		out.Disks = append(out.Disks, Disk{Directory: d.Directory, MB: d.Bytes / 1e6, FreeMB: d.FreeBytes / 1e6, WriteMicros: d.WriteMicros})
	}
	for _, t := range m.Sensors {
		out.HottestCelsius = max(out.HottestCelsius, float64(t.Millicelsius)/1000)
	}
	if m.ClockKnown {
		out.ClockOffsetMS = new(float64(m.ClockOffsetMicros) / 1000)
	}
	if w := m.Watchdog; w != nil {
		out.Watchdog = &Watchdog{State: w.State, Why: w.Why, Device: w.Device, Driver: w.Driver, TimeoutS: w.TimeoutSeconds, Resets: w.Resets, LastResetWhy: w.LastResetWhy}
		if w.LastReset != 0 {
			out.Watchdog.LastReset = new(time.UnixMilli(int64(w.LastReset)))
		}
	}
	return out
}

// progress says what takes long and is under way.
func progress(p *txnpb.Progress, names map[uint32]string) string {
	what := map[txnpb.Task]string{txnpb.TaskBackup: "hands out a backup", txnpb.TaskStateSent: "sends its state to %s", txnpb.TaskStateReceived: "receives the state of %s"}[p.Task]
	if strings.Contains(what, "%s") {
		what = fmt.Sprintf(what, cmp.Or(names[p.Sfu], fmt.Sprintf("SFU %d", p.Sfu)))
	}
	seconds := float64(p.AgeMillis) / 1000
	return fmt.Sprintf("%s: %s in %.0f s, %s/s", what, bytes(float64(p.Done)), seconds, bytes(float64(p.Done)/max(seconds, 0.001)))
}

// TakeAlarm is an alarm of an SFU.
func TakeAlarm(sfu string, a *monitorpb.Alarm) Alarm {
	out := Alarm{SFU: sfu, Name: a.Name, Severity: a.Severity, Detail: a.Detail, Count: a.Count, Flapping: a.Flapping,
		AgeS: a.AgeMillis / 1000, AcknowledgedBy: a.AcknowledgedBy, Lost: a.Lost}
	for _, t := range []struct {
		to     **time.Time
		millis uint64
	}{{&out.Raised, a.Raised}, {&out.Cleared, a.Cleared}} {
		if t.millis != 0 {
			*t.to = new(time.UnixMilli(int64(t.millis)))
		}
	}
	return out
}

// Alarms are those of all SFUs, the most severe and then the newest first.
func (c *Cluster) Alarms() []Alarm {
	var all []Alarm
	for i := range c.SFUs {
		all = append(all, c.SFUs[i].Alarms...)
	}
	rank := func(a *Alarm) int { return slices.Index([]string{"critical", "warning", "info"}, a.Severity) }
	slices.SortStableFunc(all, func(a, b Alarm) int { return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.AgeS, b.AgeS)) })
	return all
}

// Silent is how many SFUs do not answer.
func (c *Cluster) Silent() (n int) {
	for i := range c.SFUs {
		if !c.SFUs[i].Reachable {
			n++
		}
	}
	return n
}

// Leader is the SFU that leads; nil while none does.
func (c *Cluster) Leader() *SFU {
	for i := range c.SFUs {
		if c.SFUs[i].Role == "leader" {
			return &c.SFUs[i]
		}
	}
	return nil
}
