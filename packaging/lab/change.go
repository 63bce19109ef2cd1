package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	backupTarget = "/mnt/backup"
	// safe is where the client machine keeps the recovery kit.
	safe = "/root/safe-recovery-kit.txt"
)

// growSteps are what happens to a cluster over the years. Nobody who pays is to notice
// any of it: every step is planned, but the three in which something breaks.
func growSteps(p plan) []step {
	alpha, bravo, carol, edge, delta := p.SFUs[0], p.SFUs[1], p.SFUs[2], p.Later[0], p.Later[1]
	ready := func(s sfu) seen { return seen{Machine: s.Machine, SFU: s.Name, Text: "ready"} }
	return []step{
		{
			Name: "rrts sfu add edge --type edge", Planned: true, Seen: []seen{ready(edge)},
			Do: func(ctx context.Context, w *world) error { return w.add(ctx, edge) },
		},
		{
			Name: "the state of carol is lost", Errors: []string{"cannot start"},
			Do:   func(ctx context.Context, w *world) error { return w.loseState(ctx, carol) },
			Seen: []seen{{Machine: alpha.Machine, SFU: alpha.Name, Alarm: "peer-lost@3"}, {Machine: carol.Machine, SFU: carol.Name, Text: "cannot start"}},
		},
		{
			Name: "rrts sfu replace carol, same machine", Planned: true,
			Do:   func(ctx context.Context, w *world) error { return w.join(ctx, "rrts sfu replace "+carol.Name, carol) },
			Seen: []seen{ready(carol), {Machine: alpha.Machine, SFU: alpha.Name, Alarm: "peer-lost@3", Ended: true}},
		},
		{
			Name: bravo.Machine + " burns down, with its disk",
			Do:   func(ctx context.Context, w *world) error { return w.burn(ctx, bravo.Machine) },
			Seen: []seen{{Machine: alpha.Machine, SFU: alpha.Name, Alarm: "peer-lost@2"}},
		},
		{
			Name: "rrts sfu replace bravo, bare machine", Planned: true,
			Do:   func(ctx context.Context, w *world) error { return w.replaceOnBare(ctx, bravo) },
			Seen: []seen{ready(bravo), {Machine: alpha.Machine, SFU: alpha.Name, Alarm: "peer-lost@2", Ended: true}},
		},
		{
			Name: "rrts sfu remove carol, which is off", Planned: true,
			Do: func(ctx context.Context, w *world) error { return w.removeStopped(ctx, carol) },
		},
		{
			Name: "a target for backups in machine.toml of " + bravo.Machine, Planned: true,
			Do:   func(ctx context.Context, w *world) error { return w.setTarget(bravo) },
			Seen: []seen{{Machine: bravo.Machine, SFU: bravo.Name, Alarm: "backup-missing"}},
		},
		{
			Name: "systemctl start rrts-backup", Planned: true,
			Do: func(ctx context.Context, w *world) error { return w.backUp(ctx, bravo) },
			Seen: []seen{
				{Machine: bravo.Machine, SFU: bravo.Name, Alarm: "backup-missing", Ended: true},
				{Machine: bravo.Machine, Text: "Finished rrts-backup.service"},
			},
		},
		{
			Name: "carol is started again", Planned: true, Errors: []string{"stopped for good"},
			Do:   func(ctx context.Context, w *world) error { return w.startRemoved(ctx, carol) },
			Seen: []seen{{Machine: carol.Machine, SFU: carol.Name, Text: "is not in the cluster by roster"}},
		},
		{
			Name: "rrts node add for delta on " + delta.Machine, Planned: true, Seen: []seen{ready(delta)},
			Do: func(ctx context.Context, w *world) error { return w.addAfterRemoved(ctx, carol, delta) },
		},
		{
			Name: alpha.Machine + " burns down, with the master keys",
			Do:   func(ctx context.Context, w *world) error { return w.burn(ctx, alpha.Machine) },
			Seen: []seen{{Machine: bravo.Machine, SFU: bravo.Name, Alarm: "peer-lost@1"}, {Machine: delta.Machine, SFU: delta.Name, Alarm: "peer-lost@1"}},
		},
		{
			Name: "rrts kit open, rrts sfu replace alpha", Planned: true,
			Do:   func(ctx context.Context, w *world) error { return w.replaceMaster(ctx, bravo.Machine, alpha) },
			Seen: []seen{ready(alpha), {Machine: bravo.Machine, SFU: bravo.Name, Alarm: "peer-lost@1", Ended: true}},
		},
		{
			Name: "rrts sfu remove edge, which is gone", Planned: true,
			Do:   func(ctx context.Context, w *world) error { return w.remove(ctx, edge) },
			Seen: []seen{{Machine: bravo.Machine, SFU: bravo.Name, Alarm: "peer-lost@4", Ended: true}},
		},
	}
}

// joined and left keep the plan what the cluster is.
func (w *world) joined(s sfu) {
	w.plan.SFUs = append(slices.Clone(w.plan.SFUs), s)
	w.down[s.Name] = false
}

func (w *world) left(s sfu) {
	w.plan.SFUs = slices.DeleteFunc(slices.Clone(w.plan.SFUs), func(o sfu) bool { return o == s })
}

// add adds a further SFU to the machine with the master keys. The recovery kit is put
// in the safe.
func (w *world) add(ctx context.Context, s sfu) error {
	if err := w.copy(w.master, kitFile, clientMachine, safe); err != nil {
		return err
	}
	command := fmt.Sprintf("rrts sfu add %s --type %s --gateway %s", s.Name, w.plan.Types[s.Name], w.plan.gateway(s.Name))
	if _, err := w.operator(ctx, s.Machine, command); err != nil {
		return err
	}
	w.joined(s)
	return nil
}

// setTarget edits machine.toml as an operator does; nothing is restarted.
func (w *world) setTarget(s sfu) error {
	m := w.machine(s.Machine)
	path := filepath.Join(m.Root(), "etc/rrts/machine.toml")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const key = "# target ="
	if !strings.Contains(string(data), key) {
		return fmt.Errorf("%s has no %q", path, key)
	}
	w.say("%s# mkdir %s; editor /etc/rrts/machine.toml", s.Machine, backupTarget)
	text := strings.Replace(string(data), key, fmt.Sprintf("target = %q #", backupTarget), 1)
	return errors.Join(os.Mkdir(filepath.Join(m.Root(), backupTarget), 0o700), os.WriteFile(path, []byte(text), 0o640))
}

// backUp takes a backup as the timer does.
func (w *world) backUp(ctx context.Context, s sfu) error {
	for _, command := range []string{"systemctl is-active rrts-backup.timer", "systemctl start rrts-backup", "rrts backup list"} {
		if _, err := w.operator(ctx, s.Machine, command); err != nil {
			return err
		}
	}
	return nil
}

// loseState takes the disk with the state of an SFU away under it.
func (w *world) loseState(ctx context.Context, s sfu) error {
	w.say("the disk with the state of %s is lost", s.Name)
	w.down[s.Name] = true
	_, err := w.machine(s.Machine).Output(ctx, "sh", "-c", "systemctl kill --signal=KILL rrts@"+s.Name+"; rm -rf /var/lib/rrts/"+s.Name+"/*")
	return err
}

// burn loses a machine with its disk. A bare one takes its place.
func (w *world) burn(ctx context.Context, machine string) error {
	w.say("%s is lost with its disk; a bare machine is switched on in its place", machine)
	m := w.machine(machine)
	for _, s := range w.plan.on(machine) {
		w.down[s.Name] = true
	}
	if err := errors.Join(m.Kill(), m.Wipe()); err != nil {
		return err
	}
	if err := w.outfit(m); err != nil {
		return err
	}
	return w.bootAll(ctx, []string{machine})
}

// replaceOnBare replaces an SFU whose machine is a bare one now.
func (w *world) replaceOnBare(ctx context.Context, s sfu) error {
	if err := w.install(ctx, s.Machine); err != nil {
		return err
	}
	return w.join(ctx, "rrts sfu replace "+s.Name, s)
}

// replaceMaster replaces the SFU of the machine that had the master keys, which
// another machine gets from the recovery kit.
func (w *world) replaceMaster(ctx context.Context, machine string, s sfu) error {
	if err := w.copy(clientMachine, safe, machine, kitFile); err != nil {
		return err
	}
	if _, err := w.operator(ctx, machine, "rrts kit open "+kitFile, passphrase+"\n"); err != nil {
		return err
	}
	w.master = machine
	return w.replaceOnBare(ctx, s)
}

// remove takes an SFU out of the cluster.
func (w *world) remove(ctx context.Context, s sfu) error {
	if _, err := w.operator(ctx, w.master, "rrts sfu remove "+s.Name); err != nil {
		return err
	}
	w.left(s)
	return nil
}

// removeStopped takes an SFU out of the cluster that does not hear of it.
func (w *world) removeStopped(ctx context.Context, s sfu) error {
	if _, err := w.operator(ctx, s.Machine, "rrts sfu stop "+s.Name); err != nil {
		return err
	}
	w.down[s.Name] = true
	return w.remove(ctx, s)
}

// startRemoved starts an SFU that is out: it must say so, and stay down.
func (w *world) startRemoved(ctx context.Context, s sfu) error {
	w.say("%s# systemctl start rrts@%s", s.Machine, s.Name)
	m := w.machine(s.Machine)
	if out, err := m.Output(ctx, "systemctl", "start", "rrts@"+s.Name); err == nil {
		return fmt.Errorf("%s runs although it was removed: %s", s.Name, out)
	}
	out, err := m.Output(ctx, "systemctl", "show", "--property=ActiveState,NRestarts,ExecMainStatus", "rrts@"+s.Name)
	if err != nil {
		return err
	}
	for _, want := range []string{"ActiveState=failed", "NRestarts=0", "ExecMainStatus=78"} {
		if !strings.Contains(out, want) {
			return fmt.Errorf("rrts@%s was removed; systemd has %q, not %s", s.Name, out, want)
		}
	}
	return nil
}

// addAfterRemoved clears a machine of an SFU that is out, and adds another one to it.
func (w *world) addAfterRemoved(ctx context.Context, old, s sfu) error {
	if _, err := w.operator(ctx, old.Machine, "rrts sfu remove "+old.Name+" --files"); err != nil {
		return err
	}
	command := fmt.Sprintf("rrts node add %s --sfu %s --gateway %s", s.Machine, s.Name, w.plan.gateway(s.Name))
	if err := w.join(ctx, command, s); err != nil {
		return err
	}
	w.joined(s)
	return nil
}
