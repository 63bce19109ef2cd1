package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/doctor"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/watchdog"
)

const watchdogUnit = "rrts-watchdog.service"

func (c *cli) watchdogCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "watchdog", Short: "arm the hardware that resets a machine that hangs",
		Long: `The last of three steps. A Component that hangs is restarted by the engine, an engine that hangs by
systemd. When an engine can be neither killed nor restarted for a minute, or the machine stands still,
the hardware watchdog resets the machine, and its SFUs come back.

It is off until an operator arms it. After three resets within an hour it stays off, with an alarm,
until it is armed again.`,
	}
	cmd.AddCommand(c.watchdogArmCommand(), c.watchdogDisarmCommand(), c.watchdogStatusCommand())
	return cmd
}

func (c *cli) watchdogArmCommand() *cobra.Command {
	var device string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "arm", Short: "arm the hardware watchdog of this machine, for good",
		Long: `Arms the hardware watchdog of this machine, now and after every start, if rrts doctor finds nothing that
fails: a machine that is not well would only be reset in circles.

Where systemd holds the hardware (RuntimeWatchdogSec) it goes on doing so, and resets the machine when
it is told that an engine can be neither killed nor restarted.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.armWatchdog(cmd.Context(), device, timeout) },
	}
	cmd.Flags().StringVar(&device, "device", "", "the hardware (default: the first that is no software)")
	cmd.Flags().DurationVar(&timeout, "timeout", watchdog.MinTimeout, "time without a sign of life after which the hardware resets the machine, at least 1m")
	return cmd
}

func (c *cli) armWatchdog(ctx context.Context, device string, timeout time.Duration) error {
	if err := c.mayWatchdog("arm"); err != nil {
		return err
	}
	if timeout < watchdog.MinTimeout {
		return usageError{fmt.Errorf("a --timeout of %s is below %s: a busy machine must not be taken for a dead one", timeout, watchdog.MinTimeout)}
	}
	found, err := watchdog.Find("")
	if err != nil {
		return err
	}
	device, err = chooseWatchdog(found, device)
	if err != nil {
		return err
	}
	c.out.Progress("examining")
	findings := doctor.New(c.dir).Examine(ctx)
	c.out.Progress("")
	if err := fitForWatchdog(findings); err != nil {
		return err
	}
	// A guard that runs already stops cleanly; it alone writes the record.
	if err := systemctl(ctx, "stop", watchdogUnit); err != nil {
		return err
	}
	if err := os.MkdirAll(watchdog.StateDir, 0o755); err != nil {
		return err
	}
	order := &watchdog.Order{ID: rand.Text(), Device: device, TimeoutS: int(timeout / time.Second), At: time.Now()}
	if err := watchdog.WriteOrder(watchdog.StateDir, order); err != nil {
		return err
	}
	if err := systemctl(ctx, "start", watchdogUnit); err != nil {
		return errors.Join(fmt.Errorf("it is not armed: %w", err), systemctl(ctx, "stop", watchdogUnit), watchdog.RemoveOrder(watchdog.StateDir))
	}
	return c.showWatchdog()
}

// chooseWatchdog returns the device to arm.
func chooseWatchdog(found []watchdog.Found, device string) (string, error) {
	if len(found) == 0 {
		return "", errors.New("the kernel has no driver for a watchdog: look for it in the firmware's settings, or load the driver (modprobe iTCO_wdt, sp5100_tco or i6300esb)")
	}
	if device == "" {
		if found[0].Software() {
			return "", fmt.Errorf("the only watchdog is software (%s), which dies with the kernel that it watches: to arm it nevertheless add --device %s", found[0].Device, found[0].Device)
		}
		return found[0].Device, nil
	}
	var have []string
	for _, f := range found {
		if f.Device == device {
			return device, nil
		}
		have = append(have, f.Device+" ("+f.Identity+")")
	}
	return "", usageError{fmt.Errorf("there is no %s; this machine has %s", device, strings.Join(have, ", "))}
}

// fitForWatchdog refuses a machine on which something fails.
func fitForWatchdog(findings []doctor.Finding) error {
	var failing []string
	for _, f := range findings {
		if f.Verdict == doctor.Fail {
			failing = append(failing, f.Check+": "+f.Measured)
		}
	}
	if len(failing) == 0 {
		return nil
	}
	return fmt.Errorf("rrts doctor has to pass first, or the machine would be reset in circles: %s", strings.Join(failing, "; "))
}

func (c *cli) watchdogDisarmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "disarm", Short: "stop the hardware watchdog of this machine, for good", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.mayWatchdog("disarm"); err != nil {
				return err
			}
			// Without the order it is not started again, whatever becomes of the stop.
			if err := watchdog.RemoveOrder(watchdog.StateDir); err != nil {
				return err
			}
			if err := systemctl(cmd.Context(), "stop", watchdogUnit); err != nil {
				return err
			}
			return c.showWatchdog()
		},
	}
}

// mayWatchdog makes sure that this is the place to order it.
func (c *cli) mayWatchdog(verb string) error {
	switch {
	case !systemdRuns() || c.dir != config.DefaultDir:
		return errors.New("the watchdog is systemd's business: it works on an installed machine alone")
	case os.Geteuid() != 0:
		return fmt.Errorf("this is root's: sudo rrts watchdog %s", verb)
	}
	return nil
}

func (c *cli) watchdogStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "whether the hardware watchdog of this machine is armed, and what it did", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return c.showWatchdog() },
	}
}

func (c *cli) showWatchdog() error {
	s, err := watchdog.Tell(watchdog.StateDir, watchdog.RunDir)
	if err != nil {
		return err
	}
	if c.json {
		return c.out.Object(s)
	}
	rows := [][]string{{"watchdog", s.State}}
	if s.Why != "" {
		rows = append(rows, []string{"why", s.Why})
	}
	if s.Device != "" {
		rows = append(rows, []string{"device", s.Device})
	}
	if s.Driver != "" { // what it says of itself, and its time-out, are known while it runs
		rows = append(rows, []string{"driver", s.Driver}, []string{"resets after", (time.Duration(s.TimeoutS) * time.Second).String()})
	}
	for _, r := range s.Resets {
		rows = append(rows, []string{"reset", r.Noticed.Local().Format(time.DateTime) + "  " + r.Why})
	}
	switch s.State {
	case watchdog.UnarmedState, watchdog.OffState:
		rows = append(rows, []string{"to arm it", "rrts watchdog arm"})
	case watchdog.DeadState:
		rows = append(rows, []string{"to see why", "journalctl -u " + watchdogUnit + " -x"})
	}
	return c.out.Table(nil, rows)
}
