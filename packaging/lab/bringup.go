package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

const (
	passphrase     = "lab passphrase of some words"
	passphraseFile = "root/passphrase"
	kitFile        = "/root/shop-recovery-kit.txt"
	interconnectIn = 7401 // UDP port where there is one network card
)

// begin makes a cluster of the plan's first SFU with what an operator types, and
// starts the payments as soon as a transaction can be committed.
func (w *world) begin(ctx context.Context) error {
	first := w.plan.SFUs[0]
	for _, s := range w.plan.SFUs[1:] {
		w.down[s.Name] = true
	}
	w.installing, w.master = time.Now(), first.Machine
	if err := w.install(ctx, first.Machine); err != nil {
		return err
	}
	// At a terminal it would be asked for.
	if err := w.machine(first.Machine).WriteFile(passphraseFile, []byte(passphrase+"\n"), 0o600); err != nil {
		return err
	}
	command := fmt.Sprintf("rrts init --name shop --kit %s --passphrase-file /%s --sfu %s,gateway=%s", kitFile, passphraseFile, first.Name, w.plan.gateway(first.Name))
	if w.plan.OneNIC {
		command += fmt.Sprintf(",udp_a=%s:%d --carrier udp", w.plan.address(first.Machine), interconnectIn)
	}
	for _, c := range []string{command, "systemctl enable --now rrts@" + first.Name} {
		if _, err := w.operator(ctx, first.Machine, c); err != nil {
			return err
		}
	}
	if _, err := w.operator(ctx, first.Machine, `rrts user add --role operator "Lab"`, loginName+"\n"+password+"\n"); err != nil {
		return err
	}
	if err := w.copy(first.Machine, "/etc/rrts/client-kit.toml", clientMachine, "/root/client-kit.toml"); err != nil {
		return err
	}
	return w.startPayments()
}

// install installs the package with apt from the repository.
func (w *world) install(ctx context.Context, machine string) error {
	for _, command := range []string{
		"curl -fsS -o /usr/share/keyrings/rrts.gpg http://" + aptHost + "/rrts.gpg",
		"curl -fsS -o /etc/apt/sources.list.d/rrts.sources http://" + aptHost + "/rrts.sources",
		"apt update",
		w.aptInstall(),
	} {
		if _, err := w.operator(ctx, machine, command); err != nil {
			return err
		}
	}
	return nil
}

// aptInstall is the command that installs the release with which the machines begin.
func (w *world) aptInstall() string {
	if w.plan.Previous {
		return "apt install -y rrts=" + w.previous
	}
	return "apt install -y rrts"
}

// copy copies a file between machines, as scp does.
func (w *world) copy(from, path, to, there string) error {
	w.commands++
	w.say("%s# scp %s %s:%s", from, path, to, there)
	data, err := os.ReadFile(filepath.Join(w.machine(from).Root(), path))
	if err != nil {
		return err
	}
	return w.machine(to).WriteFile(there, data, 0o600)
}

// growing is what makes the begun cluster the plan's: payments go on meanwhile.
func growing(p plan) []step {
	var all []step
	for _, s := range p.SFUs[1:] {
		st := step{
			Planned: true,
			Seen:    []seen{{Machine: s.Machine, SFU: s.Name, Text: "ready"}, {Machine: s.Machine, Text: "Started rrts@" + s.Name + ".service"}},
		}
		if s.Machine == p.SFUs[0].Machine {
			st.Name = "rrts sfu add " + s.Name
			st.Do = func(ctx context.Context, w *world) error { return w.sfuAdd(ctx, s) }
		} else {
			st.Name = "rrts node add " + s.Machine
			st.Do = func(ctx context.Context, w *world) error { return w.nodeAdd(ctx, s) }
		}
		all = append(all, st)
	}
	return all
}

// sfuAdd adds an SFU to the machine with the master keys.
func (w *world) sfuAdd(ctx context.Context, s sfu) error {
	_, err := w.operator(ctx, s.Machine, fmt.Sprintf("rrts sfu add %s --gateway %s", s.Name, w.plan.gateway(s.Name)))
	w.down[s.Name] = err != nil
	return err
}

// joinLine is what `rrts node add` prints for the new machine.
var joinLine = regexp.MustCompile(`rrts node join \S+ \S+`)

// nodeAdd adds a machine: the one line that the first machine prints is typed at it.
func (w *world) nodeAdd(ctx context.Context, s sfu) error {
	if err := w.install(ctx, s.Machine); err != nil {
		return err
	}
	command := fmt.Sprintf("rrts node add %s --sfu %s --gateway %s", s.Machine, s.Name, w.plan.gateway(s.Name))
	if w.plan.witness(s.Name) {
		command = fmt.Sprintf("rrts node add %s --type witness", s.Machine)
	} else if w.plan.OneNIC {
		command += fmt.Sprintf(" --udp-a %s:%d", w.plan.address(s.Machine), interconnectIn)
	}
	return w.join(ctx, command, s)
}

// join types a command at the machine with the master keys, and the line that it
// prints at the machine of the SFU that joins.
func (w *world) join(ctx context.Context, command string, s sfu) error {
	waiting, err := w.window(ctx, w.master, command)
	if err != nil {
		return err
	}
	defer waiting.cancel()
	line, err := waiting.await(ctx, joinLine)
	if err != nil {
		return err
	}
	if _, err := w.operator(ctx, s.Machine, line); err != nil {
		return err
	}
	if _, err := waiting.wait(); err != nil {
		return err
	}
	w.down[s.Name] = false
	return nil
}
