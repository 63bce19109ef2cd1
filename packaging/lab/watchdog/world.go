package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"virtualservicesinc.com/packaging/lab/qemu"
	"virtualservicesinc.com/sysd"
)

// world is a run in progress.
type world struct {
	begin time.Time
	logs  string
	m     *qemu.Machine
	boot  string // the kernel's id of the boot that is up
}

// commandWithin bounds an operator's command on an emulated processor.
const commandWithin = 4 * time.Minute

func (w *world) say(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(w.begin).Seconds(), fmt.Sprintf(format, a...))
}

// up waits until the machine is up, in another boot than the last.
func (w *world) up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	boot, err := w.m.Up(ctx)
	if err != nil {
		return err
	}
	if boot == w.boot {
		return fmt.Errorf("it is up again in the boot %s: its agent was restarted", boot)
	}
	w.boot = boot
	w.say("the machine is up, boot %s", boot)
	return nil
}

// sh runs a script in the machine.
func (w *world) sh(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandWithin)
	defer cancel()
	out, err := w.m.Run(ctx, script)
	return strings.TrimSpace(out), err
}

// operator types a command, and shows what it answers.
func (w *world) operator(ctx context.Context, command string) (string, error) {
	w.say("pc1# %s", command)
	out, err := w.sh(ctx, command)
	for line := range strings.Lines(out) {
		w.say("     %s", strings.TrimRight(line, "\n"))
	}
	return out, err
}

// has fails unless a script of the machine prints what is wanted.
func (w *world) has(ctx context.Context, script, want string) error {
	out, err := w.sh(ctx, script)
	if err != nil {
		return err
	}
	if !strings.Contains(out, want) {
		return fmt.Errorf("%s: %q has no %q", script, out, want)
	}
	return nil
}

// askEvery is how often the machine is asked for what has no event.
const askEvery = time.Second

// await waits until a script prints what is wanted, and returns how long that was.
func (w *world) await(ctx context.Context, within time.Duration, script, want string) (time.Duration, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := w.has(ctx, script, want)
		if err == nil {
			return time.Since(begin), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("not within %s: %w", within, err)
		case <-time.After(askEvery):
		}
	}
}

// line is a line of the journal, of this boot (0) or the one before (-1), by the name
// under which the catalog explains it.
func (w *world) line(ctx context.Context, boot int, name string) error {
	id := sysd.MessageID(name)
	out, err := w.sh(ctx, fmt.Sprintf("journalctl --boot=%d --quiet --output=short-monotonic MESSAGE_ID=%s", boot, id))
	if err != nil {
		return err
	}
	if out == "" {
		return fmt.Errorf("the journal of boot %d has no %s", boot, name)
	}
	for line := range strings.Lines(out) {
		w.say("     journal, boot %d: %s", boot, strings.TrimRight(line, "\n"))
	}
	return w.has(ctx, fmt.Sprintf("journalctl --boot=%d --quiet -x --no-pager MESSAGE_ID=%s", boot, id), "Defined-By: RRTS")
}

// payment is a transfer of 1.00 under an id.
const payment = `echo '{"create_transfers":[{"id":"%d","debit_account_id":"1","credit_account_id":"2","amount":"100","ledger":1,"code":1}]}' | rrts ledger exec -`

// credits is what account 2 was paid.
var credits = regexp.MustCompile(`"credits_posted":"(\d+)"`)

// paid is how many payments of 1.00 the ledger holds.
func (w *world) paid(ctx context.Context) (int, error) {
	out, err := w.sh(ctx, `echo '{"lookup_accounts":["2"]}' | rrts ledger exec -`)
	if err != nil {
		return 0, err
	}
	m := credits.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("the ledger says %s", out)
	}
	n, err := strconv.Atoi(m[1])
	return n / 100, err
}

// pays proves that the cluster works: one more payment is committed, and those before
// are there, of which there were so many at least.
func (w *world) pays(ctx context.Context, atLeast int) error {
	before, err := w.paid(ctx)
	if err == nil && before < atLeast {
		err = fmt.Errorf("%d payments of %d are lost", atLeast-before, atLeast)
	}
	if err == nil {
		_, err = w.await(ctx, commandWithin, fmt.Sprintf(payment, before+1), `"status":"created"`)
	}
	var after int
	if err == nil {
		after, err = w.paid(ctx)
	}
	if err == nil && after != before+1 {
		err = fmt.Errorf("there were %d payments, and after one more %d", before, after)
	}
	return err
}

// resets is how many resets of the last hour the machine knows.
func (w *world) resets(ctx context.Context) (int, error) {
	out, err := w.sh(ctx, "rrts watchdog status | grep -c '^reset ' || true")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(out)
}

// counted holds that there were so many.
func (w *world) counted(ctx context.Context, want int) error {
	n, err := w.resets(ctx)
	if err == nil && n != want {
		err = fmt.Errorf("the machine knows of %d resets, there were %d", n, want)
	}
	return err
}

// rejoined waits until both SFUs are there and follow.
func (w *world) rejoined(ctx context.Context) error {
	took, err := w.await(ctx, commandWithin, `rrts status --json | grep -c '"reachable":true'`, "2")
	if err != nil {
		return err
	}
	w.say("both SFUs are there, %.0f s after the machine was up", took.Seconds())
	return nil
}

// stays fails if the machine was reset, or boots.
func (w *world) stays(ctx context.Context, d time.Duration) error {
	fired := w.m.Fired()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	}
	if w.m.Fired() != fired {
		return errors.New("the watchdog reset the machine")
	}
	return w.has(ctx, "cat /proc/sys/kernel/random/boot_id", w.boot)
}

// reset waits until the hardware fires, and the machine is up again.
func (w *world) reset(ctx context.Context, before int, within time.Duration) error {
	begin := time.Now()
	for w.m.Fired() == before {
		if time.Since(begin) > within {
			return fmt.Errorf("the hardware did not fire within %s", within)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.say("the hardware fired after %.0f s", time.Since(begin).Seconds())
	// A disk that hung is well again after a reset, as disks often are.
	if err := w.m.Hang(stateDisk, false); err != nil {
		return err
	}
	return w.up(ctx)
}

// keepLogs keeps what a failed run leaves to read.
func (w *world) keepLogs(dir string) error {
	if err := os.MkdirAll(w.logs, 0o755); err != nil {
		return err
	}
	console, err := os.ReadFile(filepath.Join(dir, "console"))
	if err == nil {
		err = os.WriteFile(filepath.Join(w.logs, "console"), console, 0o644)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if journal, jerr := w.m.Run(ctx, "journalctl --no-pager --output=short-monotonic --boot=all | tail -n 3000"); jerr == nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(w.logs, "journal"), []byte(journal), 0o644))
	}
	w.say("console and journal are in %s", w.logs)
	return err
}
