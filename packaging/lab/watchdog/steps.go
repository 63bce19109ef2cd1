package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// step is what happens to the machine, and what must come of it.
type step struct {
	Name, About string
	Do          func(context.Context, *world) error
}

const (
	// stateDisk is the disk with the state of the SFU alpha.
	stateDisk = 1
	// hardware is the time-out that the watchdog is armed with.
	hardware = 60 * time.Second
	// stateDir is where it is mounted.
	stateDir = "/var/lib/rrts/alpha"
	// lastPayment asks the engine for a write that it will not get done.
	lastPayment = `echo '{"create_transfers":[{"id":"1000000","debit_account_id":"1","credit_account_id":"2","amount":"0","ledger":1,"code":1}]}' | timeout 3 rrts ledger exec - || true`
	// judgement is how long an engine may be unkillable until it is let go, with what an
	// emulated processor adds.
	judgement = 90 * time.Second
	// restart is systemd's step: 10 s of silence, 5 s to print where it hangs, a start.
	restart = 60 * time.Second
	// told is how long the Monitor may take to see a change of the watchdog, with the
	// half minute for which it must have lasted to end an alarm.
	told = 90 * time.Second
)

var steps = []step{
	{"prepare", "two SFUs are made, doctor passes, the watchdog is armed", prepare},
	{"cost", "what the watchdog's process takes, idle", cost},
	{"sigstop", "an engine is stopped by SIGSTOP: systemd restarts it", sigstop},
	{"clean-stop", "the watchdog is stopped, later the machine restarted: no reset", cleanStop},
	{"unkillable", "an engine hangs in a frozen file system and cannot be killed: reset", unkillable},
	{"disk-hung", "the disk of an engine's state hangs: reset", diskHung},
	{"stalled", "the kernel stands still: reset", stalled},
	{"off", "after three resets within an hour it stays off, with an alarm, until it is armed again", off},
}

func prepare(ctx context.Context, w *world) error {
	for _, c := range []string{
		"rmdir /var/lib/rrts/alpha/lost+found", // an SFU takes it for another's state
		"rrts init --name shop --machine pc1 --sfu alpha,machine=pc1,gateway=127.0.0.1:7400 --out /root/kit </dev/null",
		"systemctl enable --now rrts@alpha",
		`echo '{"create_accounts":[{"id":"1","ledger":1,"code":10},{"id":"2","ledger":1,"code":10}]}' | rrts ledger exec -`,
		"rrts sfu add bravo --gateway 127.0.0.1:7401",
		"rrts watchdog status",
	} {
		if _, err := w.operator(ctx, c); err != nil {
			return err
		}
	}
	if err := w.pays(ctx, 0); err != nil {
		return err
	}
	if err := w.has(ctx, "cat /sys/class/watchdog/watchdog0/state", "inactive"); err != nil {
		return err
	}
	for _, c := range []string{"rrts doctor", "rrts watchdog arm"} {
		if _, err := w.operator(ctx, c); err != nil {
			return err
		}
	}
	return w.armed(ctx)
}

// armed holds the hardware and what is said of it to one another.
func (w *world) armed(ctx context.Context) error {
	for script, want := range map[string]string{
		"rrts watchdog status": "armed",
		"echo $(cat /sys/class/watchdog/watchdog0/state /sys/class/watchdog/watchdog0/timeout)": "active 60",
		"systemctl is-active rrts-watchdog":                                                     "active",
	} {
		if err := w.has(ctx, script, want); err != nil {
			return err
		}
	}
	if _, err := w.await(ctx, told, "rrts status --json", `"watchdog":{"state":"armed"`); err != nil {
		return err
	}
	return w.line(ctx, 0, "watchdog-armed")
}

// cost shows what the process takes of memory, and of the emulated processor.
func cost(ctx context.Context, w *world) error {
	const script = `pid=$(systemctl show -P MainPID rrts-watchdog); grep -E 'VmRSS|VmLck|Threads' /proc/$pid/status
ticks() { awk '{print $14 + $15}' /proc/$pid/stat; }
a=$(ticks); sleep 20; b=$(ticks); echo "processor: $((b - a)) hundredths of a second in 20 s"`
	out, err := w.sh(ctx, script)
	if err != nil {
		return err
	}
	w.say("the process: %s", strings.Join(strings.Fields(out), " "))
	if m := locked.FindStringSubmatch(out); m == nil || m[1] == "0" {
		return errors.New("it is not locked in memory")
	}
	return nil
}

// locked finds how much of a process is locked in memory, kB.
var locked = regexp.MustCompile(`VmLck:\s+(\d+) kB`)

func sigstop(ctx context.Context, w *world) error {
	pid, err := w.sh(ctx, "systemctl show -P MainPID rrts@alpha")
	if err != nil {
		return err
	}
	if _, err := w.operator(ctx, "kill -STOP "+pid); err != nil {
		return err
	}
	took, err := w.await(ctx, restart, `systemctl is-active rrts@alpha && test "$(systemctl show -P MainPID rrts@alpha)" != `+pid+` && echo another`, "another")
	if err != nil {
		return err
	}
	w.say("systemd restarted it within %.0f s", took.Seconds())
	if err := w.has(ctx, "journalctl -u rrts@alpha --boot=0 -o cat", "Watchdog timeout"); err != nil {
		return err
	}
	if err := w.rejoined(ctx); err != nil {
		return err
	}
	if err := w.pays(ctx, 1); err != nil {
		return err
	}
	return w.stays(ctx, 0)
}

func cleanStop(ctx context.Context, w *world) error {
	before, err := w.resets(ctx)
	if err != nil {
		return err
	}
	if _, err := w.operator(ctx, "systemctl stop rrts-watchdog"); err != nil {
		return err
	}
	if err := w.line(ctx, 0, "watchdog-stopped"); err != nil {
		return err
	}
	if err := w.has(ctx, "cat /sys/class/watchdog/watchdog0/state", "inactive"); err != nil {
		return err
	}
	if err := w.stays(ctx, hardware+10*time.Second); err != nil {
		return err
	}
	w.say("no reset %s after the stop", hardware+10*time.Second)
	if _, err := w.operator(ctx, "systemctl start rrts-watchdog"); err != nil {
		return err
	}
	fired := w.m.Fired()
	if _, err := w.operator(ctx, "systemd-run --quiet --on-active=1 systemctl reboot"); err != nil {
		return err
	}
	if err := w.up(ctx); err != nil {
		return err
	}
	if w.m.Fired() != fired {
		return fmt.Errorf("the watchdog reset a machine that was restarted")
	}
	if err := w.armed(ctx); err != nil {
		return err
	}
	return w.counted(ctx, before)
}

func unkillable(ctx context.Context, w *world) error {
	// The disk is well; the file system takes no more writes.
	return w.letGo(ctx, judgement, func() error {
		_, err := w.operator(ctx, "fsfreeze --freeze "+stateDir+"; "+lastPayment+"; systemctl kill --signal=KILL rrts@alpha")
		return err
	})
}

func diskHung(ctx context.Context, w *world) error {
	return w.letGo(ctx, restart+judgement, func() error {
		w.say("the disk of alpha's state answers no more")
		if err := w.m.Hang(stateDisk, true); err != nil {
			return err
		}
		_, err := w.operator(ctx, lastPayment)
		return err
	})
}

// letGo does what cannot be cured, and holds that the machine is let go within a time,
// reset by the hardware, and as good as before.
func (w *world) letGo(ctx context.Context, within time.Duration, do func() error) error {
	fired := w.m.Fired()
	paid, err := w.paid(ctx)
	if err != nil {
		return err
	}
	known, err := w.resets(ctx)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	took, err := w.await(ctx, within, "rrts watchdog status", "letting go")
	if err != nil {
		return err
	}
	w.say("let go after %.0f s", took.Seconds())
	if err := w.reset(ctx, fired, hardware+10*time.Second); err != nil {
		return err
	}
	for _, name := range []string{"engine-unkillable", "machine-let-go"} {
		if err := w.line(ctx, -1, name); err != nil {
			return err
		}
	}
	return w.afterReset(ctx, paid, known+1)
}

// afterReset is what an operator finds.
func (w *world) afterReset(ctx context.Context, paid, resets int) error {
	if err := w.line(ctx, 0, "machine-was-reset"); err != nil {
		return err
	}
	if _, err := w.operator(ctx, "rrts watchdog status"); err != nil {
		return err
	}
	if err := w.counted(ctx, resets); err != nil {
		return err
	}
	if err := w.rejoined(ctx); err != nil {
		return err
	}
	if _, err := w.await(ctx, told, "rrts status", "pc1 was reset by its watchdog"); err != nil {
		return err
	}
	return w.pays(ctx, paid)
}

func stalled(ctx context.Context, w *world) error {
	fired := w.m.Fired()
	paid, err := w.paid(ctx)
	if err != nil {
		return err
	}
	known, err := w.resets(ctx)
	if err != nil {
		return err
	}
	w.say("pc1# echo c >/proc/sysrq-trigger")
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	_, err = w.m.Run(short, "sync; echo c >/proc/sysrq-trigger")
	cancel()
	if err == nil {
		return errors.New("the kernel went on")
	}
	if err := w.reset(ctx, fired, hardware+10*time.Second); err != nil {
		return err
	}
	return w.afterReset(ctx, paid, known+1)
}

func off(ctx context.Context, w *world) error {
	for {
		n, err := w.resets(ctx)
		if err != nil {
			return err
		}
		if n >= 3 {
			break
		}
		if err := stalled(ctx, w); err != nil {
			return err
		}
	}
	if err := w.line(ctx, 0, "watchdog-off"); err != nil {
		return err
	}
	for script, want := range map[string]string{
		"rrts watchdog status":                      "off",
		"cat /sys/class/watchdog/watchdog0/state":   "inactive",
		"systemctl is-failed rrts-watchdog || true": "failed",
	} {
		if err := w.has(ctx, script, want); err != nil {
			return err
		}
	}
	const alarms = "rrts alarms || true" // one stands
	if _, err := w.await(ctx, told, alarms, "watchdog-off"); err != nil {
		return err
	}
	if _, err := w.operator(ctx, "rrts watchdog status; rrts doctor | grep watchdog; rrts status; "+alarms); err != nil {
		return err
	}
	if _, err := w.operator(ctx, "rrts watchdog arm"); err != nil {
		return err
	}
	if err := w.armed(ctx); err != nil {
		return err
	}
	if _, err := w.await(ctx, told, "rrts alarms history", "watchdog-off"); err != nil {
		return err
	}
	return w.counted(ctx, 0)
}
