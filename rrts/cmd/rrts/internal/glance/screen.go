package glance

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Screen is the cluster as people see it: at most height lines of at most width
// columns; height 0 means as many as it takes. What finds no room is counted in the
// last line. lead stands before the first one.
func (c *Cluster) Screen(lead string, width, height int) string {
	s := &screen{width: width, height: height}
	s.line(lead + c.headline())
	s.table(c.sfuTable())
	paths, machines, site, alarms, resets := c.pathTable(), c.machineTable(), c.siteTable(), c.Alarms(), c.resets(time.Now())
	if height > 0 {
		// Of the networks those without trouble go first, for alarms there are some lines.
		used := len(s.lines) + 2 + 1 + len(machines) + len(site) + 1 + min(len(alarms), fewAlarms) + len(resets)
		for i := range c.SFUs {
			used += len(c.SFUs[i].Progress)
		}
		if room := max(height-used, 2); len(paths)-1 > room {
			more := fmt.Sprintf("and %d more", len(paths)-room)
			paths = append(paths[:room], []string{more})
		}
	}
	if len(paths) > 1 {
		s.table(paths)
	}
	if len(machines) > 1 {
		s.table(machines)
	}
	for _, r := range resets {
		s.line(r)
	}
	if len(site) > 1 {
		s.table(site)
	}
	for i := range c.SFUs {
		for _, p := range c.SFUs[i].Progress {
			s.line(c.SFUs[i].Name + " " + p)
		}
	}
	s.alarms(alarms)
	return s.String()
}

// fewAlarms is for how many alarms other things make room.
const fewAlarms = 4

// headline is the cluster in one line.
func (c *Cluster) headline() string {
	parts := []string{fmt.Sprintf("cluster %s: %d SFUs", c.Name, len(c.SFUs))}
	if n := c.Silent(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d silent", n))
	}
	if l := c.Leader(); l != nil {
		parts = append(parts, "led by "+l.Name, rate(l.PerSecond)+" transactions/s", fmt.Sprintf("CSN %d", l.CSN))
	} else {
		parts = append(parts, "nobody leads")
	}
	return strings.Join(parts, ", ")
}

func (c *Cluster) sfuTable() [][]string {
	rows := [][]string{{"SFU", "TYPE", "ROLE", "LAG", "TX/S", "P99", "NET", "CPU", "MEMORY", "UP"}}
	for i := range c.SFUs {
		s := &c.SFUs[i]
		if !s.Reachable {
			rows = append(rows, []string{s.Name, s.Type, "does not answer"})
			continue
		}
		role := s.Role
		if s.Draining {
			role = "draining"
		}
		if s.Role == "" && s.Error != "" {
			role = "silent"
		}
		row := []string{s.Name, s.Type, role, "", "", "", cmp.Or(s.NetworksUp, "none"), fmt.Sprintf("%.1f %%", s.CPUPercent), fmt.Sprintf("%.0f MB", s.ResidentMB), uptime(s.UptimeS)}
		if s.Role != "" {
			row[3] = fmt.Sprint(s.Lag)
		}
		if s.PerSecond > 0 {
			row[4], row[5] = rate(s.PerSecond), micros(s.P99Micros)
		}
		rows = append(rows, row)
	}
	return rows
}

// siteTable is the programs of the site, by name and SFU.
func (c *Cluster) siteTable() [][]string {
	rows := [][]string{{"COMPONENT", "SFU", "STATE", "SERVICES", "ANSWERED", "WAITING", "RESTARTS", "FAILED LAST"}}
	for i := range c.SFUs {
		for _, x := range c.SFUs[i].Components {
			if x.Site {
				rows = append(rows, []string{x.Name, c.SFUs[i].Name, x.State, strings.Trim(fmt.Sprint(x.Services), "[]"), fmt.Sprint(x.Handled), fmt.Sprint(x.Waiting), fmt.Sprint(x.Restarts), x.Failure})
			}
		}
	}
	slices.SortStableFunc(rows[1:], func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
	return rows
}

// pathTable is the networks between each two SFUs: as the first of them sees it, with
// the greater loss of both ways. Those in trouble come first.
func (c *Cluster) pathTable() [][]string {
	type way struct {
		name    string
		trouble bool
		cells   []string
	}
	var ways []way
	for i := range c.SFUs {
		for j := i + 1; j < len(c.SFUs); j++ {
			a, b := &c.SFUs[i], &c.SFUs[j]
			if !a.Reachable || !b.Reachable {
				continue
			}
			w := way{name: a.Name + "-" + b.Name}
			for _, n := range []string{"A", "B"} {
				p, q := a.path(b.SFU, n), b.path(a.SFU, n)
				if udp := "udp_" + strings.ToLower(n); p == nil && q == nil {
					p, q = a.path(b.SFU, udp), b.path(a.SFU, udp)
				}
				if p == nil || q == nil {
					if p = a.path(b.SFU, "machine"); p != nil && n == "A" {
						w.cells = append(w.cells, "same machine", micros(p.RTTMicros), "")
					} else {
						w.cells = append(w.cells, "", "", "")
					}
					continue
				}
				state := "up"
				if !p.Up || !q.Up {
					state, w.trouble = "DOWN", true
				}
				loss := max(p.LossPercent, q.LossPercent)
				w.trouble = w.trouble || loss >= 1
				w.cells = append(w.cells, state, micros(p.RTTMicros), fmt.Sprintf("%.1f %%", loss))
			}
			ways = append(ways, w)
		}
	}
	slices.SortStableFunc(ways, func(a, b way) int {
		switch {
		case a.trouble == b.trouble:
			return 0
		case a.trouble:
			return -1
		}
		return 1
	})
	rows := [][]string{{"NETWORKS", "A", "RTT", "LOSS", "B", "RTT", "LOSS"}}
	for _, w := range ways {
		rows = append(rows, append([]string{w.name}, w.cells...))
	}
	return rows
}

func (s *SFU) path(peer uint16, network string) *Path {
	for i := range s.Paths {
		if p := &s.Paths[i]; p.Peer == peer && p.Network == network {
			return p
		}
	}
	return nil
}

func (c *Cluster) machineTable() [][]string {
	rows := [][]string{{"MACHINE", "CPU", "MEMORY LEFT", "DISK FREE", "WRITE", "HEAT", "CLOCK", "WATCHDOG"}}
	for i := range c.SFUs {
		m := c.SFUs[i].Machine
		if m == nil {
			continue
		}
		row := []string{m.Name, fmt.Sprintf("%.0f %%", m.CPUPercent), part(1e6*float64(m.MemoryLeftMB), 1e6*float64(m.MemoryMB)), "", "", "", "", ""}
		if len(m.Disks) > 0 {
			// The one with the least room, of its size.
			d := slices.MinFunc(m.Disks, func(a, b Disk) int { return cmp.Compare(free(a), free(b)) })
			row[3] = fmt.Sprintf("%.0f %% of %s", 100*free(d), bytes(1e6*float64(d.MB)))
			if d.WriteMicros > 0 {
				row[4] = micros(d.WriteMicros)
			}
		}
		if m.HottestCelsius > 0 {
			row[5] = fmt.Sprintf("%.0f °C", m.HottestCelsius)
		}
		if m.ClockOffsetMS != nil {
			row[6] = fmt.Sprintf("%+.1f ms", *m.ClockOffsetMS)
		}
		if m.Watchdog != nil {
			row[7] = watchdogWords[m.Watchdog.State]
		}
		rows = append(rows, row)
	}
	return rows
}

// watchdogWords are the states of a machine's watchdog as they fit into a column. One
// that is absent is not mentioned.
var watchdogWords = map[string]string{"armed": "armed", "letting go": "FIRES", "off": "OFF", "not running": "DEAD", "not armed": "unarmed"}

// resetNews is how long a reset by the watchdog is told on the screen.
const resetNews = 24 * time.Hour

// resets are the lines about machines that their watchdogs have reset lately.
func (c *Cluster) resets(now time.Time) (lines []string) {
	for i := range c.SFUs {
		m := c.SFUs[i].Machine
		if m == nil || m.Watchdog == nil || m.Watchdog.LastReset == nil {
			continue
		}
		if age := now.Sub(*m.Watchdog.LastReset); age < resetNews {
			lines = append(lines, fmt.Sprintf("%s was reset by its watchdog %s ago: %s", m.Name, uptime(uint64(max(age, 0).Seconds())), m.Watchdog.LastResetWhy))
		}
	}
	return lines
}

func free(d Disk) float64 { return float64(d.FreeMB) / max(float64(d.MB), 1) }

// screen is what Screen fills.
type screen struct {
	width, height int
	lines         []string
}

func (s *screen) String() string {
	lines := s.lines
	if s.height > 0 && len(lines) > s.height {
		lines = lines[:s.height]
	}
	return strings.Join(lines, "\n") + "\n"
}

// line adds one, cut to the width.
func (s *screen) line(text string) { s.lines = append(s.lines, cut(text, s.width)) }

// cut shortens text to so many columns.
func cut(text string, width int) string {
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return strings.TrimRight(string([]rune(text)[:width-1]), " ") + "…"
}

// table adds an empty line and rows in columns; the first is the header.
func (s *screen) table(rows [][]string) {
	s.line("")
	var wide []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(wide) {
				wide = append(wide, 0)
			}
			if i < len(r)-1 || len(r) == len(rows[0]) { // a remark that ends a row may run over
				wide[i] = max(wide[i], utf8.RuneCountInString(cell))
			}
		}
	}
	empty := make([]bool, len(wide))
	for i := range empty {
		empty[i] = len(rows) > 1 && !slices.ContainsFunc(rows[1:], func(r []string) bool { return i < len(r) && r[i] != "" })
	}
	for _, r := range rows {
		var b strings.Builder
		for i, cell := range r {
			if !empty[i] {
				b.WriteString(cell + strings.Repeat(" ", max(wide[i]-utf8.RuneCountInString(cell), 0)+2))
			}
		}
		s.line(strings.TrimRight(b.String(), " "))
	}
}

// alarms adds the alarms, as far as there is room.
func (s *screen) alarms(all []Alarm) {
	if len(all) == 0 {
		s.line("")
		s.line("no alarms")
		return
	}
	s.line("")
	room := math.MaxInt
	if s.height > 0 {
		room = max(s.height-len(s.lines), 1)
	}
	for i, a := range all {
		if i == room-1 && len(all) > room {
			s.line(fmt.Sprintf("and %d more: rrts alarms", len(all)-i))
			return
		}
		s.line(a.String())
	}
}

// String is the alarm in one line.
func (a *Alarm) String() string {
	text := fmt.Sprintf("%s %s %s for %s", strings.ToUpper(a.Severity), a.SFU, a.Name, uptime(a.AgeS))
	switch {
	case a.Flapping:
		text += fmt.Sprintf(", comes and goes, %d times", a.Count)
	case a.Count > 1:
		text += fmt.Sprintf(", %d times", a.Count)
	}
	if a.AcknowledgedBy != "" {
		text += ", " + a.AcknowledgedBy + " looks after it"
	}
	return text + ": " + a.Detail
}

// uptime is a time in its two largest units.
func uptime(seconds uint64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return d.String()
}

// micros is a time in three digits.
func micros(us uint64) string {
	switch {
	case us == 0:
		return ""
	case us < 1000:
		return fmt.Sprintf("%d µs", us)
	case us < 10_000:
		return fmt.Sprintf("%.1f ms", float64(us)/1000)
	case us < 1_000_000:
		return fmt.Sprintf("%.0f ms", float64(us)/1000)
	}
	return fmt.Sprintf("%.1f s", float64(us)/1e6)
}

// rate is a number a second.
func rate(perSecond float64) string {
	if perSecond > 0 && perSecond < 10 {
		return fmt.Sprintf("%.1f", perSecond)
	}
	return fmt.Sprintf("%.0f", perSecond)
}

// units are those of sizes, each a thousand of the one before.
var units = []string{"B", "kB", "MB", "GB", "TB"}

// bytes is a size in three digits.
func bytes(n float64) string {
	i := 0
	for ; n >= 999.5 && i < len(units)-1; i++ {
		n /= 1000
	}
	return digits(n, units[i]) + " " + units[i]
}

// part is a part of a size, in the unit of the whole.
func part(n, whole float64) string {
	i := 0
	for ; whole >= 999.5 && i < len(units)-1; i++ {
		n, whole = n/1000, whole/1000
	}
	return fmt.Sprintf("%s of %s %s", digits(n, units[i]), digits(whole, units[i]), units[i])
}

// digits shows one place behind the point of what has one before it.
func digits(n float64, unit string) string {
	if n < 9.95 && unit != "B" || unit == "TB" {
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.0f", n)
}
