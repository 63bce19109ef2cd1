package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// bringUp makes the plan's cluster with what an operator types, and starts the
// payments as soon as a transaction can be committed.
func (w *world) bringUp(ctx context.Context) error {
	w.installing = time.Now()
	for _, m := range w.plan.Machines {
		if err := w.install(ctx, m); err != nil {
			return err
		}
	}
	if err := w.makeStatic(ctx); err != nil {
		return err
	}
	for _, s := range w.plan.SFUs {
		if _, err := w.operator(ctx, s.Machine, "systemctl enable --now --no-block rrts@"+s.Name); err != nil {
			return err
		}
	}
	if err := w.settle(ctx, nil, w.installing); err != nil {
		return err
	}
	first := w.plan.Machines[0]
	if _, err := w.operator(ctx, first, `rrts user add "Lab"`, loginName+"\n"+password+"\n"); err != nil {
		return err
	}
	if err := w.copy(first, "/etc/rrts/client-kit.toml", clientMachine, "/root/client-kit.toml"); err != nil {
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
		"apt install -y rrts",
	} {
		if _, err := w.operator(ctx, machine, command); err != nil {
			return err
		}
	}
	return nil
}

// copy copies a file between machines, as scp does.
func (w *world) copy(from, path, to, there string) error {
	w.commands++
	w.say("%s# scp %s %s:%s", from, path, to, there)
	data, err := os.ReadFile(filepath.Join(w.machine(from).Root(), path))
	if err != nil {
		return err
	}
	return w.machine(to).WriteFile(there, data, 0o644)
}

// makeStatic makes the whole cluster on the first machine and copies each other
// machine's part.
func (w *world) makeStatic(ctx context.Context) error {
	first := w.plan.Machines[0]
	command := "rrts init --name shop --machine " + first
	if w.plan.OneNIC {
		command += " --carrier udp"
	} else {
		command += fmt.Sprintf(" --nic-a %s --nic-b %s", card("A"), card("B"))
	}
	for _, s := range w.plan.SFUs {
		command += fmt.Sprintf(" --sfu %s,machine=%s,gateway=%s", s.Name, s.Machine, w.plan.gateway(s.Name))
		if w.plan.OneNIC {
			command += fmt.Sprintf(",udp_a=%s:7401", w.plan.address(s.Machine))
		}
	}
	if _, err := w.operator(ctx, first, command); err != nil {
		return err
	}
	for _, m := range w.plan.Machines {
		if m == first {
			continue
		}
		w.commands++
		w.say("%s# scp -r rrts-cluster/%s/. %s:/etc/rrts", first, m, m)
		from := filepath.Join(w.machine(first).Root(), "root/rrts-cluster", m)
		if err := os.CopyFS(filepath.Join(w.machine(m).Root(), "etc/rrts"), os.DirFS(from)); err != nil {
			return err
		}
		own := []string{"chgrp -R rrts /etc/rrts", "chmod -R o= /etc/rrts", "chmod -R go= /etc/rrts/keys"}
		for _, s := range w.plan.on(m) {
			own = append(own, "install -d -o rrts -g rrts -m 700 /var/lib/rrts/"+s.Name, "install -o rrts -g rrts /dev/null /var/lib/rrts/"+s.Name+"/birth")
		}
		if !w.plan.OneNIC {
			nics := fmt.Sprintf("name = %q\n[network_a]\nnic = %q\n[network_b]\nnic = %q\n", m, card("A"), card("B"))
			if err := w.machine(m).WriteFile("etc/rrts/machine.toml", []byte(nics), 0o644); err != nil {
				return err
			}
		}
		if _, err := w.operator(ctx, m, strings.Join(own, " && ")); err != nil {
			return err
		}
	}
	return nil
}
