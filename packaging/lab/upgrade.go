package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// packageVersion finds the versions of rrts in the index of a repository.
var packageVersion = regexp.MustCompile(`(?m)^Package: rrts\n(?:.+\n)*?Version: (\S+)$`)

// previousVersion is the version of rrts in a repository that is not the newest.
func previousVersion(repository string) (string, error) {
	index, err := os.ReadFile(filepath.Join(repository, "dists/stable/main/binary-amd64/Packages"))
	if err != nil {
		return "", fmt.Errorf("the repository: %w: run `make lab-upgrade`", err)
	}
	var versions []string
	for _, m := range packageVersion.FindAllSubmatch(index, -1) {
		versions = append(versions, string(m[1]))
	}
	if len(versions) != 2 {
		return "", fmt.Errorf("the repository has %q of rrts, it takes this release and the one before: run `make lab-upgrade`", versions)
	}
	return slices.Min(versions), nil // both are three numbers below 10
}

// upgradeSteps: every machine gets this release while the others still run the one
// before, then all go back, and forward again.
func upgradeSteps(p plan) []step {
	var forward, back []step
	for _, m := range p.Machines {
		forward = append(forward, upgradeMachine(p, m))
		back = append(back, takeBack(p, m))
	}
	return slices.Concat(forward, back, forward)
}

// restarted is what the journals say of a machine's SFUs.
func restarted(p plan, machine string) []seen {
	var all []seen
	for _, s := range p.on(machine) {
		all = append(all, seen{Machine: machine, SFU: s.Name, Text: "Engine drains"}, seen{Machine: machine, SFU: s.Name, Text: "ready"})
	}
	return all
}

// upgradeMachine installs this release, which restarts nothing, and has it run.
func upgradeMachine(p plan, machine string) step {
	return step{
		Name: "rrts upgrade on " + machine, Planned: true, Seen: restarted(p, machine),
		Do: func(ctx context.Context, w *world) error {
			before, err := w.processes(ctx, machine)
			if err != nil {
				return err
			}
			if _, err := w.operator(ctx, machine, "apt install -y rrts"); err != nil {
				return err
			}
			after, err := w.processes(ctx, machine)
			if err != nil {
				return err
			}
			if before != after {
				return fmt.Errorf("installing the package restarted SFUs of %s: processes %q before, %q after", machine, before, after)
			}
			if _, err := w.operator(ctx, machine, "rrts upgrade"); err != nil {
				return err
			}
			now, err := w.processes(ctx, machine)
			if err == nil && now == before {
				err = errors.New("rrts upgrade restarted nothing on " + machine)
			}
			return err
		},
	}
}

// takeBack installs the release before. The first one has no command for it: its SFUs
// are stopped and started.
func takeBack(p plan, machine string) step {
	return step{
		Name: "the release before again on " + machine, Planned: true, Seen: restarted(p, machine),
		Do: func(ctx context.Context, w *world) error {
			commands := []string{"apt install -y --allow-downgrades rrts=" + w.previous}
			for _, s := range p.on(machine) {
				commands = append(commands, "rrts sfu stop "+s.Name, "rrts sfu start "+s.Name)
			}
			for _, c := range commands {
				if _, err := w.operator(ctx, machine, c); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// processes lists the SFUs' processes of a machine.
func (w *world) processes(ctx context.Context, machine string) (string, error) {
	var all string
	for _, s := range w.plan.on(machine) {
		pid, err := w.machine(machine).Output(ctx, "systemctl", "show", "-P", "MainPID", "rrts@"+s.Name)
		if err != nil {
			return "", err
		}
		all += s.Name + " " + pid
	}
	return all, nil
}
