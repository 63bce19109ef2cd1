package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	backupFile = "/root/all.rrtsbackup"
	newKitFile = "/root/shop-recovery-kit-2.txt"
)

// restoring is the end of all machines and the way back: a backup of everything, the
// machines' disks gone, `rrts restore` on one bare machine, the cluster grown again,
// and clients that go on paying. Then what was paid before and after is audited.
func restoring(ctx context.Context, w *world, r *report) error {
	w.say("the payments end; a backup is taken")
	before, err := w.payer.stop()
	if err != nil {
		return err
	}
	r.attribute(before)
	if err := w.converge(ctx); err != nil {
		return err
	}
	first := w.plan.SFUs[0]
	if _, err := w.operator(ctx, first.Machine, "rrts backup --to "+backupFile); err != nil {
		return err
	}
	if err := w.stopAll(ctx); err != nil {
		return err
	}
	was, err := w.digest(ctx, first)
	if err != nil {
		return err
	}
	for _, path := range []string{backupFile, kitFile} {
		if err := w.copy(first.Machine, path, clientMachine, path); err != nil {
			return err
		}
	}
	if err := w.complaints(ctx, r); err != nil {
		return err
	}
	if err := w.loseAll(ctx); err != nil {
		return err
	}
	bare := time.Now()
	if err := w.restore(ctx, first); err != nil {
		return err
	}
	is, err := w.digest(ctx, first)
	if err != nil {
		return err
	}
	if is != was {
		r.Faults = append(r.Faults, fmt.Sprintf("the restored state is another: %+v, it was %+v", is, was))
	}
	if err := w.payAgain(ctx, first); err != nil {
		return err
	}
	r.RestoredS = seconds(time.Since(bare))
	w.say("payments go on %.1f s after the machines were bare", r.RestoredS)
	if err := w.performAll(ctx, growing(w.plan), r); err != nil {
		return err
	}
	after, err := w.payer.stop()
	if err != nil {
		return err
	}
	r.attribute(after)
	if err := errors.Join(w.converge(ctx), w.stopAll(ctx)); err != nil {
		return err
	}
	if err := w.audit(ctx, append(before, after...), r); err != nil {
		return err
	}
	return w.complaints(ctx, r)
}

// loseAll takes the disks of all machines of the plan and boots bare ones.
func (w *world) loseAll(ctx context.Context) error {
	w.say("every machine and its disk is lost; bare ones are switched on")
	for _, name := range w.plan.Machines {
		m := w.machine(name)
		if err := errors.Join(m.Kill(), m.Wipe()); err != nil {
			return err
		}
		if err := w.outfit(m); err != nil {
			return err
		}
	}
	for _, s := range w.plan.SFUs {
		w.down[s.Name] = true
	}
	w.installing, w.master = time.Now(), w.plan.SFUs[0].Machine
	return w.bootAll(ctx, w.plan.Machines)
}

// restore makes the cluster again on its first machine, which is bare.
func (w *world) restore(ctx context.Context, first sfu) error {
	if err := w.install(ctx, first.Machine); err != nil {
		return err
	}
	for _, path := range []string{backupFile, kitFile} {
		if err := w.copy(clientMachine, path, first.Machine, path); err != nil {
			return err
		}
	}
	_, err := w.operator(ctx, first.Machine, fmt.Sprintf("rrts restore --kit %s --backup %s --sfu %s,gateway=%s --new-kit %s",
		kitFile, backupFile, first.Name, w.plan.gateway(first.Name), newKitFile), passphrase+"\n")
	return err
}

// payAgain starts the restored SFU and gives clients the new cluster's kit.
func (w *world) payAgain(ctx context.Context, first sfu) error {
	if _, err := w.operator(ctx, first.Machine, "systemctl enable --now rrts@"+first.Name); err != nil {
		return err
	}
	w.down[first.Name] = false
	if err := w.copy(first.Machine, "/etc/rrts/client-kit.toml", clientMachine, "/root/client-kit.toml"); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(w.machine(clientMachine).Root(), answersFile)); err != nil {
		return err
	}
	if err := w.startPayments("--opened"); err != nil {
		return err
	}
	return w.flow(ctx)
}

// stateDigest is what `rrts ledger audit --json` says of a state.
type stateDigest struct {
	CSN       uint64 `json:"csn"`
	Transfers uint64 `json:"transfers"`
	Digest    string `json:"digest"`
	Audit     string `json:"audit"`
}

// digest has the ledger of a stopped SFU audited where it is.
func (w *world) digest(ctx context.Context, s sfu) (stateDigest, error) {
	out, err := w.machine(s.Machine).Output(ctx, "rrts", "ledger", "audit", "--json", "--sfu", s.Name)
	if err != nil {
		return stateDigest{}, err
	}
	var d stateDigest
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		return d, fmt.Errorf("rrts ledger audit --json on %s: %w", s.Machine, err)
	}
	if d.Audit != "ok" || d.Transfers == 0 || d.Digest == "" {
		return d, fmt.Errorf("rrts ledger audit on %s: %s", s.Machine, out)
	}
	return d, nil
}
