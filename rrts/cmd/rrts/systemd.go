package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// systemdRuns reports whether systemd is this machine's service manager.
func systemdRuns() bool {
	info, err := os.Stat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// unitOf is the unit of an SFU.
func unitOf(sfu string) string { return "rrts@" + sfu + ".service" }

// systemctl runs a command of systemd's, which waits until its job is done.
func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		unit := args[len(args)-1]
		return fmt.Errorf("systemctl %s: %w: %s; see journalctl -u %s -x", strings.Join(args, " "), err, strings.TrimSpace(string(out)), unit)
	}
	return nil
}
