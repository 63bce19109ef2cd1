// Package hardware reads the state of the machine for the Monitor: processors and
// memory from /proc, disks from /proc and their file systems, temperatures from /sys.
//
// A Reader remembers the counters of the last reading: what is busy, and how long
// writes take, are told of the time between two readings, and not known at the first.
package hardware

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"
	"golang.org/x/sys/unix"
)

// Machine is one reading. What is not known is NaN, or 0 where it is a size.
type Machine struct {
	Processors         int
	CPU                float64 // busy, percent of all processors
	Memory, MemoryLeft uint64  // bytes: all, and what can be had without swapping
	Disks              []Disk
	Sensors            []Sensor
}

// Disk is a file system that holds one of the Reader's directories.
type Disk struct {
	Dir         string
	Bytes, Free uint64  // as far as they are for programs that are not root's
	Device      string  // the kernel's name; empty for what is on no disk
	Latency     float64 // seconds a write took, on the average
}

// Sensor is one of temperature.
type Sensor struct {
	Name    string // chip.label
	Celsius float64
}

const (
	// minWrites is how many writes an average is made of: one that waited behind another
	// program's flush says nothing.
	minWrites = 10
	// maxSensors bounds the sensors of a machine: a desktop has five to thirty.
	maxSensors = 64
)

// Reader reads a machine.
type Reader struct {
	proc, sys string
	dirs      []string

	cpu    procfs.CPUStat
	known  bool // cpu is
	writes map[string]writes
}

// writes are a disk's counters.
type writes struct{ count, millis uint64 }

// New returns a Reader of the directories' disks. proc and sys are where these file
// systems are mounted; empty means /proc and /sys.
func New(proc, sys string, dirs []string) *Reader {
	if proc == "" {
		proc = procfs.DefaultMountPoint
	}
	if sys == "" {
		sys = "/sys"
	}
	return &Reader{proc: proc, sys: sys, dirs: dirs, writes: map[string]writes{}}
}

// Read reads everything. With an error the rest of what it returns is as good as it
// can be.
func (r *Reader) Read() (Machine, error) {
	m := Machine{CPU: math.NaN()}
	fs, err := procfs.NewFS(r.proc)
	if err != nil {
		return m, fmt.Errorf("hardware: %w", err)
	}
	err = errors.Join(r.readCPU(fs, &m), readMemory(fs, &m), r.readDisks(&m), r.readSensors(&m))
	return m, err
}

func (r *Reader) readCPU(fs procfs.FS, m *Machine) error {
	s, err := fs.Stat()
	if err != nil {
		r.known = false
		return fmt.Errorf("hardware: %w", err)
	}
	m.Processors = len(s.CPU)
	was, is := r.cpu, s.CPUTotal
	// Each counter by itself: of their sums a machine that was never idle has been idle for
	// a little less than nothing. The kernel takes some waiting back now and then.
	idle := max(is.Idle-was.Idle+(is.Iowait-was.Iowait), 0)
	// Guest time is in User and Nice already.
	busy := (is.User - was.User) + (is.Nice - was.Nice) + (is.System - was.System) + (is.IRQ - was.IRQ) + (is.SoftIRQ - was.SoftIRQ) + (is.Steal - was.Steal)
	if r.known && idle+busy > 0 && busy >= 0 {
		m.CPU = 100 * busy / (idle + busy)
	}
	r.cpu, r.known = is, true
	return nil
}

func readMemory(fs procfs.FS, m *Machine) error {
	info, err := fs.Meminfo()
	if err != nil {
		return fmt.Errorf("hardware: %w", err)
	}
	if info.MemTotalBytes != nil && info.MemAvailableBytes != nil {
		m.Memory, m.MemoryLeft = *info.MemTotalBytes, *info.MemAvailableBytes
	}
	return nil
}

// readDisks reads each file system once, under the first directory on it.
func (r *Reader) readDisks(m *Machine) error {
	stats, err := diskstats(r.proc, r.sys)
	var seen []uint64
	for _, dir := range r.dirs {
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(dir, &st) != nil || unix.Statfs(dir, &fs) != nil || slices.Contains(seen, st.Dev) {
			continue // not there yet, or another SFU's directory is on the same one
		}
		seen = append(seen, st.Dev)
		d := Disk{Dir: dir, Bytes: (fs.Blocks - fs.Bfree + fs.Bavail) * uint64(fs.Bsize), Free: fs.Bavail * uint64(fs.Bsize), Latency: math.NaN()}
		i := slices.IndexFunc(stats, func(s blockdevice.Diskstats) bool {
			return s.MajorNumber == unix.Major(st.Dev) && s.MinorNumber == unix.Minor(st.Dev)
		})
		if i >= 0 {
			s := &stats[i]
			d.Device = s.DeviceName
			was, now := r.writes[d.Device], writes{s.WriteIOs, s.WriteTicks}
			if n := now.count - was.count; was.count > 0 && n >= minWrites {
				d.Latency = float64(now.millis-was.millis) / float64(n) / 1000
			}
			r.writes[d.Device] = now
		}
		m.Disks = append(m.Disks, d)
	}
	return err
}

func diskstats(proc, sys string) ([]blockdevice.Diskstats, error) {
	fs, err := blockdevice.NewFS(proc, sys)
	if err != nil {
		return nil, fmt.Errorf("hardware: %w", err)
	}
	stats, err := fs.ProcDiskstats()
	if err != nil {
		return nil, fmt.Errorf("hardware: %w", err)
	}
	return stats, nil
}

// readSensors reads every chip's temperatures. A machine without any is none with an
// error: virtual ones have no sensors.
func (r *Reader) readSensors(m *Machine) error {
	inputs, err := filepath.Glob(filepath.Join(r.sys, "class/hwmon/hwmon*/temp*_input"))
	if err != nil {
		return fmt.Errorf("hardware: %w", err)
	}
	for _, input := range inputs[:min(len(inputs), maxSensors)] {
		millis, err := strconv.Atoi(text(input))
		if err != nil {
			continue // a sensor that is not connected answers with an error
		}
		base := strings.TrimSuffix(input, "_input")
		label := strings.ReplaceAll(text(base+"_label"), " ", "-")
		if label == "" {
			label = filepath.Base(base)
		}
		label = text(filepath.Join(filepath.Dir(input), "name")) + "." + label
		name := label
		for i := 2; slices.ContainsFunc(m.Sensors, func(s Sensor) bool { return s.Name == name }); i++ {
			name = label + "#" + strconv.Itoa(i) // two drives of a kind
		}
		m.Sensors = append(m.Sensors, Sensor{Name: name, Celsius: float64(millis) / 1000})
	}
	return nil
}

// text is what a small file says; empty if it cannot be read.
func text(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
