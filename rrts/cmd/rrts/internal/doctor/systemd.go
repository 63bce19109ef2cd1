package doctor

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// watchdog looks for what resets a machine that hangs.
func (e *examination) watchdog(ctx context.Context) {
	devices, err := filepath.Glob(e.Root + "/sys/class/watchdog/watchdog[0-9]*")
	if err != nil || len(devices) == 0 {
		e.add(Warn, "watchdog", "look for it in the firmware's settings, or load the driver (modprobe iTCO_wdt, sp5100_tco or i6300esb)", "the machine has no hardware watchdog: one that hangs stays so until somebody comes")
		return
	}
	// A machine may have several: the first that is of hardware counts.
	device, identity := "", ""
	for _, d := range devices {
		name, err := e.read(strings.TrimPrefix(d, e.Root) + "/identity")
		if err != nil || name == "" {
			name = "unknown"
		}
		if device == "" || identity == softdog {
			device, identity = d, name
		}
	}
	if identity == softdog {
		e.add(Warn, "watchdog", "prefer a hardware driver (modprobe iTCO_wdt, sp5100_tco or i6300esb)", "softdog: it dies with the kernel that it watches")
		return
	}
	measured := filepath.Base(device) + ", " + identity
	for _, a := range []struct{ file, text string }{{"timeout", "time-out %s s"}, {"state", "%s"}} {
		if v, err := e.read(strings.TrimPrefix(device, e.Root) + "/" + a.file); err == nil && v != "" {
			measured += ", " + fmt.Sprintf(a.text, v)
		}
	}
	if e.Unit != nil {
		if p, err := e.Unit(ctx, "", "RuntimeWatchdogUSec"); err == nil {
			if v := p["RuntimeWatchdogUSec"]; v != "" && v != "0" && v != "infinity" {
				measured += ", fed by systemd (" + v + ")"
			}
		}
	}
	e.add(OK, "watchdog", "", "%s", measured)
}

// softdog is how the kernel's watchdog of software calls itself.
const softdog = "Software Watchdog"

// units holds that the SFUs start with the machine.
func (e *examination) units(ctx context.Context) {
	if e.Unit == nil {
		e.add(Warn, "units", "start SFUs by hand: rrtsd NAME", "systemd does not run here")
		return
	}
	units := []string{"rrts.target"}
	for _, c := range e.sfus {
		units = append(units, "rrts@"+c.Self.Name+".service")
	}
	for _, u := range units {
		p, err := e.Unit(ctx, u, "LoadState", "UnitFileState", "ActiveState", "SubState", "Result")
		switch {
		case err != nil:
			e.add(Warn, u, "see systemctl status "+u, "systemd does not say: %v", err)
		case p["LoadState"] != "loaded":
			e.add(Fail, u, "install the package rrts", "the unit is %s", p["LoadState"])
		case p["UnitFileState"] != "enabled":
			e.add(Warn, u, "run: systemctl enable "+u, "it does not start with the machine (%s)", p["UnitFileState"])
		case p["ActiveState"] == "failed" || p["Result"] != "" && p["Result"] != "success":
			e.add(Fail, u, "see journalctl -u "+u+" -x", "%s, %s", p["ActiveState"], p["Result"])
		case p["ActiveState"] != "active":
			e.add(Warn, u, "run: systemctl start "+u, "%s", p["ActiveState"])
		default:
			e.add(OK, u, "", "enabled, %s", p["SubState"])
		}
	}
}

// showUnit asks systemd.
func showUnit(ctx context.Context, unit string, properties ...string) (map[string]string, error) {
	args := []string{"show", "--property=" + strings.Join(properties, ",")}
	if unit != "" {
		args = append(args, unit)
	}
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), "="); ok {
			values[name] = value
		}
	}
	return values, nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
