package netbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
)

// Bars of the suite, with the peers' figures they come from.
const (
	minMsgsPerS  = 330_000 // five times kronosnet's, encrypted and duplicated
	minMBPerS    = 200     // three times
	maxGapMs     = 1       // a cut adds to the gaps of a duplicated lane
	maxBulkGapMs = 10      // a cut stalls the bulk lane
	noise        = 1.25    // of two tail latencies in one run on one machine
	suiteCuts    = 20      // of each kind
)

// MinSuite is the shortest duration of a suite's measurements: networks are cut after a
// second.
const MinSuite = 2 * time.Second

// Line is one line of a suite's table.
type Line struct {
	What    string `json:"what"`
	Own     string `json:"own"`
	Beside  string `json:"beside"`
	Bar     string `json:"bar"`
	Verdict string `json:"verdict"` // empty where there is no bar
}

// measurement is one run of a suite and what it shows.
type measurement struct {
	args []string
	show func(r *Report) []Line
	// oneCPU keeps both sides on one processor.
	oneCPU bool
}

// verdict words whether a bar is met.
func verdict(met bool) string {
	if met {
		return "met"
	}
	return "not met"
}

func us(v float64) string { return fmt.Sprintf("%.1f µs", v) }
func ms(v float64) string { return fmt.Sprintf("%.2f ms", v) }

func pings(where string) func(r *Report) []Line {
	return func(r *Report) []Line {
		beside := func(tcp, bare, twice float64) string {
			return fmt.Sprintf("TCP %s, bare frame %s, on both networks %s", us(tcp), us(bare), us(twice))
		}
		return []Line{
			{"round trip of 128 B" + where + ", median", us(r.RTTP50us), beside(r.TCPRTTP50us, r.BareRTTP50us, r.TwiceRTTP50us), "TCP's", verdict(r.RTTP50us <= r.TCPRTTP50us)},
			{"round trip of 128 B" + where + ", p99", us(r.RTTP99us), beside(r.TCPRTTP99us, r.BareRTTP99us, r.TwiceRTTP99us), "TCP's", verdict(r.RTTP99us <= r.TCPRTTP99us)},
		}
	}
}

func streams(r *Report) []Line {
	return []Line{
		{"records of 128 B a second, commit lane", fmt.Sprintf("%.0f", r.MsgsPerS), fmt.Sprintf("TCP %.0f, TLS %.0f", r.TCPMsgsPerS, r.TLSMsgsPerS),
			fmt.Sprintf("≥ %d", minMsgsPerS), verdict(r.MsgsPerS >= minMsgsPerS)},
		{"processor time a million of them", fmt.Sprintf("%.2f s", r.CPUPerMMsgs), fmt.Sprintf("TCP %.2f s, TLS %.2f s", r.TCPCPUPerMMsgs, r.TLSCPUPerMMsgs), "", ""},
	}
}

func bulks(with string) func(r *Report) []Line {
	return func(r *Report) []Line {
		return []Line{
			{"megabytes a second in records of 64 kB, bulk lane" + with, fmt.Sprintf("%.0f", r.MBPerS), fmt.Sprintf("TCP %.0f, TLS %.0f", r.TCPMBPerS, r.TLSMBPerS),
				fmt.Sprintf("≥ %d", minMBPerS), verdict(r.MBPerS >= minMBPerS)},
			{"processor time a gigabyte" + with, fmt.Sprintf("%.2f s", r.CPUPerGB), fmt.Sprintf("TCP %.2f s, TLS %.2f s", r.TCPCPUPerGB, r.TLSCPUPerGB), "", ""},
		}
	}
}

// whole words that nothing was lost or out of order.
func whole(r *Report) string { return fmt.Sprintf("%d lost, %d out of order", r.Lost, r.Reordered) }

func intact(r *Report) bool { return r.Lost == 0 && r.Reordered == 0 }

// gapsOf words the longest gaps of windows.
func gapsOf(p50, p90, worst float64) string {
	return fmt.Sprintf("%s, p90 %s, worst %s", ms(p50), ms(p90), ms(worst))
}

// idle words the gaps while a NIC that carries nothing goes down, if that was done.
func (g *CutGaps) idle() string {
	if g.IdleP50Ms == 0 {
		return ""
	}
	return "; another NIC down " + gapsOf(g.IdleP50Ms, g.IdleP90Ms, g.IdleWorstMs)
}

// cuts is the lines of a cut that is made suiteCuts times: the median of the longest gap
// around each, beside that of windows without one.
func cuts(lane, where, bar string, most func(uncut float64) float64) func(r *Report) []Line {
	return func(r *Report) []Line {
		g := r.CutGaps
		return []Line{{fmt.Sprintf("network A cut %d times (%s), %s lane: longest gap around a cut, median", g.Cuts, where, lane),
			gapsOf(g.P50Ms, g.P90Ms, g.WorstMs) + "; " + whole(r),
			"without a cut " + gapsOf(g.UncutP50Ms, g.UncutP90Ms, g.UncutWorstMs) + g.idle(),
			bar, verdict(intact(r) && g.Cuts > 0 && g.P50Ms <= most(g.UncutP50Ms))}}
	}
}

func cutStream(where string) func(r *Report) []Line {
	return cuts("commit", where, fmt.Sprintf("≤ %d ms more", maxGapMs), func(uncut float64) float64 { return uncut + maxGapMs })
}

func cutBulk(where string) func(r *Report) []Line {
	return cuts("bulk", where, fmt.Sprintf("≤ %d ms", maxBulkGapMs), func(float64) float64 { return maxBulkGapMs })
}

func loss(share int) func(r *Report) []Line {
	return func(r *Report) []Line {
		return []Line{{fmt.Sprintf("network A loses %d %%, commit lane: round trip p99", share), us(r.RTTP99us) + ", " + whole(r),
			"without loss " + us(r.Clean.RTTP99us), "the same within noise", verdict(intact(r) && r.RTTP99us <= r.Clean.RTTP99us*noise)}}
	}
}

func lossOnBoth(r *Report) []Line {
	return []Line{{"both networks lose 5 %, bulk lane: goodput", fmt.Sprintf("%.0f MB/s, %s", r.MBPerS, whole(r)),
		fmt.Sprintf("without loss %.0f MB/s", r.Clean.MBPerS), "everything arrives", verdict(intact(r))}}
}

// suite is every measurement.
func suite() []measurement {
	all := []measurement{
		// Between machines each side has a processor of its own, and waking the other is most
		// of a round trip. On one processor for both it is the work alone, which is twice as
		// much for a record that leaves on both networks.
		{args: []string{"--mode", ModePingPong}, show: pings("")},
		{args: []string{"--mode", ModePingPong}, show: pings(" on one processor for both sides"), oneCPU: true},
		{args: []string{"--mode", ModeStream}, show: streams},
		{args: []string{"--mode", ModeBulk}, show: bulks("")},
		{args: []string{"--mode", ModeBulk, "--mtu", fmt.Sprint(JumboMTU)}, show: bulks(" and jumbo frames")},
	}
	for _, where := range []string{CutSender, CutReceiver, CutOneWay} {
		all = append(all,
			measurement{args: []string{"--mode", ModeStream, "--rate", "1000", "--cut", "A@1s:" + where, "--cuts", fmt.Sprint(suiteCuts)}, show: cutStream(where)},
			measurement{args: []string{"--mode", ModeBulk, "--cut", "A@1s:" + where, "--cuts", fmt.Sprint(suiteCuts)}, show: cutBulk(where)})
	}
	for _, share := range []int{1, 5, 20, 50} {
		all = append(all, measurement{args: []string{"--mode", ModeStream, "--rate", "1000", "--loss", fmt.Sprintf("A=%d%%", share)}, show: loss(share)})
	}
	return append(all, measurement{args: []string{"--mode", ModeBulk, "--loss", "A=5%", "--loss", "B=5%"}, show: lossOnBoth})
}

// Suite runs every measurement for d each, in labs of its own, with this program, and
// returns one table: what, the interconnect, what it is compared with, the bar.
func Suite(ctx context.Context, program string, d time.Duration, out *term.Out) ([]Line, error) {
	var lines []Line
	all := suite()
	for i, m := range all {
		out.Progress("measurement %d of %d", i+1, len(all))
		r, err := m.run(ctx, program, d)
		if err != nil {
			return lines, fmt.Errorf("netbench: %v: %w", m.args, err)
		}
		lines = append(lines, m.show(r)...)
	}
	out.Progress("")
	return lines, nil
}

func (m *measurement) run(ctx context.Context, program string, d time.Duration) (*Report, error) {
	args := append([]string{program, "bench", "net", "--json", "--duration", d.String()}, m.args...)
	if m.oneCPU {
		args = append([]string{"taskset", "-c", "0"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopWithin
	cmd.Stderr = os.Stderr
	answer, fault := cmd.Output()
	r := new(Report)
	if err := json.Unmarshal(answer, r); err != nil {
		return nil, errors.Join(fault, err)
	}
	return r, nil // records lost are a fault of the run, and stand in the report
}

// Table is the lines for people, under their header.
func Table(lines []Line) (header []string, rows [][]string) {
	for _, l := range lines {
		rows = append(rows, []string{l.What, l.Own, l.Beside, l.Bar, l.Verdict})
	}
	return []string{"", "interconnect", "beside it", "bar", ""}, rows
}
