package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/packaging/lab/nspawn"
	"virtualservicesinc.com/rrts/drill"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/sysd"
)

func TestChoose(t *testing.T) {
	all, err := choose(nil)
	without := func(s Scenario) bool { return s.Name == "quick" || s.Name == "upgrade" }
	if err != nil || len(all) != len(scenarios())-2 || slices.ContainsFunc(all, without) {
		t.Errorf("without a name: %d scenarios, %v", len(all), err)
	}
	some, err := choose([]string{"quick", "three"})
	if err != nil || len(some) != 2 || some[0].Name != "quick" || some[1].Name != "three" {
		t.Errorf("%+v, %v", some, err)
	}
	if _, err := choose([]string{"none"}); err == nil || !strings.Contains(err.Error(), `no scenario "none"; there are three, `) {
		t.Errorf("an unknown name: %v", err)
	}
}

// TestScenarios sees that every scenario fits together: each SFU is on a machine of
// the plan, no two have one gateway, and every line that is looked for is of one of
// them.
func TestScenarios(t *testing.T) {
	for _, s := range scenarios() {
		gateways := map[string]bool{}
		for _, u := range s.Plan.SFUs {
			if !slices.Contains(s.Plan.Machines, u.Machine) {
				t.Errorf("%s: %s is on %s, which is not bought", s.Name, u.Name, u.Machine)
			}
			g := s.Plan.gateway(u.Name)
			if gateways[g] {
				t.Errorf("%s: two SFUs have the gateway %s", s.Name, g)
			}
			gateways[g] = true
		}
		steps := s.Steps(s.Plan)
		if len(steps) == 0 && s.Finish == nil || len(steps) > 0 && steps[len(steps)-1].Halts {
			t.Errorf("%s: it ends while payments stand still, or does nothing", s.Name)
		}
		steps = append(growing(s.Plan), steps...)
		for _, st := range steps {
			for _, line := range st.Seen {
				if line.SFU != "" && !slices.ContainsFunc(s.Plan.all(), func(u sfu) bool { return u.Name == line.SFU }) {
					t.Fatalf("%s: %s: there is no %s", s.Name, st.Name, line.SFU)
				}
				if !slices.Contains(s.Plan.Machines, line.Machine) || line.SFU != "" && s.Plan.machineOf(line.SFU) != line.Machine {
					t.Errorf("%s: %s: %v", s.Name, st.Name, line)
				}
				if (line.Alarm == "") == (line.Text == "") {
					t.Errorf("%s: %s: %v looks for neither or both of text and alarm", s.Name, st.Name, line)
				}
			}
		}
	}
}

func TestSeen(t *testing.T) {
	raised := nspawn.Entry{Fields: map[string]string{
		"_SYSTEMD_UNIT": "rrts@alpha.service", "MESSAGE": "Alarm sfu=1 alarm=peer-lost@2 severity=warning",
		"RRTS_ALARM": "peer-lost@2", "MESSAGE_ID": sysd.MessageID("peer-lost"),
	}}
	ended := nspawn.Entry{Fields: map[string]string{
		"_SYSTEMD_UNIT": "rrts@alpha.service", "MESSAGE": "Alarm ended sfu=1 alarm=peer-lost@2 count=1",
		"RRTS_ALARM": "peer-lost@2", "MESSAGE_ID": sysd.MessageID("peer-lost"),
	}}
	unmarked := nspawn.Entry{Fields: map[string]string{"_SYSTEMD_UNIT": "rrts@alpha.service", "MESSAGE": raised.Message(), "RRTS_ALARM": "peer-lost@2"}}
	manager := nspawn.Entry{Fields: map[string]string{"_SYSTEMD_UNIT": "init.scope", "MESSAGE": "Stopped rrts@alpha.service - RRTS."}}
	for _, c := range []struct {
		seen  seen
		entry nspawn.Entry
		want  bool
	}{
		{seen{SFU: "alpha", Alarm: "peer-lost@2"}, raised, true},
		{seen{SFU: "alpha", Alarm: "peer-lost@2"}, ended, false},
		{seen{SFU: "alpha", Alarm: "peer-lost@2", Ended: true}, ended, true},
		{seen{SFU: "alpha", Alarm: "peer-lost@2", Ended: true}, raised, false},
		{seen{SFU: "alpha", Alarm: "peer-lost@3"}, raised, false},
		{seen{SFU: "alpha", Alarm: "peer-lost@2"}, unmarked, false}, // journalctl -x would explain nothing
		{seen{SFU: "bravo", Alarm: "peer-lost@2"}, raised, false},
		{seen{Text: "Stopped rrts@alpha.service"}, manager, true},
		{seen{SFU: "alpha", Text: "Stopped rrts@alpha.service"}, manager, false},
	} {
		if got := c.seen.in(&c.entry); got != c.want {
			t.Errorf("%v in %q: %v", c.seen, c.entry.Message(), got)
		}
	}
}

// TestReport sees that failures and waits count where they belong, and that each
// missed bar makes a run bad.
func TestReport(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(s) * time.Second) }
	pay := &txnpb.Transaction{Transfers: []ledgerpb.Transfer{{}}}
	answer := func(begin, end int, failure string) drill.Answer {
		return drill.Answer{Begin: at(begin), End: at(end), Failure: failure, Told: drill.Told{Tx: pay}}
	}
	fresh := func() *report {
		return &report{Steps: []stepReport{{Step: "stop", Planned: true, begin: at(10), end: at(20)}, {Step: "kill", begin: at(20), end: at(30)}}}
	}
	r := fresh()
	r.attribute([]drill.Answer{answer(1, 2, ""), answer(9, 12, ""), answer(13, 14, ""), answer(21, 26, "no answer"), answer(31, 38, "no answer")})
	if stop, kill := r.Steps[0], r.Steps[1]; stop.Answered != 2 || stop.Failed != 0 || stop.LongestWaitMs != 3000 ||
		kill.Answered != 1 || kill.Failed != 1 || kill.LongestWaitMs != 5000 || !slices.Equal(kill.Failures, []string{"no answer"}) {
		t.Errorf("steps %+v", r.Steps)
	}
	if r.FailedPlanned != 0 || r.FailedUnplanned != 1 || r.LongestWaitPlannedMs != 3000 || r.LongestWaitMs != 7000 {
		t.Errorf("the run: %+v", r)
	}
	sound := drill.Verdict{Submitted: 5, Committed: 5}
	for name, c := range map[string]struct {
		change func(*report)
		want   bool
	}{
		"sound":             {func(*report) {}, true},
		"failed in a fault": {func(r *report) { r.attribute([]drill.Answer{answer(21, 26, "x")}) }, true},
		"failed as planned": {func(r *report) { r.attribute([]drill.Answer{answer(11, 16, "x")}) }, false},
		"lost":              {func(r *report) { r.Lost = 1 }, false},
		"duplicated":        {func(r *report) { r.Duplicated = 1 }, false},
		"the audit":         {func(r *report) { r.take(drill.Verdict{Committed: 5, Findings: []string{"x"}}) }, false},
		"nothing committed": {func(r *report) { r.Committed = 0 }, false},
		"an error was said": {func(r *report) { r.Faults = []string{"x"} }, false},
		"a line is missing": {func(r *report) { r.Steps[1].Faults = []string{"x"} }, false},
		"never audited":     {func(r *report) { r.Audit = "" }, false},
	} {
		r := fresh()
		r.take(sound)
		c.change(r)
		if r.judge(); r.Good != c.want {
			t.Errorf("%s: good is %v", name, r.Good)
		}
	}
}

// TestCommandLine sees that faults of the command line are told from others.
func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{{"run", "none"}, {"run", "--none"}, {"shell"}} {
		cmd := command()
		cmd.SetArgs(args)
		var usage usageError
		if err := cmd.Execute(); !errors.As(err, &usage) {
			t.Errorf("lab %s: %v", strings.Join(args, " "), err)
		}
	}
}
