package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"virtualservicesinc.com/packaging/lab/nspawn"
	"virtualservicesinc.com/rrts/drill"
)

// options are what the command line says.
type options struct {
	json, keep                                         bool
	repository, payer, payments, logs, suite, makeRoot string
}

const (
	// flowWithin is how long payments may stand still after a step before the run
	// has failed, settleWithin how long the journals and the replicas may take.
	flowWithin   = 60 * time.Second
	settleWithin = 60 * time.Second
	// flowing is how many payments must be answered after a step.
	flowing = 100
)

// runAll runs scenarios one after the other.
func runAll(ctx context.Context, all []Scenario, o options) error {
	screen := newScreen()
	good := true
	for _, s := range all {
		root, err := makeRoot(ctx, s, o)
		if err != nil {
			return err
		}
		r, err := runOne(ctx, s, o, screen, root)
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		if err := r.show(o.json); err != nil {
			return err
		}
		good = good && r.Good
	}
	if !good {
		return errSilent
	}
	return nil
}

// makeRoot returns the root file system of a scenario's machines, which is made once.
func makeRoot(ctx context.Context, s Scenario, o options) (string, error) {
	root := filepath.Join(cacheDir, "lab-"+o.suite)
	if len(s.Packages) > 0 {
		root += "-" + s.Name
	}
	cmd := exec.CommandContext(ctx, o.makeRoot, append([]string{o.suite, root, "curl"}, s.Packages...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("the machines' root file system: %w", err)
	}
	return root, nil
}

// runOne runs one scenario. The error says that it could not be carried through;
// missed bars stand in the report.
func runOne(ctx context.Context, s Scenario, o options, screen *screen, root string) (r *report, err error) {
	w := &world{plan: s.Plan, o: o, screen: screen, down: map[string]bool{}}
	logs := filepath.Join(o.logs, s.Name)
	screen.say("scenario %s: %s", s.Name, s.About)
	defer func() {
		if w.site == nil {
			return
		}
		if err != nil || !r.Good {
			if r != nil {
				for _, f := range r.Faults {
					w.say("%s", f)
				}
			}
			if lerr := w.saveLogs(logs); lerr != nil {
				screen.say("the logs could not be kept: %v", lerr)
			} else {
				screen.say("the machines' journals and what was typed are in %s", logs)
			}
		}
		if o.keep {
			screen.say("the machines stay up: `labctl list`, `labctl shell %s/%s`, `labctl down %s`", s.Name, s.Plan.Machines[0], s.Name)
			return
		}
		err = errors.Join(err, w.site.Close())
	}()
	begin := time.Now()
	if s.Plan.Previous {
		if w.previous, err = previousVersion(o.repository); err != nil {
			return nil, err
		}
	}
	if err := w.build(ctx, s.Name, root); err != nil {
		return nil, err
	}
	stop, err := w.serveApt(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	screen.say("%d machines are up after %.1f s", len(w.site.Machines()), time.Since(begin).Seconds())
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	if err := w.flow(ctx); err != nil {
		return nil, err
	}
	_, first := w.payer.now()
	r = &report{Scenario: s.Name, Commands: w.commands, FirstPaymentS: seconds(first.Sub(w.installing))}
	screen.say("the first payment is committed %.1f s after apt install, with %d commands", r.FirstPaymentS, r.Commands)
	if err := w.settle(ctx, nil, w.installing); err != nil {
		return nil, err
	}
	if err := w.performAll(ctx, growing(s.Plan), r); err != nil {
		return nil, err
	}
	r.CommandsWhole, r.WholeS = w.commands, seconds(time.Since(w.installing))
	screen.say("the cluster is whole after %.1f s and %d commands", r.WholeS, r.CommandsWhole)
	if err := w.performAll(ctx, s.Steps(s.Plan), r); err != nil {
		return nil, err
	}
	finish := ending
	if s.Finish != nil {
		finish = s.Finish
	}
	if err := finish(ctx, w, r); err != nil {
		return nil, err
	}
	r.judge()
	return r, nil
}

// performAll does steps one after the other.
func (w *world) performAll(ctx context.Context, steps []step, r *report) error {
	for _, st := range steps {
		one := stepReport{Scenario: r.Scenario, Step: st.Name, Planned: st.Planned, begin: time.Now()}
		if err := w.perform(ctx, st, &one); err != nil {
			return fmt.Errorf("%s: %w", st.Name, err)
		}
		one.end = time.Now()
		r.Steps = append(r.Steps, one)
	}
	return nil
}

// perform does one step and waits until its consequences are there. The error says
// that the run cannot go on; what is missing in the journals stands in the report.
func (w *world) perform(ctx context.Context, st step, one *stepReport) error {
	w.say("step: %s", st.Name)
	w.expected = append(w.expected, st.Errors...)
	if err := st.Do(ctx, w); err != nil {
		return err
	}
	one.DoneS = seconds(time.Since(one.begin))
	if !st.Halts {
		if err := w.flow(ctx); err != nil {
			return err
		}
	}
	if err := w.settle(ctx, st.Seen, one.begin); err != nil {
		one.Faults = append(one.Faults, err.Error())
		w.say("%v", err)
	}
	return ctx.Err()
}

// flow waits until payments are answered.
func (w *world) flow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flowWithin)
	defer cancel()
	return w.payer.flow(ctx, flowing)
}

// settle waits until the journals say what they must since then, and every SFU that
// runs has nearly everything.
func (w *world) settle(ctx context.Context, want []seen, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	highest := uint64(math.MaxUint64) // entry that a replica had when we looked last
	for {
		missing, err := w.missing(ctx, want, since)
		if err == nil {
			var behind []string
			if behind, highest, err = w.behind(ctx, highest); err == nil && len(missing)+len(behind) == 0 {
				return nil
			}
			missing = append(missing, behind...)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v still missing: %w", settleWithin, errors.Join(errors.New(strings.Join(missing, "; ")), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// missing lists what the journals do not say yet.
func (w *world) missing(ctx context.Context, want []seen, since time.Time) ([]string, error) {
	journals := map[string][]nspawn.Entry{}
	var missing []string
	for _, s := range want {
		entries, ok := journals[s.Machine]
		if !ok {
			var err error
			if entries, err = w.machine(s.Machine).Journal(ctx, since); err != nil {
				return nil, err
			}
			journals[s.Machine] = entries
		}
		found := false
		for i := range entries {
			found = found || s.in(&entries[i])
		}
		if !found {
			missing = append(missing, s.String())
		}
	}
	return missing, nil
}

// behind lists the SFUs that should run and do not answer, or have not applied the
// entry number want; and returns the highest entry that one has applied. While
// payments go on, an SFU keeps up if it has what another had a moment ago: their
// answers are not of the same instant.
func (w *world) behind(ctx context.Context, want uint64) (behind []string, highest uint64, err error) {
	if !slices.ContainsFunc(w.plan.SFUs, func(s sfu) bool { return !w.down[s.Name] && !w.plan.witness(s.Name) }) {
		return nil, 0, nil
	}
	status, err := w.status(ctx)
	if err != nil {
		return nil, want, err
	}
	for _, s := range status {
		highest = max(highest, s.AppliedIndex)
		switch {
		case w.down[s.Name]:
		case !s.Reachable:
			behind = append(behind, s.Name+" does not answer")
		case s.AppliedIndex < want && (w.plan.stateful(s.Name) || w.plan.witness(s.Name)):
			behind = append(behind, fmt.Sprintf("%s has applied entry %d of %d", s.Name, s.AppliedIndex, want))
		}
	}
	return behind, highest, nil
}

// ending ends the payments, waits until every replica has everything, stops all SFUs
// and audits.
func ending(ctx context.Context, w *world, r *report) error {
	w.say("the payments end; the audit begins")
	answers, err := w.payer.stop()
	if err != nil {
		return err
	}
	r.attribute(answers)
	if err := errors.Join(w.converge(ctx), w.stopAll(ctx)); err != nil {
		return err
	}
	if err := w.audit(ctx, answers, r); err != nil {
		return err
	}
	return w.complaints(ctx, r)
}

// converge waits until every replica has everything, while nobody pays.
func (w *world) converge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for want := uint64(math.MaxUint64); ; {
		behind, highest, err := w.behind(ctx, want)
		if err == nil && len(behind) == 0 && highest == want {
			return nil
		}
		want = highest
		select {
		case <-ctx.Done():
			return fmt.Errorf("the replicas do not come to the same state: %s: %w", strings.Join(behind, "; "), errors.Join(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stopAll stops all SFUs, the first one first.
func (w *world) stopAll(ctx context.Context) error {
	for _, s := range w.plan.SFUs {
		if err := w.systemctl(ctx, s.Machine, "stop", s.Name); err != nil {
			return err
		}
	}
	return nil
}

// audit holds a copy of every SFU's store against what the clients were told.
func (w *world) audit(ctx context.Context, answers []drill.Answer, r *report) error {
	told := make([]drill.Told, len(answers))
	for i := range answers {
		told[i] = answers[i].Told
	}
	a := drill.NewAuditor(told)
	for _, s := range w.plan.SFUs {
		if !w.plan.stateful(s.Name) {
			continue
		}
		root := w.machine(s.Machine).Root()
		// Opening writes, as another user: the SFU keeps its own.
		state := filepath.Join(w.site.Dir(), "audit-"+s.Name)
		if err := os.RemoveAll(state); err != nil {
			return err
		}
		if out, err := exec.CommandContext(ctx, "cp", "-a", filepath.Join(root, "var/lib/rrts", s.Name), state).CombinedOutput(); err != nil {
			return fmt.Errorf("copying the state of %s: %w: %s", s.Name, err, out)
		}
		store, err := drill.OpenStore(filepath.Join(root, "etc/rrts"), s.Name, state)
		if err != nil {
			return err
		}
		if err := errors.Join(a.Store(s.Name, store), store.Close()); err != nil {
			return err
		}
	}
	r.take(a.Verdict())
	return nil
}

// complaints looks through the journals for what an SFU called an error: a run that
// went as it should has none.
func (w *world) complaints(ctx context.Context, r *report) error {
	for _, m := range w.plan.Machines {
		entries, err := w.machine(m).Journal(ctx, w.installing, "PRIORITY=0", "PRIORITY=1", "PRIORITY=2", "PRIORITY=3")
		if err != nil {
			return err
		}
		for i := range entries {
			said := entries[i].Message()
			caused := slices.ContainsFunc(w.expected, func(part string) bool { return strings.Contains(said, part) })
			if unit := entries[i].Fields["_SYSTEMD_UNIT"]; strings.HasPrefix(unit, "rrts") && !caused {
				r.Faults = append(r.Faults, fmt.Sprintf("%s, %s: %s", m, unit, said))
			}
		}
	}
	return nil
}

// seconds rounds to milliseconds.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
