package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"virtualservicesinc.com/rrts/drill"
)

// report is what came of a scenario; its JSON form is the scenario's last line.
type report struct {
	Scenario             string   `json:"scenario"`
	Commands             int      `json:"commands"`                   // typed until the first payment
	FirstPaymentS        float64  `json:"install_to_first_payment_s"` // from the beginning of apt install
	CommandsWhole        int      `json:"commands_whole"`             // typed until the cluster was whole
	WholeS               float64  `json:"install_to_whole_s"`
	RestoredS            float64  `json:"bare_to_payments_s,omitempty"` // of a restore
	Submitted            int      `json:"submitted"`
	Committed            int      `json:"committed"`
	Aborted              int      `json:"aborted"`
	Lost                 int      `json:"lost"`
	Duplicated           int      `json:"duplicated"`
	FailedPlanned        int      `json:"failed_planned"`
	FailedUnplanned      int      `json:"failed_unplanned"`
	LongestWaitPlannedMs int64    `json:"longest_wait_planned_ms"`
	LongestWaitMs        int64    `json:"longest_wait_ms"`
	Audit                string   `json:"audit"`
	Good                 bool     `json:"good"` // every bar is met
	Faults               []string `json:"faults,omitempty"`

	Steps []stepReport `json:"-"`
}

// stepReport is what came of a step; its JSON form is a line of its own.
type stepReport struct {
	Scenario string  `json:"scenario"`
	Step     string  `json:"step"`
	Planned  bool    `json:"planned"`
	DoneS    float64 `json:"done_s"` // until the command was back
	Answered int     `json:"answered"`
	// Failed is how many payments had no outcome within a client's patience.
	Failed        int      `json:"failed"`
	LongestWaitMs int64    `json:"longest_wait_ms"` // of a payment for its outcome
	Failures      []string `json:"failures,omitempty"`
	Faults        []string `json:"faults,omitempty"` // what the journals or the replicas lack

	begin, end time.Time
}

// maxFailures bounds how many failures one step lists.
const maxFailures = 3

// attribute gives each answer to the first step during which its payment waited.
func (r *report) attribute(answers []drill.Answer) {
	for i := range answers {
		a := &answers[i]
		wait := a.End.Sub(a.Begin).Milliseconds()
		if len(a.Tx.Transfers) > 0 {
			r.LongestWaitMs = max(r.LongestWaitMs, wait)
		}
		for j := range r.Steps {
			s := &r.Steps[j]
			if !during(a, s) {
				continue
			}
			s.Answered++
			s.LongestWaitMs = max(s.LongestWaitMs, wait)
			if s.Planned {
				r.LongestWaitPlannedMs = max(r.LongestWaitPlannedMs, wait)
			}
			if a.Failure == "" {
				break
			}
			s.Failed++
			if len(s.Failures) < maxFailures {
				s.Failures = append(s.Failures, a.Failure)
			}
			if s.Planned {
				r.FailedPlanned++
			} else {
				r.FailedUnplanned++
			}
			break
		}
	}
}

// during reports whether a payment waited while a step was going on.
func during(a *drill.Answer, s *stepReport) bool {
	return a.End.After(s.begin) && a.Begin.Before(s.end)
}

// take takes the audit's verdict.
func (r *report) take(v drill.Verdict) {
	r.Submitted, r.Committed, r.Aborted, r.Lost, r.Duplicated = v.Submitted, v.Committed, v.Aborted, v.Lost, v.Duplicated
	r.Audit = "ok"
	if !v.OK() {
		r.Audit = "failed"
		r.Faults = append(r.Faults, v.Findings...)
	}
}

// judge holds the run against the bars.
func (r *report) judge() {
	r.Good = r.Audit == "ok" && r.Lost == 0 && r.Duplicated == 0 && r.FailedPlanned == 0 && r.Committed > 0 && len(r.Faults) == 0
	for _, s := range r.Steps {
		r.Good = r.Good && len(s.Faults) == 0
	}
}

// show prints the report: tables for people, or one JSON object per line.
func (r *report) show(asJSON bool) error {
	if asJSON {
		out := json.NewEncoder(os.Stdout)
		for _, s := range r.Steps {
			if err := out.Encode(s); err != nil {
				return err
			}
		}
		return out.Encode(r)
	}
	var rows [][]string
	for _, s := range r.Steps {
		kind := "fault"
		if s.Planned {
			kind = "planned"
		}
		rows = append(rows, []string{s.Step, kind, fmt.Sprintf("%.1f s", s.DoneS), fmt.Sprint(s.Answered), fmt.Sprint(s.Failed), fmt.Sprintf("%d ms", s.LongestWaitMs)})
	}
	fmt.Println()
	if err := table(os.Stdout, []string{"STEP", "", "TOOK", "ANSWERED", "FAILED", "LONGEST WAIT"}, rows); err != nil {
		return err
	}
	verdict := "every bar is met"
	if !r.Good {
		verdict = "A BAR IS MISSED"
	}
	fmt.Println()
	figures := [][]string{
		{"scenario", r.Scenario},
		{"apt install to first payment", fmt.Sprintf("%.1f s, %d commands", r.FirstPaymentS, r.Commands)},
		{"apt install to the whole cluster", fmt.Sprintf("%.1f s, %d commands", r.WholeS, r.CommandsWhole)},
		{"submitted", fmt.Sprint(r.Submitted)},
		{"committed, aborted", fmt.Sprintf("%d, %d", r.Committed, r.Aborted)},
		{"lost, duplicated", fmt.Sprintf("%d, %d", r.Lost, r.Duplicated)},
		{"failed in planned steps", fmt.Sprint(r.FailedPlanned)},
		{"failed in faults", fmt.Sprint(r.FailedUnplanned)},
		{"longest wait, planned steps", fmt.Sprintf("%d ms", r.LongestWaitPlannedMs)},
		{"longest wait", fmt.Sprintf("%d ms", r.LongestWaitMs)},
		{"audit", r.Audit},
		{"", verdict},
	}
	if r.RestoredS > 0 {
		figures = slices.Insert(figures, 3, []string{"bare machine to payments", fmt.Sprintf("%.1f s", r.RestoredS)})
	}
	err := table(os.Stdout, nil, figures)
	for _, s := range r.Steps {
		for _, f := range append(s.Faults, s.Failures...) {
			fmt.Printf("%s: %s\n", s.Step, f)
		}
	}
	for _, f := range r.Faults {
		fmt.Println(f)
	}
	return err
}

// table prints rows in columns.
func table(w io.Writer, header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(header) > 0 {
		fmt.Fprintln(t, strings.Join(header, "\t"))
	}
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// screen is where a run says how it goes on: standard error.
type screen struct{ begin time.Time }

func newScreen() *screen { return &screen{begin: time.Now()} }

func (s *screen) say(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(s.begin).Seconds(), fmt.Sprintf(format, a...))
}
