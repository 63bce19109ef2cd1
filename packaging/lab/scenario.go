package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"virtualservicesinc.com/packaging/lab/nspawn"
	"virtualservicesinc.com/sysd"
)

// Scenario is a set-up and what is done to it.
type Scenario struct {
	Name, About string
	// Plan is what is bought and how it is to be: in the order in which the cluster
	// grows, the first machine first.
	Plan plan
	// Steps are what happens while payments run, one after the other.
	Steps func(p plan) []step
	// Packages are Debian's that its machines have beside what all have.
	Packages []string
	// Finish, if not nil, is how it ends, instead of with an audit.
	Finish func(context.Context, *world, *report) error
}

// plan is a set-up.
type plan struct {
	Machines []string // pc1, pc2, …
	SFUs     []sfu
	// OneNIC means that the machines have no interconnect of their own: frames go by
	// UDP over the only network.
	OneNIC bool
	// Previous means that the machines begin with the release before this one.
	Previous bool
	// Later are SFUs that steps add, in that order; Types are those of SFUs that are not
	// of type all.
	Later []sfu
	Types map[string]string
}

// gatewayPort is the first SFU's of a machine, and the next ones count on.
const gatewayPort = 7400

// gateway is where clients reach an SFU.
func (p plan) gateway(name string) string {
	m, i := p.machineOf(name), 0
	for _, s := range p.all() {
		if s.Name == name {
			break
		}
		if s.Machine == m {
			i++
		}
	}
	return fmt.Sprintf("%s.example:%d", m, gatewayPort+i)
}

// sfu is one SFU. Its number is its place in the plan, from 1.
type sfu struct{ Name, Machine string }

// all lists the SFUs in the order in which they are added.
func (p plan) all() []sfu { return slices.Concat(p.SFUs, p.Later) }

// number of the SFU on the interconnect and in the group, as long as none was replaced.
func (p plan) number(name string) int {
	return 1 + slices.IndexFunc(p.all(), func(s sfu) bool { return s.Name == name })
}

// machineOf is where an SFU runs.
func (p plan) machineOf(name string) string { return p.all()[p.number(name)-1].Machine }

// stateful reports whether an SFU holds the ledger.
func (p plan) stateful(name string) bool { return p.Types[name] == "" }

// witness reports whether an SFU votes and holds nothing but the log; it has no gateway.
func (p plan) witness(name string) bool { return p.Types[name] == "witness" }

// on lists the SFUs of a machine.
func (p plan) on(machine string) []sfu {
	return slices.DeleteFunc(slices.Clone(p.SFUs), func(s sfu) bool { return s.Machine != machine })
}

// notOn lists the SFUs of the other machines.
func (p plan) notOn(machine string) []sfu {
	return slices.DeleteFunc(slices.Clone(p.SFUs), func(s sfu) bool { return s.Machine == machine })
}

// wired reports whether a machine has cards on networks A and B.
func (p plan) wired(machine string) bool {
	return !p.OneNIC && slices.ContainsFunc(p.on(machine), func(s sfu) bool { return !p.witness(s.Name) })
}

// step is one thing that happens.
type step struct {
	Name string
	// Planned is what an operator does on purpose: no request may fail.
	Planned bool
	// Halts says that no payment can be answered until a later step: what is left is
	// less than a quorum.
	Halts bool
	Do    func(context.Context, *world) error
	// Errors are what SFUs say at priority err because of it, by a part of each: in
	// other steps that is a fault.
	Errors []string
	// Seen is what must be readable in the journals afterwards.
	Seen []seen
}

// seen is a line that a machine's journal must have since the step began: one of
// an SFU or, without one, of anybody.
type seen struct {
	Machine string
	SFU     string
	Text    string // what the message holds
	Alarm   string // or the alarm that was raised, with its subject if it has one: peer-lost@2
	Ended   bool   // or that ended
}

func (s seen) String() string {
	who := s.Machine
	if s.SFU != "" {
		who = s.SFU + " on " + s.Machine
	}
	switch {
	case s.Alarm == "":
		return fmt.Sprintf("%s says %q", who, s.Text)
	case s.Ended:
		return who + " says that the alarm " + s.Alarm + " has ended"
	}
	return who + " raises the alarm " + s.Alarm
}

// in reports whether the journal entry is the line.
func (s seen) in(e *nspawn.Entry) bool {
	if s.SFU != "" && e.Fields["_SYSTEMD_UNIT"] != "rrts@"+s.SFU+".service" {
		return false
	}
	if s.Alarm == "" {
		return strings.Contains(e.Message(), s.Text)
	}
	kind, _, _ := strings.Cut(s.Alarm, "@")
	return e.Fields["MESSAGE_ID"] == sysd.MessageID(kind) && e.Fields["RRTS_ALARM"] == s.Alarm &&
		strings.HasPrefix(e.Message(), "Alarm ended") == s.Ended
}

// three is the set-up of the README.
var three = plan{
	Machines: []string{"pc1", "pc2", "pc3"},
	SFUs:     []sfu{{"alpha", "pc1"}, {"bravo", "pc2"}, {"carol", "pc3"}},
}

// solo is the smallest set-up that survives the stop of an SFU: of software, not of
// hardware.
var solo = plan{
	Machines: []string{"pc1"},
	SFUs:     []sfu{{"alpha", "pc1"}, {"bravo", "pc1"}, {"carol", "pc1"}},
}

// two is the two-PC shop.
var two = plan{
	Machines: []string{"pc1", "pc2"},
	SFUs:     []sfu{{"alpha", "pc1"}, {"bravo", "pc2"}},
}

// twoAndWitness is the two-PC shop with a third box in a corner, which has one card and
// nothing of the interconnect.
var twoAndWitness = plan{
	Machines: []string{"pc1", "pc2", "box"},
	SFUs:     []sfu{{"alpha", "pc1"}, {"bravo", "pc2"}, {"witness", "box"}},
	Types:    map[string]string{"witness": "witness"},
}

// changing is a cluster whose machines and disks come and go.
var changing = plan{
	Machines: []string{"pc1", "pc2", "pc3"}, SFUs: three.SFUs,
	Later: []sfu{{"edge", "pc1"}, {"delta", "pc3"}}, Types: map[string]string{"edge": "edge"},
}

// oneNIC is a shop whose machines have one network card each.
var oneNIC = plan{Machines: three.Machines, SFUs: three.SFUs, OneNIC: true}

// old is a cluster that runs the release before this one.
var old = plan{Machines: three.Machines, SFUs: three.SFUs, Previous: true}

func scenarios() []Scenario {
	return []Scenario{
		{Name: "three", About: "three machines with two networks: every SFU stopped, machines killed and rebooted, networks cut", Plan: three, Steps: threeSteps},
		{Name: "solo", About: "one machine with three SFUs, one of which votes: each stopped, one killed, the machine rebooted", Plan: solo, Steps: soloSteps},
		{Name: "two", About: "two machines: each SFU stopped; a machine killed, for which the survivor waits; killed again, and the survivor goes on alone when it is told to", Plan: two, Steps: twoSteps},
		{Name: "witness", About: "two machines, and a witness on a third box by UDP: each stopped, killed, cut off; both killed, and the one that lacks what the other committed comes back first", Plan: twoAndWitness, Steps: witnessSteps},
		{Name: "one-nic", About: "three machines with one network card each, frames by UDP: an SFU stopped, machines killed and rebooted", Plan: oneNIC, Steps: oneNICSteps},
		{Name: "grow", About: "three machines: an SFU added, disks and machines lost and replaced, one removed, backups at night", Plan: changing, Steps: growSteps},
		{Name: "upgrade", About: "three machines with the release before: upgraded one by one, taken back, upgraded again (`make lab-upgrade`)", Plan: old, Steps: upgradeSteps},
		{Name: "recover", About: "three machines: what recover.md says, done: processes, networks, a majority, a journal, certificates, a kit", Plan: three, Steps: recoverSteps},
		{Name: "restore", About: "three machines lost with their disks: the cluster restored from backup and recovery kit on bare ones", Plan: three, Steps: noSteps, Finish: restoring},
		{Name: "alarms", About: "two machines, one with two SFUs: every alarm that can be raised there, the others for trial, each explained by journalctl -x, and mailed", Plan: alarming, Steps: alarmSteps, Finish: alarmsEnd},
		{Name: "components", About: "three machines: what components.md says, done with rrts-dev: programs in Go and Python, killed, restarted, crashed", Plan: three, Packages: componentsPackages, Steps: componentsSteps, Finish: componentsEnd},
		{Name: "quick", About: "three machines: one SFU stopped and started, one machine killed and booted again, one network cut", Plan: three, Steps: quickSteps},
	}
}

// choose returns the scenarios of these names, all of them without a name.
func choose(names []string) ([]Scenario, error) {
	all := scenarios()
	if len(names) == 0 {
		// What quick does, three does too; and not every build has the release before.
		return slices.DeleteFunc(all, func(s Scenario) bool { return s.Name == "quick" || s.Plan.Previous }), nil
	}
	var chosen []Scenario
	for _, n := range names {
		i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == n })
		if i < 0 {
			var known []string
			for _, s := range all {
				known = append(known, s.Name)
			}
			return nil, fmt.Errorf("there is no scenario %q; there are %s", n, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func noSteps(plan) []step { return nil }

func quickSteps(p plan) []step {
	return slices.Concat(
		stopAndStart(p, p.SFUs[0].Name),
		killAndBoot(p, p.Machines[1], false),
		switchOffAndOn(p, "A"),
	)
}

func threeSteps(p plan) []step {
	var all []step
	for _, s := range p.SFUs {
		all = append(all, stopAndStart(p, s.Name)...)
	}
	all = append(all, killAndBoot(p, leaders, false)...)
	all = append(all, killAndBoot(p, p.Machines[1], false)...)
	for _, n := range []string{"A", "B"} {
		all = append(all, switchOffAndOn(p, n)...)
		all = append(all, pullAndPlug(p, p.Machines[2], n)...)
	}
	for _, m := range p.Machines {
		all = append(all, reboot(p, m))
	}
	return all
}

// soloSteps: one SFU of a machine votes, and its seat moves to a follower of the same
// machine when it stops.
func soloSteps(p plan) []step {
	voter := stopAndStart(p, p.SFUs[0].Name)
	voter[0].Seen = append(voter[0].Seen, seen{Machine: p.SFUs[0].Machine, SFU: p.SFUs[0].Name, Text: "a vote moves to another SFU of its machine"})
	return slices.Concat(
		stopAndStart(p, p.SFUs[1].Name),
		stopAndStart(p, p.SFUs[2].Name),
		voter,
		stopAndStart(p, p.SFUs[1].Name), // which votes now
		[]step{crash(p, p.SFUs[2].Name), rebootAll(p)},
	)
}

func twoSteps(p plan) []step {
	var all []step
	for _, s := range p.SFUs {
		all = append(all, stopAndStart(p, s.Name)...)
	}
	all = append(all, killAndBoot(p, p.Machines[1], true)...)
	all = append(all, switchOffAndOn(p, "B")...)
	return append(all, forceAndReplace(p)...)
}

// witnessSteps: any one of three may go, and it matters to nobody whether it is the
// witness. In the end one machine is away, the other goes on with the witness and goes
// too, and the first comes back: only the witness holds what it lacks.
func witnessSteps(p plan) []step {
	var all []step
	for _, s := range p.SFUs {
		all = append(all, stopAndStart(p, s.Name)...)
	}
	all = append(all, killAndBoot(p, leaders, false)...)
	for _, m := range p.Machines[1:] {
		all = append(all, killAndBoot(p, m, false)...)
	}
	for _, n := range []string{"A", "B"} {
		all = append(all, switchOffAndOn(p, n)...)
		all = append(all, pullAndPlug(p, p.Machines[1], n)...)
	}
	all = append(all, cutOffAndBack(p, p.Machines[2])...)
	all = append(all, outOfTheLog(p, p.Machines[0], p.Machines[1], p.SFUs[2])...)
	for _, m := range p.Machines {
		all = append(all, reboot(p, m))
	}
	return all
}

func oneNICSteps(p plan) []step {
	return slices.Concat(
		stopAndStart(p, p.SFUs[2].Name),
		killAndBoot(p, leaders, false),
		[]step{reboot(p, p.Machines[1])},
	)
}
