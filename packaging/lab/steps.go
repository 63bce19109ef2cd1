package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"virtualservicesinc.com/packaging/lab/nspawn"
)

// leaders stands for the machine whose SFU leads when the step begins.
const leaders = "leader"

// stopAndStart is a planned stop of an SFU with systemctl, and its start.
func stopAndStart(p plan, name string) []step {
	m := p.machineOf(name)
	return []step{
		{
			Name: "systemctl stop rrts@" + name, Planned: true,
			Do: func(ctx context.Context, w *world) error { return w.systemctl(ctx, m, "stop", name) },
			Seen: []seen{
				{Machine: m, SFU: name, Text: "Engine drains"}, {Machine: m, SFU: name, Text: "Engine stopped"},
				{Machine: m, Text: "Stopped rrts@" + name + ".service"},
			},
		},
		{
			Name: "systemctl start rrts@" + name, Planned: true,
			Do:   func(ctx context.Context, w *world) error { return w.systemctl(ctx, m, "start", name) },
			Seen: []seen{{Machine: m, SFU: name, Text: "ready"}, {Machine: m, Text: "Started rrts@" + name + ".service"}},
		},
	}
}

// killAndBoot pulls a machine's plug and switches it on again. Without its SFUs the
// others may be less than a quorum: then it halts.
func killAndBoot(p plan, machine string, halts bool) []step {
	var lost, back []seen
	if machine != leaders {
		for _, gone := range p.on(machine) {
			for _, other := range p.notOn(machine) {
				alarm := fmt.Sprintf("peer-lost@%d", p.number(gone.Name))
				lost = append(lost, seen{Machine: other.Machine, SFU: other.Name, Alarm: alarm})
				back = append(back, seen{Machine: other.Machine, SFU: other.Name, Alarm: alarm, Ended: true})
			}
			back = append(back, seen{Machine: machine, SFU: gone.Name, Text: "ready"})
		}
		for _, s := range p.notOn(machine) {
			if halts {
				lost = append(lost, seen{Machine: s.Machine, SFU: s.Name, Alarm: "no-leader"})
				back = append(back, seen{Machine: s.Machine, SFU: s.Name, Alarm: "no-leader", Ended: true})
			}
		}
	}
	return []step{
		{
			Name: "kill " + name(machine), Halts: halts, Seen: lost,
			Do: func(ctx context.Context, w *world) error { return w.kill(ctx, machine) },
		},
		{
			Name: "boot " + name(machine), Seen: back,
			Do: func(ctx context.Context, w *world) error { return w.boot(ctx, machine) },
		},
	}
}

func name(machine string) string {
	if machine == leaders {
		return "the leader's machine"
	}
	return machine
}

// switchOffAndOn takes the switch of a network away: cards keep their carrier,
// frames vanish. Every SFU then hears every other on one network only.
func switchOffAndOn(p plan, network string) []step {
	var off, on []seen
	for _, s := range p.SFUs {
		for _, other := range p.notOn(s.Machine) {
			if p.witness(s.Name) || p.witness(other.Name) {
				continue
			}
			alarm := fmt.Sprintf("network-%s-down@%d", strings.ToLower(network), p.number(other.Name))
			off = append(off, seen{Machine: s.Machine, SFU: s.Name, Alarm: alarm})
			on = append(on, seen{Machine: s.Machine, SFU: s.Name, Alarm: alarm, Ended: true})
		}
	}
	return []step{
		{
			Name: "switch of network " + network + " off", Planned: true, Seen: off,
			Do: func(_ context.Context, w *world) error { return w.site.SetBridge(bridge(network), false) },
		},
		{
			Name: "switch of network " + network + " on", Planned: true, Seen: on,
			Do: func(_ context.Context, w *world) error { return w.site.SetBridge(bridge(network), true) },
		},
	}
}

// pullAndPlug pulls one machine's cable of a network: the machine's card loses its
// carrier, the others miss the machine on that network.
func pullAndPlug(p plan, machine, network string) []step {
	kind := "network-" + strings.ToLower(network) + "-down"
	var out, in []seen
	for _, s := range p.on(machine) {
		out = append(out, seen{Machine: machine, SFU: s.Name, Alarm: kind})
		in = append(in, seen{Machine: machine, SFU: s.Name, Alarm: kind, Ended: true})
		for _, other := range p.notOn(machine) {
			if p.witness(other.Name) {
				continue
			}
			alarm := fmt.Sprintf("%s@%d", kind, p.number(s.Name))
			out = append(out, seen{Machine: other.Machine, SFU: other.Name, Alarm: alarm})
			in = append(in, seen{Machine: other.Machine, SFU: other.Name, Alarm: alarm, Ended: true})
		}
	}
	return []step{
		{
			Name: "cable " + network + " of " + machine + " out", Planned: true, Seen: out,
			Do: func(_ context.Context, w *world) error { return w.machine(machine).SetCable(card(network), false) },
		},
		{
			Name: "cable " + network + " of " + machine + " in", Planned: true, Seen: in,
			Do: func(_ context.Context, w *world) error { return w.machine(machine).SetCable(card(network), true) },
		},
	}
}

// cutOffAndBack pulls the only cable of a machine that the others can spare.
func cutOffAndBack(p plan, machine string) []step {
	var out, in []seen
	for _, s := range p.on(machine) {
		for _, other := range p.notOn(machine) {
			alarm := fmt.Sprintf("peer-lost@%d", p.number(s.Name))
			out = append(out, seen{Machine: other.Machine, SFU: other.Name, Alarm: alarm})
			in = append(in, seen{Machine: other.Machine, SFU: other.Name, Alarm: alarm, Ended: true})
		}
	}
	cut := func(on bool) func(context.Context, *world) error {
		return func(_ context.Context, w *world) error {
			for _, s := range p.on(machine) {
				w.down[s.Name] = !on
			}
			return w.machine(machine).SetCable(lanCard, on)
		}
	}
	return []step{
		{Name: "only cable of " + machine + " out", Planned: true, Seen: out, Do: cut(false)},
		{Name: "only cable of " + machine + " in", Planned: true, Seen: in, Do: cut(true)},
	}
}

// outOfTheLog kills one machine, and then the other, which has gone on with the witness
// meanwhile; the first one comes back alone, and has to go on with what it never got.
func outOfTheLog(p plan, second, first string, witness sfu) []step {
	kill := func(machine string) func(context.Context, *world) error {
		return func(ctx context.Context, w *world) error { return w.kill(ctx, machine) }
	}
	boot := func(machine string) func(context.Context, *world) error {
		return func(ctx context.Context, w *world) error { return w.boot(ctx, machine) }
	}
	wit := seen{Machine: witness.Machine, SFU: witness.Name}
	alarm, ended, led := wit, wit, wit
	alarm.Alarm, ended.Alarm, ended.Ended = "no-leader", "no-leader", true
	led.Text = "leads until another SFU has caught up"
	return []step{
		{Name: "kill " + first, Do: kill(first)},
		{Name: "kill " + second + ", too", Do: kill(second), Halts: true, Seen: []seen{alarm}},
		{Name: "boot " + first + " alone", Do: boot(first), Seen: []seen{led, ended, {Machine: first, SFU: p.on(first)[0].Name, Text: "ready"}}},
		{Name: "boot " + second, Do: boot(second), Seen: []seen{{Machine: second, SFU: p.on(second)[0].Name, Text: "ready"}}},
	}
}

// reboot is a planned reboot of a whole machine.
func reboot(p plan, machine string) step {
	s := step{
		Name: "systemctl reboot on " + machine, Planned: true,
		Do: func(ctx context.Context, w *world) error {
			w.say("%s# systemctl reboot", machine)
			return w.machine(machine).Reboot(ctx)
		},
	}
	for _, own := range p.on(machine) {
		s.Seen = append(s.Seen, seen{Machine: machine, SFU: own.Name, Text: "Engine drains"}, seen{Machine: machine, SFU: own.Name, Text: "ready"})
	}
	return s
}

// forceAndReplace: the second machine is lost, and the first goes on alone when its operator
// says so. The second one comes back, is overruled, and gets a new identity.
func forceAndReplace(p plan) []step {
	first, second := p.SFUs[0], p.SFUs[1]
	by := func(s sfu, alarm string, ended bool) seen {
		return seen{Machine: s.Machine, SFU: s.Name, Alarm: alarm, Ended: ended}
	}
	kill := killAndBoot(p, second.Machine, true)[0]
	return []step{
		kill,
		{
			Name: "rrts quorum force on " + first.Machine,
			Do: func(ctx context.Context, w *world) error {
				_, err := w.operator(ctx, first.Machine, "rrts quorum force --other-is-off --yes")
				return err
			},
			Seen: []seen{by(first, "quorum-forced", false), by(first, "solo", false), by(first, "no-leader", true)},
		},
		{
			Name: "boot " + second.Machine + ", overruled",
			Do: func(ctx context.Context, w *world) error {
				err := w.boot(ctx, second.Machine)
				w.down[second.Name] = true // it hears that it was overruled, and stops
				var failed *nspawn.FailedUnitsError
				if errors.As(err, &failed) && failed.Only("rrts@"+second.Name+".service") {
					return nil
				}
				return err
			},
			Seen: []seen{
				by(second, "overruled", false), {Machine: second.Machine, SFU: second.Name, Text: "no transaction of this SFU is overruled"},
				{Machine: second.Machine, SFU: second.Name, Text: "stopped for good"},
			},
		},
		{
			Name: "rrts sfu replace " + second.Name, Planned: true,
			Do: func(ctx context.Context, w *world) error { return w.join(ctx, "rrts sfu replace "+second.Name, second) },
			Seen: []seen{
				{Machine: second.Machine, SFU: second.Name, Text: "ready"},
				by(first, "quorum-forced", true), by(first, "solo", true),
			},
		},
	}
}

// rebootAll is a reboot of the only machine: payments have to wait for it.
func rebootAll(p plan) step {
	s := reboot(p, p.Machines[0])
	s.Planned = false
	return s
}

// crash kills the process of an SFU; systemd starts it again.
func crash(p plan, name string) step {
	m := p.machineOf(name)
	return step{
		Name: "kill the process of " + name,
		Do: func(ctx context.Context, w *world) error {
			w.say("%s# systemctl kill --signal=KILL rrts@%s", m, name)
			_, err := w.machine(m).Output(ctx, "systemctl", "kill", "--signal=KILL", "rrts@"+name)
			return err
		},
		Seen: []seen{
			{Machine: m, Text: "rrts@" + name + ".service: Main process exited, code=killed, status=9/KILL"},
			{Machine: m, SFU: name, Text: "ready"},
		},
	}
}
