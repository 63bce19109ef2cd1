package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// recoverSteps go through packaging/doc/recover.md.
func recoverSteps(p plan) []step {
	alpha, bravo, carol := p.SFUs[0], p.SFUs[1], p.SFUs[2]
	all := []step{crash(p, bravo.Name)}
	all = append(all, isolate(p, carol)...)
	all = append(all, loseMajority(p)...)
	return append(all,
		step{
			Name: "the journal of carol is damaged", Errors: []string{"journal"},
			Do: func(ctx context.Context, w *world) error { return w.damage(ctx, carol) },
			Seen: []seen{
				{Machine: carol.Machine, SFU: carol.Name, Alarm: "journal-damaged"},
				{Machine: carol.Machine, SFU: carol.Name, Alarm: "journal-damaged", Ended: true},
				{Machine: carol.Machine, SFU: carol.Name, Text: "ready"},
			},
		},
		step{
			Name: "rrts node renew alpha", Planned: true,
			Do: func(ctx context.Context, w *world) error {
				_, err := w.operator(ctx, alpha.Machine, "rrts node renew "+alpha.Name)
				return err
			},
			Seen: []seen{{Machine: alpha.Machine, SFU: alpha.Name, Text: "gateway certificate read again"}},
		},
		step{
			Name: "rrts node renew bravo, which is elsewhere", Planned: true,
			Do:   func(ctx context.Context, w *world) error { return w.renewElsewhere(ctx, bravo) },
			Seen: []seen{{Machine: bravo.Machine, SFU: bravo.Name, Text: "gateway certificate read again"}},
		},
		step{
			Name: "the passphrase is lost: rrts kit", Planned: true,
			Do: func(ctx context.Context, w *world) error { return w.anotherKit(ctx) },
		},
	)
}

// isolate pulls both cables of an SFU's machine: it decides nothing, and the others go
// on without it. It is stopped, so that its clients move, and started when the cables
// are in again.
func isolate(p plan, s sfu) []step {
	lost := fmt.Sprintf("peer-lost@%d", p.number(s.Name))
	out, in := []seen{{Machine: s.Machine, SFU: s.Name, Alarm: "no-leader"}}, []seen{{Machine: s.Machine, SFU: s.Name, Text: "ready"}}
	for _, other := range p.notOn(s.Machine) {
		out = append(out, seen{Machine: other.Machine, SFU: other.Name, Alarm: lost})
		in = append(in, seen{Machine: other.Machine, SFU: other.Name, Alarm: lost, Ended: true})
	}
	cables := func(w *world, in bool) error {
		m := w.machine(s.Machine)
		return errors.Join(m.SetCable(card("A"), in), m.SetCable(card("B"), in))
	}
	return []step{
		{Name: "both cables of " + s.Machine + " out", Seen: out, Do: func(_ context.Context, w *world) error {
			w.down[s.Name] = true
			return cables(w, false)
		}},
		{Name: "rrts sfu stop " + s.Name + " --force", Seen: []seen{{Machine: s.Machine, SFU: s.Name, Text: "Engine stopped"}}, Do: func(ctx context.Context, w *world) error {
			_, err := w.operator(ctx, s.Machine, "rrts sfu stop "+s.Name+" --force")
			return err
		}},
		{Name: "both cables in, rrts sfu start " + s.Name, Seen: in, Do: func(ctx context.Context, w *world) error {
			if err := cables(w, true); err != nil {
				return err
			}
			_, err := w.operator(ctx, s.Machine, "rrts sfu start "+s.Name)
			w.down[s.Name] = err != nil
			return err
		}},
	}
}

// loseMajority pulls the plugs of all machines but the first: nothing is decided until
// enough of them are back.
func loseMajority(p plan) []step {
	first, gone := p.SFUs[0], p.Machines[1:]
	return []step{
		{
			Name: "all machines but " + first.Machine + " killed", Halts: true,
			Seen: []seen{{Machine: first.Machine, SFU: first.Name, Alarm: "no-leader"}},
			Do: func(_ context.Context, w *world) error {
				var errs []error
				for _, m := range gone {
					for _, s := range w.plan.on(m) {
						w.down[s.Name] = true
					}
					errs = append(errs, w.machine(m).Kill())
				}
				return errors.Join(errs...)
			},
		},
		{
			Name: "they are switched on",
			Seen: []seen{{Machine: first.Machine, SFU: first.Name, Alarm: "no-leader", Ended: true}},
			Do: func(ctx context.Context, w *world) error {
				if err := w.bootAll(ctx, gone); err != nil {
					return err
				}
				for _, s := range p.notOn(first.Machine) {
					w.down[s.Name] = false
				}
				return nil
			},
		},
	}
}

// damage changes some bytes in the middle of what an SFU's journal holds, while it is
// stopped, as a failing disk does.
func (w *world) damage(ctx context.Context, s sfu) error {
	if err := w.systemctl(ctx, s.Machine, "stop", s.Name); err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(w.machine(s.Machine).Root(), "var/lib/rrts", s.Name, "journal/*.seg"))
	if err != nil || len(segments) == 0 {
		return fmt.Errorf("the journal of %s has no segments: %w", s.Name, err)
	}
	newest := segments[len(segments)-1]
	data, err := os.ReadFile(newest)
	if err != nil {
		return err
	}
	// Before and behind its frames a segment has headers and marks of this size.
	const around, n = 12288, 300
	last := len(data) - around
	for last > around && data[last-1] == 0 {
		last--
	}
	at := (around + last) / 2 &^ 4095 // where what one write carried begins
	for i := at; i < at+n; i++ {
		data[i] ^= 0x55
	}
	w.say("bytes %d to %d of %s, which is written up to %d, are changed", at, at+n, filepath.Base(newest), last)
	f, err := os.OpenFile(newest, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data[at:at+n], int64(at))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return w.systemctl(ctx, s.Machine, "start", s.Name)
}

// renewElsewhere renews the certificate of an SFU on another machine than the master
// keys': it goes there and back.
func (w *world) renewElsewhere(ctx context.Context, s sfu) error {
	crt, old, fresh := "/etc/rrts/sfu/"+s.Name+".crt", "/root/"+s.Name+".crt", "/root/"+s.Name+"-new.crt"
	if err := w.copy(s.Machine, crt, w.master, old); err != nil {
		return err
	}
	if _, err := w.operator(ctx, w.master, fmt.Sprintf("rrts node renew %s --old %s --new %s", s.Name, old, fresh)); err != nil {
		return err
	}
	if err := w.copy(w.master, fresh, s.Machine, fresh); err != nil {
		return err
	}
	_, err := w.operator(ctx, s.Machine, fmt.Sprintf("install -m 640 -g rrts %s %s && systemctl reload rrts@%s", fresh, crt, s.Name))
	return err
}

// anotherKit makes another recovery kit under another passphrase, and sees that it
// opens a backup.
func (w *world) anotherKit(ctx context.Context) error {
	const passphrase = "another passphrase of some words\n"
	if err := w.machine(w.master).WriteFile("root/passphrase-2", []byte(passphrase), 0o600); err != nil {
		return err
	}
	for _, command := range []string{
		"rrts kit /root/kit-2.txt --passphrase-file /root/passphrase-2",
		"rrts backup --to /root/now.rrtsbackup",
		"rrts backup verify /root/now.rrtsbackup --kit /root/kit-2.txt --passphrase-file /root/passphrase-2",
		"rrts ledger audit --backup /root/now.rrtsbackup --kit /root/kit-2.txt --passphrase-file /root/passphrase-2",
	} {
		if _, err := w.operator(ctx, w.master, command); err != nil {
			return err
		}
	}
	return nil
}
