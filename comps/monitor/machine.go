package monitor

import (
	"math"

	"virtualservicesinc.com/comps/monitor/hardware"
	"virtualservicesinc.com/comps/monitor/judge"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

// machineLook is a reading as it is judged.
func machineLook(got *hardware.Machine, clocks []float64) *judge.Machine {
	look := &judge.Machine{CPU: got.CPU, Memory: math.NaN(), Offsets: clocks}
	if got.Memory > 0 {
		look.Memory = 100 * float64(got.MemoryLeft) / float64(got.Memory)
	}
	for _, d := range got.Disks {
		free := math.NaN()
		if d.Bytes > 0 {
			free = 100 * float64(d.Free) / float64(d.Bytes)
		}
		look.Disks = append(look.Disks, judge.Disk{Dir: d.Dir, Free: free, FreeBytes: d.Free, Latency: d.Latency})
	}
	for _, s := range got.Sensors {
		look.Sensors = append(look.Sensors, judge.Sensor{Name: s.Name, Celsius: s.Celsius})
	}
	return look
}

// States of the hardware watchdog that are alarms.
const (
	watchdogOff  = "off"
	watchdogDead = "not running"
)

// judgeWatchdog adds how the hardware watchdog is to what is judged; nil is not known.
func judgeWatchdog(look *judge.Machine, w *monitorpb.WatchdogStatus) {
	switch {
	case w == nil:
	case w.State == watchdogOff:
		look.WatchdogOff = w.Why + "; see rrts watchdog status"
	case w.State == watchdogDead:
		look.WatchdogDead = "it was ordered, and rrts-watchdog.service does not run: see rrts watchdog status"
	}
}

// machineStatus is a reading as it is told.
func machineStatus(name string, got *hardware.Machine, clocks []float64, w *monitorpb.WatchdogStatus) *monitorpb.MachineStatus {
	s := &monitorpb.MachineStatus{Name: name, Processors: uint32(got.Processors), MemoryBytes: got.Memory, MemoryAvailableBytes: got.MemoryLeft, Watchdog: w}
	if !math.IsNaN(got.CPU) {
		s.CpuThousandths = uint32(math.Round(10 * got.CPU))
	}
	for _, d := range got.Disks {
		disk := monitorpb.DiskStatus{Directory: d.Dir, Bytes: d.Bytes, FreeBytes: d.Free, Device: d.Device}
		if !math.IsNaN(d.Latency) {
			disk.WriteMicros = uint64(math.Round(1e6 * d.Latency))
		}
		s.Disks = append(s.Disks, disk)
	}
	for _, t := range got.Sensors {
		s.Sensors = append(s.Sensors, monitorpb.SensorStatus{Name: t.Name, Millicelsius: int32(math.Round(1000 * t.Celsius))})
	}
	if off := judge.ClockOffset(clocks); !math.IsNaN(off) {
		s.ClockKnown, s.ClockOffsetMicros = true, int64(math.Round(1e6*off))
	}
	return s
}
