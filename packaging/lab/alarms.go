package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"virtualservicesinc.com/comps/smtp/smtptest"
	"virtualservicesinc.com/rrts/engine/alarm"
	"virtualservicesinc.com/sysd"
)

// alarming is the two-PC shop with a second SFU on the first machine.
var alarming = plan{
	Machines: []string{"pc1", "pc2"},
	SFUs:     []sfu{{"alpha", "pc1"}, {"bravo", "pc2"}, {"delta", "pc1"}},
}

// mailAddress is where the machines find the mail server.
const (
	mailAddress  = lanAddress + ":587"
	mailPassword = "lab mail password"
	mailCA       = "/etc/rrts/mail-ca.pem"
)

// alarmSteps raise what can be raised on such machines, one after the other.
func alarmSteps(p plan) []step {
	alpha, bravo, delta := p.SFUs[0], p.SFUs[1], p.SFUs[2]
	by := func(s sfu, alarm string) seen { return seen{Machine: s.Machine, SFU: s.Name, Alarm: alarm} }
	ended := func(s sfu, alarm string) seen {
		return seen{Machine: s.Machine, SFU: s.Name, Alarm: alarm, Ended: true}
	}
	space := "disk-space-low@/var/lib/rrts/" + bravo.Name
	limits := []string{"cpu-busy", "memory-short", space}
	var tight, usual []seen
	for _, a := range limits {
		tight, usual = append(tight, by(bravo, a)), append(usual, ended(bravo, a))
	}
	all := []step{
		{Name: "mail about alarms, and limits that the machines exceed", Planned: true, Seen: tight, Do: func(ctx context.Context, w *world) error {
			return errors.Join(w.mailAlarms(ctx), w.setLimits(ctx, true))
		}},
		{Name: "the usual limits again", Planned: true, Seen: usual, Do: func(ctx context.Context, w *world) error { return w.setLimits(ctx, false) }},
	}
	for _, n := range []string{"A", "B"} {
		cable := pullAndPlug(two, bravo.Machine, n)
		cable[0].Seen = append(cable[0].Seen, by(bravo, "network-not-redundant"))
		cable[1].Seen = append(cable[1].Seen, ended(bravo, "network-not-redundant"))
		all = append(all, cable...)
	}
	all = append(all, killAndBoot(two, bravo.Machine, true)...)
	return append(all, slices.Concat([]step{
		{Name: "the process of delta stopped for 3 s", Seen: []seen{by(delta, "process-paused"), ended(delta, "process-paused")}, Do: func(ctx context.Context, w *world) error {
			_, err := w.operator(ctx, delta.Machine, "systemctl kill --signal=STOP rrts@delta; sleep 3; systemctl kill --signal=CONT rrts@delta")
			return err
		}},
		{Name: "/proc/stat hidden from bravo", Planned: true, Seen: []seen{by(bravo, "monitor-blind")}, Do: func(ctx context.Context, w *world) error {
			if err := w.machine(bravo.Machine).WriteFile("srv/nobodys", nil, 0); err != nil {
				return err
			}
			return w.inUnit(ctx, bravo, "mount --bind /srv/nobodys /proc/stat")
		}},
		{Name: "/proc/stat is there again", Planned: true, Seen: []seen{ended(bravo, "monitor-blind")}, Do: func(ctx context.Context, w *world) error {
			return w.inUnit(ctx, bravo, "umount /proc/stat")
		}},
		{Name: "a target for backups on " + alpha.Machine, Planned: true, Seen: []seen{{Machine: alpha.Machine, Alarm: "backup-missing"}},
			Do: func(_ context.Context, w *world) error { return w.setTarget(alpha) }},
		{Name: "systemctl start rrts-backup", Planned: true, Seen: []seen{{Machine: alpha.Machine, Alarm: "backup-missing", Ended: true}},
			Do: func(ctx context.Context, w *world) error { return w.backUp(ctx, alpha) }},
		{Name: "the disk of delta is full", Errors: []string{"the disk is full"}, Seen: []seen{by(delta, "disk-full")}, Do: func(ctx context.Context, w *world) error { return w.fillDisk(ctx, delta) }},
		{Name: "room on the disk of delta", Seen: []seen{ended(delta, "disk-full")}, Do: func(ctx context.Context, w *world) error {
			_, err := w.operator(ctx, delta.Machine, "rm /var/lib/rrts/delta/full")
			w.down[delta.Name] = err != nil
			return err
		}},
		{Name: "the disk that delta had before", Planned: true, Seen: []seen{{Machine: delta.Machine, SFU: delta.Name, Text: "ready"}}, Do: func(ctx context.Context, w *world) error { return w.oldDisk(ctx, delta) }},
		{Name: "the journal of delta is damaged", Errors: []string{"journal"}, Seen: []seen{by(delta, "journal-damaged"), ended(delta, "journal-damaged"), {Machine: delta.Machine, SFU: delta.Name, Text: "ready"}},
			Do: func(ctx context.Context, w *world) error { return w.damage(ctx, delta) }},
		{Name: "the state of delta is damaged", Errors: []string{"state", "file is corrupt"}, Seen: []seen{by(delta, "state-damaged"), ended(delta, "state-damaged"), {Machine: delta.Machine, SFU: delta.Name, Text: "ready"}}, Do: func(ctx context.Context, w *world) error { return w.rotState(ctx, delta) }},
		{Name: "the mail server is away", Planned: true, Seen: []seen{by(alpha, "mail-failing")}, Do: func(ctx context.Context, w *world) error {
			err := w.mail.stop()
			w.mail.stop = nil
			if err == nil {
				_, err = w.operator(ctx, alpha.Machine, "rrts alarms test commit-slow --for 5s --at alpha")
			}
			return err
		}},
		{Name: "the mail server is back", Planned: true, Seen: []seen{ended(alpha, "mail-failing")}, Do: func(ctx context.Context, w *world) error { return w.serveMail(ctx) }},
		// A forced recovery overrules it too, and it is in the way of the two-PC shop's steps.
		{Name: "rrts sfu remove delta", Planned: true, Do: func(ctx context.Context, w *world) error { return w.removeStopped(ctx, delta) }},
	}, forceAndReplace(two))...)
}

// mailroom is the mail server of the lab.
type mailroom struct {
	server *smtptest.Server
	stop   func() error // nil while it is away
}

// serveMail starts the mail server, with the certificate that it had before.
func (w *world) serveMail(ctx context.Context) error {
	l, err := w.site.Listen(ctx, mailAddress)
	if err != nil {
		return err
	}
	if w.mail.server == nil {
		if w.mail.server, err = smtptest.Make(l.Addr(), smtptest.Config{User: "rrts", Password: mailPassword}); err != nil {
			return err
		}
	}
	w.mail.stop = w.mail.server.Serve(l)
	return nil
}

// mailAlarms has all machines' alarms go by mail, as packaging/doc/status.md says.
func (w *world) mailAlarms(ctx context.Context) error {
	if err := w.serveMail(ctx); err != nil {
		return err
	}
	edits := map[string]string{
		"server": `"` + mailAddress + `"`, "user": `"rrts"`, "ca": `"` + mailCA + `"`, "from": `"rrts@example.com"`,
		"critical": `["anna@example.com", "bert@example.com"]`, "warning": `["anna@example.com"]`, "info": `["carla@example.com"]`,
	}
	for _, machine := range w.plan.Machines {
		m := w.machine(machine)
		if err := errors.Join(w.edit(machine, "machine.toml", edits), m.WriteFile(mailCA, w.mail.server.CA, 0o644)); err != nil {
			return err
		}
		for _, s := range w.plan.on(machine) {
			if err := m.WriteFile("etc/rrts/keys/"+s.Name+"/mail.password", []byte(mailPassword+"\n"), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// edit gives keys that a configuration file shows as comments a value, as an editor does.
func (w *world) edit(machine, file string, values map[string]string) error {
	path := filepath.Join(w.machine(machine).Root(), "etc/rrts", file)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	w.say("%s# editor /etc/rrts/%s", machine, file)
	lines, done := strings.Split(string(data), "\n"), 0
	for i, line := range lines {
		key, _, _ := strings.Cut(strings.TrimPrefix(line, "# "), " = ")
		if v, ok := values[key]; ok {
			lines[i], done = key+" = "+v, done+1
		}
	}
	if done != len(values) {
		return fmt.Errorf("%s has %d of %d keys", path, done, len(values))
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o640)
}

// setLimits gives the second machine and all SFUs limits that they exceed, or the usual
// ones, and restarts the SFUs.
func (w *world) setLimits(ctx context.Context, tight bool) error {
	machine := map[string]string{"cpu": `"above 95% for 5m, until below 80%"`, "memory": `"below 10% for 1m, until above 15%"`, "disk_space": `"below 10% for 1m, until above 12%"`, "disk_latency": `"above 100ms for 1m, until below 50ms"`}
	one := map[string]string{"commit_latency": `"above 250ms for 30s, until below 100ms"`, "lag": `"above 1000 for 30s, until below 100"`}
	if tight {
		machine = map[string]string{"cpu": `"above 0% for 1s, until below 0%"`, "memory": `"below 100% for 1s, until above 100%"`, "disk_space": `"below 100% for 1s, until above 100%"`, "disk_latency": `"above 0ms for 1s, until below 0ms"`}
		one = map[string]string{"commit_latency": `"above 0ms for 1s, until below 0ms"`, "lag": `"above 0 for 1s, until below 0"`}
	}
	if err := w.edit(w.plan.Machines[1], "machine.toml", machine); err != nil {
		return err
	}
	for _, s := range w.plan.SFUs {
		if err := w.edit(s.Machine, "sfu/"+s.Name+".toml", one); err != nil {
			return err
		}
		if err := w.restart(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// restart stops and starts an SFU, once the others can do without it: one that was
// restarted a moment ago votes again after a moment.
func (w *world) restart(ctx context.Context, s sfu) error {
	end := time.Now().Add(settleWithin)
	for {
		_, err := w.operator(ctx, s.Machine, "rrts sfu stop "+s.Name)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	_, err := w.operator(ctx, s.Machine, "rrts sfu start "+s.Name)
	return err
}

// inUnit runs a command of root among the files that an SFU's process sees.
func (w *world) inUnit(ctx context.Context, s sfu, command string) error {
	_, err := w.operator(ctx, s.Machine, "nsenter --target $(systemctl show -P MainPID rrts@"+s.Name+") --mount "+command)
	return err
}

// fillDisk gives an SFU a small disk for its state and fills it.
func (w *world) fillDisk(ctx context.Context, s sfu) error {
	dir := "/var/lib/rrts/" + s.Name
	// It needs room for another segment within seconds.
	if err := w.edit(s.Machine, "sfu/"+s.Name+".toml", map[string]string{"journal_segment": `"1MiB"`}); err != nil {
		return err
	}
	for _, c := range []string{
		"rrts sfu stop " + s.Name,
		"cp -a " + dir + " /root/" + s.Name + "-large; mount -t tmpfs -o size=700m,mode=0700 small " + dir + "; cp -a /root/" + s.Name + "-large/. " + dir + "; chown rrts:rrts " + dir,
		"rrts sfu start " + s.Name,
		"dd if=/dev/zero of=" + dir + "/full bs=64k status=none || df -h " + dir,
	} {
		if _, err := w.operator(ctx, s.Machine, c); err != nil {
			return err
		}
	}
	w.down[s.Name] = true // it may not keep up
	return nil
}

// oldDisk puts the state of an SFU back on the machine's own disk.
func (w *world) oldDisk(ctx context.Context, s sfu) error {
	dir := "/var/lib/rrts/" + s.Name
	for _, c := range []string{
		"rrts sfu stop " + s.Name,
		"cp -a " + dir + " /root/" + s.Name + "-small; umount " + dir + "; rm -rf " + dir + "/*; cp -a /root/" + s.Name + "-small/. " + dir,
		"rrts sfu start " + s.Name,
	} {
		if _, err := w.operator(ctx, s.Machine, c); err != nil {
			return err
		}
	}
	return nil
}

// rotState changes bytes of the manifest of an SFU's state, which its start reads: a table's
// may lie unread until the scrub comes to them.
func (w *world) rotState(ctx context.Context, s sfu) error {
	if err := w.systemctl(ctx, s.Machine, "stop", s.Name); err != nil {
		return err
	}
	dir := "/var/lib/rrts/" + s.Name
	const rot = `for f in $(find %s -name 'MANIFEST-*'); do printf '\x5a\xa5\x5a\xa5' | dd of=$f bs=1 seek=$(($(stat -c %%s $f) / 2)) conv=notrunc status=none; done`
	if _, err := w.operator(ctx, s.Machine, fmt.Sprintf(rot, dir)); err != nil {
		return err
	}
	return w.systemctl(ctx, s.Machine, "start", s.Name)
}

// alarmsEnd tries the kinds that nothing has raised, holds that journalctl explains every
// one, looks through the mail, and audits.
func alarmsEnd(ctx context.Context, w *world, r *report) error {
	first := w.plan.SFUs[0]
	came, err := w.kindsSeen(ctx)
	if err != nil {
		return err
	}
	var tried []string
	for i := range alarm.Kinds {
		if k := &alarm.Kinds[i]; came[k.Name] == nil {
			if _, err := w.operator(ctx, first.Machine, "rrts alarms test "+k.Name+" --for 2s --at "+first.Name); err != nil {
				return err
			}
			if !k.Event && k.Name != "alarm-test" {
				tried = append(tried, k.Name)
			}
		}
	}
	var over []seen
	for _, k := range tried {
		over = append(over, seen{Machine: first.Machine, SFU: first.Name, Alarm: k + "@test", Ended: true})
	}
	if err := w.settle(ctx, over, w.installing); err != nil {
		r.Faults = append(r.Faults, err.Error())
	}
	if came, err = w.kindsSeen(ctx); err != nil {
		return err
	}
	rows := [][]string{}
	for i := range alarm.Kinds {
		k := &alarm.Kinds[i]
		c := came[k.Name]
		if c == nil {
			r.Faults = append(r.Faults, "no journal has "+k.Name)
			continue
		}
		out, err := w.machine(c.machine).Output(ctx, "journalctl", "-x", "--no-pager", "--lines=1", "MESSAGE_ID="+sysd.MessageID(k.Name))
		if err != nil {
			return err
		}
		// journalctl marks each line of an explanation.
		told := strings.Join(strings.Fields(strings.ReplaceAll(out, "░░", "")), " ")
		for _, want := range []string{"Subject: " + k.Subject, "Defined-By: RRTS", k.Means, "What was done: " + k.Done, "What to do: " + k.Do} {
			if !strings.Contains(told, strings.Join(strings.Fields(want), " ")) {
				r.Faults = append(r.Faults, fmt.Sprintf("journalctl -x does not explain %s: no %q in %s", k.Name, want, out))
			}
		}
		rows = append(rows, []string{k.Name, severity(k), c.how(), c.machine})
	}
	// What concerns a machine is said once of it.
	if units := came["backup-missing"].units; len(units) != 1 {
		r.Faults = append(r.Faults, fmt.Sprintf("the missing backup of one machine is an alarm of %v", units))
	}
	fmt.Fprintln(os.Stderr)
	if err := table(os.Stderr, []string{"ALARM", "SEVERITY", "RAISED BY", "EXPLAINED BY journalctl -x ON"}, rows); err != nil {
		return err
	}
	w.readMail(r)
	return errors.Join(ending(ctx, w, r), w.mail.stop())
}

func severity(k *alarm.Kind) string {
	if k.Event {
		return "event"
	}
	return k.Severity.String()
}

// kindSeen is what the journals hold of one kind.
type kindSeen struct {
	machine string
	really  bool     // not for trial
	ended   bool     // of those, or of those for trial
	units   []string // that raised it really
}

func (k *kindSeen) how() string {
	how := "rrts alarms test"
	if k.really {
		how = "what happened"
	}
	if k.ended {
		how += ", ended"
	}
	return how
}

// kindsSeen looks through the journals of all machines.
func (w *world) kindsSeen(ctx context.Context) (map[string]*kindSeen, error) {
	all := map[string]*kindSeen{}
	for _, machine := range w.plan.Machines {
		entries, err := w.machine(machine).Journal(ctx, w.installing)
		if err != nil {
			return nil, err
		}
		for i := range entries {
			e := &entries[i]
			name := e.Fields["RRTS_ALARM"]
			if name == "" {
				name = e.Fields["RRTS_EVENT"]
			}
			k := alarm.Find(name)
			if k == nil || e.Fields["MESSAGE_ID"] != sysd.MessageID(k.Name) {
				continue
			}
			c := all[k.Name]
			if c == nil {
				c = &kindSeen{machine: machine}
				all[k.Name] = c
			}
			really := !strings.HasSuffix(name, "@test") && name != "alarm-test" && e.Fields["RRTS_BY"] == ""
			switch unit := e.Fields["_SYSTEMD_UNIT"]; {
			case strings.HasPrefix(e.Message(), "Alarm ended"):
				c.ended = c.ended || really == c.really
			case really:
				if !c.really {
					c.machine, c.really, c.ended = machine, true, false
				}
				if !slices.Contains(c.units, unit) {
					c.units = append(c.units, unit)
				}
			}
		}
	}
	return all, nil
}

// readMail looks through what the mail server took.
func (w *world) readMail(r *report) {
	taken, _ := w.mail.server.Taken()
	ids, states := map[string]int{}, map[string]int{}
	subjects := ""
	for _, t := range taken {
		m, err := mail.ReadMessage(strings.NewReader(t.Data))
		if err != nil {
			r.Faults = append(r.Faults, fmt.Sprintf("a message that is none: %v", err))
			continue
		}
		if _, err := io.Copy(io.Discard, m.Body); err != nil || !t.TLS {
			r.Faults = append(r.Faults, "a message came without TLS, or broken")
		}
		ids[m.Header.Get("Message-Id")]++
		states[m.Header.Get("X-Rrts-State")]++
		subjects += m.Header.Get("Subject") + "\n"
		if strings.HasPrefix(m.Header.Get("X-Rrts-Alarm"), "mail-failing") {
			r.Faults = append(r.Faults, "a message is about the mail itself")
		}
	}
	w.note([]byte(subjects))
	w.say("the mail server took %d messages: %v; %d were the same again", len(taken), states, len(taken)-len(ids))
	for _, want := range []string{"CRITICAL: disk-full at delta", "ended: disk-full at delta", "ended: peer-lost@2 at alpha", "INFO: alarm-test at alpha"} {
		if !strings.Contains(subjects, want) {
			r.Faults = append(r.Faults, "there is no mail with "+want)
		}
	}
}
