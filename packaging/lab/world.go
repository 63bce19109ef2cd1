package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"virtualservicesinc.com/packaging/lab/nspawn"
)

const (
	clientMachine = "client"
	// The machines' only network with addresses: management, packages, gateways.
	lanBridge, lanCard = "lan", "eno1"
	lanAddress         = "10.77.0.1"
	// upWithin bounds the boot of a machine, commandWithin an operator's command: the longest
	// compiles Go's library the first time.
	upWithin      = 60 * time.Second
	commandWithin = 5 * time.Minute
)

// bridge and card are an interconnect network's switch and NICs.
func bridge(network string) string { return "net" + network }

func card(network string) string {
	if network == "A" {
		return "enp2s0"
	}
	return "enp3s0"
}

// world is a scenario in progress.
type world struct {
	plan   plan
	o      options
	site   *nspawn.Site
	screen *screen
	payer  *payments

	commands   int             // that the operator typed
	installing time.Time       // when the first of them, apt, began
	down       map[string]bool // SFUs that do not run, by name
	killed     string          // the machine whose plug was pulled last
	master     string          // the machine with the master keys
	previous   string          // the version of the release before this one
	mail       mailroom        // of the scenario alarms
	expected   []string        // parts of what SFUs may call an error: steps caused it

	mu         sync.Mutex
	transcript bytes.Buffer // what was typed, and what it answered
}

// say prints a line for people, and into the transcript.
func (w *world) say(format string, a ...any) {
	w.screen.say(format, a...)
	w.mu.Lock()
	fmt.Fprintf(&w.transcript, "\n%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, a...))
	w.mu.Unlock()
}

// note keeps what a command printed.
func (w *world) note(b []byte) {
	w.mu.Lock()
	w.transcript.Write(b)
	w.mu.Unlock()
}

func (w *world) machine(name string) *nspawn.Machine {
	for _, m := range w.site.Machines() {
		if m.Name() == name {
			return m
		}
	}
	panic("no machine " + name + " in the plan")
}

// address of a machine in the management network.
func (p plan) address(machine string) string {
	for i, m := range p.Machines {
		if m == machine {
			return fmt.Sprintf("10.77.0.%d", 11+i)
		}
	}
	return "10.77.0.100" // the client's
}

// build makes the site and boots its machines, all at once.
func (w *world) build(ctx context.Context, name, root string) (err error) {
	w.site, err = nspawn.New(nspawn.Config{
		Name: name, Root: root, Dir: sitesDir, Stay: w.o.keep,
		Bridges: map[string]string{lanBridge: lanAddress + "/24", bridge("A"): "", bridge("B"): ""},
	})
	if err != nil {
		return err
	}
	all := append([]string{clientMachine}, w.plan.Machines...)
	for _, name := range all {
		nics := []nspawn.NIC{{Name: lanCard, Bridge: lanBridge, Address: w.plan.address(name) + "/24"}}
		if w.plan.wired(name) {
			nics = append(nics, nspawn.NIC{Name: card("A"), Bridge: bridge("A")}, nspawn.NIC{Name: card("B"), Bridge: bridge("B")})
		}
		m, err := w.site.Machine(nspawn.Spec{Name: name, NICs: nics})
		if err == nil {
			err = w.outfit(m)
		}
		if err != nil {
			return err
		}
	}
	return w.bootAll(ctx, all)
}

// outfit makes a bare machine one of the lab: it knows the others' names, and only
// the lab's repository.
func (w *world) outfit(m *nspawn.Machine) error {
	hosts := "127.0.0.1 localhost\n" + lanAddress + " " + aptHost + "\n"
	for _, name := range append([]string{clientMachine}, w.plan.Machines...) {
		hosts += fmt.Sprintf("%s %s.example %s\n", w.plan.address(name), name, name)
	}
	return errors.Join(m.WriteFile("etc/hosts", []byte(hosts), 0o644), withoutDebian(m))
}

// bootAll boots machines at the same time.
func (w *world) bootAll(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	errs := make([]error, len(names))
	var booting sync.WaitGroup
	for i, name := range names {
		booting.Go(func() { errs[i] = w.machine(name).Boot(ctx) })
	}
	booting.Wait()
	return errors.Join(errs...)
}

// systemctl stops or starts an SFU as an operator does.
func (w *world) systemctl(ctx context.Context, machine, verb, sfu string) error {
	w.say("%s# systemctl %s rrts@%s", machine, verb, sfu)
	if _, err := w.machine(machine).Output(ctx, "systemctl", verb, "rrts@"+sfu); err != nil {
		return err
	}
	w.down[sfu] = verb == "stop"
	return nil
}

// kill pulls the plug of a machine, or of the leader's.
func (w *world) kill(ctx context.Context, machine string) error {
	if machine == leaders {
		status, err := w.status(ctx)
		if err != nil {
			return err
		}
		for _, s := range status {
			if s.Role == "leader" {
				machine = w.plan.machineOf(s.Name)
			}
		}
		if machine == leaders {
			return fmt.Errorf("no SFU says that it leads: %+v", status)
		}
	}
	w.say("the plug of %s is pulled", machine)
	w.killed = machine
	for _, s := range w.plan.on(machine) {
		w.down[s.Name] = true
	}
	return w.machine(machine).Kill()
}

// boot switches a machine that was killed on again; leaders stands for the last one.
func (w *world) boot(ctx context.Context, machine string) error {
	if machine == leaders {
		machine = w.killed
	}
	ctx, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	w.say("%s is switched on", machine)
	if err := w.machine(machine).Boot(ctx); err != nil {
		return err
	}
	for _, s := range w.plan.on(machine) {
		w.down[s.Name] = false
	}
	return nil
}

// sfuStatus is what the lab reads in a line of `rrts status --json`.
type sfuStatus struct {
	Name         string `json:"name"`
	Reachable    bool   `json:"reachable"`
	Role         string `json:"role"`
	AppliedIndex uint64 `json:"applied_index"`
	Lag          uint64 `json:"lag"`
	CSN          uint64 `json:"csn"`
}

// status asks the cluster through a machine with an SFU that runs.
func (w *world) status(ctx context.Context) ([]sfuStatus, error) {
	for _, s := range w.plan.SFUs {
		if w.down[s.Name] || w.plan.witness(s.Name) {
			continue
		}
		var out, said bytes.Buffer
		cmd := w.machine(s.Machine).Command(ctx, "rrts", "status", "--json", "--sfu", s.Name)
		cmd.Stdout, cmd.Stderr = &out, &said
		err := cmd.Run() // 1 when one SFU does not answer: the lines are there nevertheless
		var all []sfuStatus
		for d := json.NewDecoder(&out); ; {
			var line sfuStatus
			if derr := d.Decode(&line); derr == io.EOF {
				break
			} else if derr != nil {
				return nil, fmt.Errorf("rrts status --json on %s: %w", s.Machine, derr)
			}
			all = append(all, line)
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("rrts status on %s: %w: %s", s.Machine, err, strings.TrimSpace(said.String()))
		}
		return all, nil
	}
	return nil, fmt.Errorf("no SFU runs that could be asked")
}

// saveLogs keeps what a run leaves to read, in a directory of its name.
func (w *world) saveLogs(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandWithin)
	defer cancel()
	for _, m := range w.site.Machines() {
		text, err := m.JournalText(ctx)
		if err == nil {
			err = os.WriteFile(dir+"/"+m.Name()+".journal", text, 0o644)
		}
		var console []byte
		if err == nil {
			console, err = os.ReadFile(m.Console())
		}
		if err == nil {
			err = os.WriteFile(dir+"/"+m.Name()+".console", console, 0o644)
		}
		if err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return os.WriteFile(dir+"/transcript", w.transcript.Bytes(), 0o644)
}
