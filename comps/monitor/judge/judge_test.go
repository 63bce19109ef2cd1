package judge

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
)

var limits = Limits{
	CPU: Limit{95, 80, 5 * time.Minute}, Memory: Limit{10, 15, time.Minute}, DiskSpace: Limit{10, 12, time.Minute},
	DiskLatency: Limit{0.1, 0.05, time.Minute}, Temperature: Limit{90, 80, time.Minute}, Clock: Limit{0.25, 0.1, time.Minute},
	NetworkLoss: Limit{5, 1, 30 * time.Second}, CommitLatency: Limit{0.25, 0.1, 30 * time.Second}, Lag: Limit{1000, 100, 30 * time.Second},
}

// TestTranscripts measures the same for a while, and writes down what is raised and
// cleared, and when. Values without a word are not known.
func TestTranscripts(t *testing.T) {
	var saw alarmtest.Record
	for _, file := range []string{"testdata/machine", "testdata/sfu", "testdata/pulse"} {
		t.Run(file, func(t *testing.T) {
			j, now := New(limits), time.Duration(0)
			datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
				var out strings.Builder
				every := map[string]time.Duration{"machine": 10 * time.Second, "sfu": 5 * time.Second, "pulse": time.Second}[d.Cmd]
				if every == 0 {
					t.Fatalf("unknown command %s", d.Cmd)
				}
				for end := now + duration(t, d); now < end; {
					now += every
					changes := measure(t, j, now, d)
					slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
					for _, c := range changes {
						if c.Raise {
							saw.Raise(c.Name)
							fmt.Fprintf(&out, "%v raise %v %s: %s\n", now, c.Severity, c.Name, c.Detail)
						} else {
							saw.End(c.Name)
							fmt.Fprintf(&out, "%v clear %s\n", now, c.Name)
						}
					}
				}
				if out.Len() == 0 {
					return "nothing\n"
				}
				return out.String()
			})
		})
	}
	saw.Proves(t)
}

func measure(t *testing.T, j *Judge, now time.Duration, d *datadriven.TestData) []Change {
	nan := math.NaN()
	m, s, p := Machine{CPU: nan, Memory: nan}, SFU{Commit: nan, Lag: nan}, Pulse{}
	for _, a := range d.CmdArgs {
		num := func(i int) float64 {
			f, err := strconv.ParseFloat(a.Vals[i], 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		switch a.Key {
		case "cpu":
			m.CPU = num(0)
		case "memory":
			m.Memory = num(0)
		case "disk":
			m.Disks = append(m.Disks, Disk{Dir: a.Vals[0], Free: num(1), FreeBytes: uint64(num(1) * 1e9), Latency: num(2)})
		case "sensor":
			m.Sensors = append(m.Sensors, Sensor{Name: a.Vals[0], Celsius: num(1)})
		case "clocks":
			for i := range a.Vals {
				m.Offsets = append(m.Offsets, num(i))
			}
		case "path":
			s.Paths = append(s.Paths, Path{Network: a.Vals[0], Peer: uint16(num(1)), Loss: num(2)})
		case "commit":
			s.Commit = num(0)
		case "lag":
			s.Lag = num(0)
		case "stuck":
			p.Stuck = true
		case "backup":
			m.NoBackup = a.Vals[0]
		case "watchdog":
			switch a.Vals[0] {
			case "off":
				m.WatchdogOff = "3 resets within 1h0m0s"
			case "dead":
				m.WatchdogDead = "it does not run"
			}
		case "blind":
			p.Blind = a.Vals[0]
		case "late":
			p.Late = time.Duration(num(0) * float64(time.Second))
		case "mailbox":
			p.Mailboxes = append(p.Mailboxes, Mailbox{Component: a.Vals[0], Depth: uint32(num(1)), Bound: uint32(num(2))})
		case "for":
		default:
			t.Fatalf("unknown value %s", a.Key)
		}
	}
	switch d.Cmd {
	case "machine":
		return j.Machine(now, &m)
	case "sfu":
		return j.SFU(now, &s)
	}
	return j.Pulse(now, &p)
}

func duration(t *testing.T, d *datadriven.TestData) time.Duration {
	var text string
	d.ScanArgs(t, "for", &text)
	v, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestClockOffset(t *testing.T) {
	for _, x := range []struct {
		others []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{5, 5}, 5}, {[]float64{0, -5}, 0}, {[]float64{0, 1, 1}, 0.5}, {[]float64{-2, -2, -2, 7}, -2}} {
		if got := ClockOffset(x.others); got != x.want {
			t.Errorf("%v: %v, want %v", x.others, got, x.want)
		}
	}
	if !math.IsNaN(ClockOffset(nil)) {
		t.Error("a clock is off with nothing to compare it with")
	}
}
