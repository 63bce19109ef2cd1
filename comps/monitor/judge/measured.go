package judge

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Pulse is what the Monitor looks at once a second.
type Pulse struct {
	// Stuck: the engine's loop has made no progress since the last look.
	Stuck bool
	// Late is how much later than due the Monitor was woken.
	Late time.Duration
	// Blind says what could not be read; empty when all could.
	Blind     string
	Mailboxes []Mailbox
}

// Mailbox is what waits for one Component.
type Mailbox struct {
	Component    string
	Depth, Bound uint32
}

// Pulse takes one in.
func (j *Judge) Pulse(now time.Duration, p *Pulse) []Change {
	readings := []reading{
		{kind: "engine-stalled", value: truth(p.Stuck), limit: Limit{0.5, 0.5, stalledAfter},
			detail: func() string { return fmt.Sprintf("the engine's loop has made no progress for %v", stalledAfter) }},
		{kind: "process-paused", value: p.Late.Seconds(), limit: Limit{Raise: pausedFor, Clear: pausedFor},
			detail: func() string { return fmt.Sprintf("this process did not run for %v", p.Late.Round(time.Millisecond)) }},
		{kind: "monitor-blind", value: truth(p.Blind != ""), limit: Limit{Raise: 0.5, Clear: 0.5}, detail: func() string { return p.Blind }},
	}
	for _, m := range p.Mailboxes {
		if m.Bound == 0 {
			continue
		}
		readings = append(readings, reading{kind: "mailbox-filling", subject: m.Component, value: 100 * float64(m.Depth) / float64(m.Bound),
			limit: Limit{mailboxFull, mailboxFine, fillAfter}, detail: func() string {
				return fmt.Sprintf("%d requests wait for %s; it takes %d", m.Depth, m.Component, m.Bound)
			}})
	}
	return j.look(now, readings, "engine-stalled", "process-paused", "monitor-blind", "mailbox-filling")
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// SFU is how the SFU's work goes. What is not known is NaN.
type SFU struct {
	Paths []Path
	// Commit is how long the slowest hundredth of the transactions took that this SFU
	// has ordered since the last look, seconds.
	Commit float64
	// Lag is how many log entries this SFU is behind the leader.
	Lag float64
}

// Path is one network towards one peer.
type Path struct {
	Network string
	Peer    uint16
	// Loss is the part of the frames sent since the last look that did not arrive,
	// percent.
	Loss float64
}

// SFU takes a measurement in.
func (j *Judge) SFU(now time.Duration, s *SFU) []Change {
	readings := []reading{
		{kind: "commit-slow", value: s.Commit, limit: j.limits.CommitLatency, detail: func() string {
			return fmt.Sprintf("one transaction in a hundred takes %v or longer; the limit is %v", seconds(s.Commit), seconds(j.limits.CommitLatency.Raise))
		}},
		{kind: "replica-lagging", value: s.Lag, limit: j.limits.Lag, detail: func() string {
			return fmt.Sprintf("%.0f log entries behind the leader; the limit is %.0f", s.Lag, j.limits.Lag.Raise)
		}},
	}
	for _, p := range s.Paths {
		readings = append(readings, reading{kind: "network-lossy", subject: fmt.Sprintf("%s.%d", p.Network, p.Peer), value: p.Loss, limit: j.limits.NetworkLoss,
			detail: func() string {
				return fmt.Sprintf("%.1f %% of the frames to SFU %d on network %s are lost; the limit is %.1f %%", p.Loss, p.Peer, p.Network, j.limits.NetworkLoss.Raise)
			}})
	}
	return j.look(now, readings, "network-lossy")
}

// Machine is the state of the whole machine. What is not known is NaN.
type Machine struct {
	CPU     float64 // percent of all processors that was busy since the last look
	Memory  float64 // percent that can be had without swapping
	Disks   []Disk
	Sensors []Sensor
	// Offsets are other machines' clocks less this one's, seconds.
	Offsets []float64
	// NoBackup says what is missing of the machine's backups; empty when nothing is.
	NoBackup string
	// WatchdogOff says why the hardware watchdog stays off, and WatchdogDead that it was
	// ordered and nobody feeds it; empty when that is not so.
	WatchdogOff, WatchdogDead string
}

// Disk is the file system of one directory.
type Disk struct {
	Dir       string
	Free      float64 // percent
	FreeBytes uint64
	Latency   float64 // seconds for a write, on the average since the last look
}

// Sensor is one of temperature.
type Sensor struct {
	Name    string
	Celsius float64
}

// Machine takes a measurement in.
func (j *Judge) Machine(now time.Duration, m *Machine) []Change {
	l, off := &j.limits, ClockOffset(m.Offsets)
	readings := []reading{
		{kind: "cpu-busy", value: m.CPU, limit: l.CPU,
			detail: func() string {
				return fmt.Sprintf("the processors are %.0f %% busy; the limit is %.0f %%", m.CPU, l.CPU.Raise)
			}},
		{kind: "memory-short", value: m.Memory, limit: l.Memory, below: true,
			detail: func() string {
				return fmt.Sprintf("%.0f %% of the memory is left; the limit is %.0f %%", m.Memory, l.Memory.Raise)
			}},
		{kind: "backup-missing", value: truth(m.NoBackup != ""), limit: Limit{Raise: 0.5, Clear: 0.5}, detail: func() string { return m.NoBackup }},
		{kind: "watchdog-off", value: truth(m.WatchdogOff != ""), limit: Limit{Raise: 0.5, Clear: 0.5}, detail: func() string { return m.WatchdogOff }},
		{kind: "watchdog-unusable", value: truth(m.WatchdogDead != ""), limit: Limit{0.5, 0.5, guardComes}, detail: func() string { return m.WatchdogDead }},
		{kind: "clock-off", value: math.Abs(off), limit: l.Clock, detail: func() string { return clockDetail(off, len(m.Offsets)) }},
	}
	for _, d := range m.Disks {
		readings = append(readings,
			reading{kind: "disk-space-low", subject: d.Dir, value: d.Free, limit: l.DiskSpace, below: true, detail: func() string {
				return fmt.Sprintf("%.0f %% of the file system of %s is free, %d MB; the limit is %.0f %%", d.Free, d.Dir, d.FreeBytes/1e6, l.DiskSpace.Raise)
			}},
			reading{kind: "disk-slow", subject: d.Dir, value: d.Latency, limit: l.DiskLatency, detail: func() string {
				return fmt.Sprintf("a write to the disk of %s takes %v; the limit is %v", d.Dir, seconds(d.Latency), seconds(l.DiskLatency.Raise))
			}})
	}
	for _, s := range m.Sensors {
		readings = append(readings, reading{kind: "temperature-high", subject: s.Name, value: s.Celsius, limit: l.Temperature, detail: func() string {
			return fmt.Sprintf("%s is at %.0f °C; the limit is %.0f °C", s.Name, s.Celsius, l.Temperature.Raise)
		}})
	}
	return j.look(now, readings, "disk-space-low", "disk-slow", "temperature-high")
}

// ClockOffset is the middle of all machines' clocks less this machine's, seconds; NaN
// when no other clock is known. Of two machines' clocks nobody knows which one is
// right: then it is the other's less this one's.
func ClockOffset(others []float64) float64 {
	switch len(others) {
	case 0:
		return math.NaN()
	case 1:
		return others[0]
	}
	all := append(slices.Clone(others), 0) // with this one
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// clockDetail says how far off the clock is, and of what.
func clockDetail(off float64, others int) string {
	way := "behind"
	if off < 0 {
		way = "ahead of"
	}
	if others == 1 {
		return fmt.Sprintf("this machine's clock is %v %s the other machine's", seconds(math.Abs(off)), way)
	}
	return fmt.Sprintf("this machine's clock is %v %s the middle of the machines' clocks", seconds(math.Abs(off)), way)
}

func seconds(s float64) time.Duration {
	d := time.Duration(s * float64(time.Second))
	if d < time.Second {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
