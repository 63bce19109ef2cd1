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

// machineStatus is a reading as it is told.
func machineStatus(name string, got *hardware.Machine, clocks []float64) *monitorpb.MachineStatus {
	s := &monitorpb.MachineStatus{Name: name, Processors: uint32(got.Processors), MemoryBytes: got.Memory, MemoryAvailableBytes: got.MemoryLeft}
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
