package netbench

import "fmt"

// Rows is the report for people: what, the interconnect, and the rivals.
func (r *Report) Rows() [][]string {
	rows := [][]string{{"", "interconnect"}}
	if r.Clean != nil {
		rows[0] = append(rows[0], "before the fault")
	}
	add := func(what, format string, own float64, others ...float64) {
		row := []string{what, fmt.Sprintf(format, own)}
		for _, v := range others {
			row = append(row, fmt.Sprintf(format, v))
		}
		rows = append(rows, row)
	}
	switch p, s := r.PingRivals, r.StreamRivals; {
	case p != nil:
		rows[0] = append(rows[0], "TCP", "bare frame", "on both networks")
		add("round trip, median", "%.1f µs", r.RTTP50us, p.TCPRTTP50us, p.BareRTTP50us, p.TwiceRTTP50us)
		add("round trip, p99", "%.1f µs", r.RTTP99us, p.TCPRTTP99us, p.BareRTTP99us, p.TwiceRTTP99us)
		add("processor time a million", "%.1f s", r.CPUPerMMsgs, r.TCPCPUPerMMsgs)
	case s != nil:
		rows[0] = append(rows[0], "TCP", "TCP with TLS")
		add("messages a second", "%.0f", r.MsgsPerS, s.TCPMsgsPerS, s.TLSMsgsPerS)
		add("megabytes a second", "%.1f", r.MBPerS, s.TCPMBPerS, s.TLSMBPerS)
		add("processor time a million", "%.2f s", r.CPUPerMMsgs, r.TCPCPUPerMMsgs, s.TLSCPUPerMMsgs)
		add("processor time a gigabyte", "%.2f s", r.CPUPerGB, s.TCPCPUPerGB, s.TLSCPUPerGB)
		fallthrough
	default:
		var clean [5][]float64
		if c := r.Clean; c != nil {
			clean = [...][]float64{{c.MBPerS}, {c.RTTP50us}, {c.RTTP99us}, {c.LongestGapMs}, {c.GapP99Ms}}
		}
		if s == nil {
			add("messages a second", "%.0f", r.MsgsPerS)
			add("megabytes a second", "%.1f", r.MBPerS, clean[0]...)
		}
		add("round trip beside it, median", "%.1f µs", r.RTTP50us, clean[1]...)
		add("round trip beside it, p99", "%.1f µs", r.RTTP99us, clean[2]...)
		if r.Clean != nil {
			add("longest gap", "%.3f ms", r.LongestGapMs, clean[3]...)
			add("gap, p99", "%.3f ms", r.GapP99Ms, clean[4]...)
		}
	}
	if r.Clean == nil {
		add("longest gap", "%.3f ms", r.LongestGapMs)
		add("gap, p99", "%.3f ms", r.GapP99Ms)
	}
	if g := r.CutGaps; g != nil {
		rows = append(rows, []string{"longest gap around a cut", gapsOf(g.P50Ms, g.P90Ms, g.WorstMs)},
			[]string{"without a cut", gapsOf(g.UncutP50Ms, g.UncutP90Ms, g.UncutWorstMs)})
		if g.IdleP50Ms > 0 {
			rows = append(rows, []string{"when another NIC goes down", gapsOf(g.IdleP50Ms, g.IdleP90Ms, g.IdleWorstMs)})
		}
	}
	add("lost", "%.0f", float64(r.Lost))
	add("out of order", "%.0f", float64(r.Reordered))
	return rows
}
