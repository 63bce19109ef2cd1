package doctor

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"virtualservicesinc.com/watchdog"
)

// watchdog looks for what resets a machine that hangs.
func (e *examination) watchdog(ctx context.Context) {
	const modules = "(modprobe iTCO_wdt, sp5100_tco or i6300esb)"
	found, err := watchdog.Find(e.Root)
	if err != nil || len(found) == 0 {
		e.add(Warn, "watchdog", "look for it in the firmware's settings, or load the driver "+modules, "the machine has no hardware watchdog: one that hangs stays so until somebody comes")
		return
	}
	if found[0].Software() {
		e.add(Warn, "watchdog", "prefer a hardware driver "+modules, "softdog: it dies with the kernel that it watches")
		return
	}
	what := filepath.Base(found[0].Device) + ", " + cmp.Or(found[0].Identity, "unknown")
	dir := "/sys/class/watchdog/" + filepath.Base(found[0].Device)
	for _, a := range []struct{ file, text string }{{"timeout", "time-out %s s"}, {"state", "%s"}} {
		if v, err := e.read(dir + "/" + a.file); err == nil && v != "" {
			what += ", " + fmt.Sprintf(a.text, v)
		}
	}
	fedBySystemd := false
	if e.Unit != nil {
		if p, err := e.Unit(ctx, "", "RuntimeWatchdogUSec"); err == nil {
			if v := p["RuntimeWatchdogUSec"]; v != "" && v != "0" && v != "infinity" {
				fedBySystemd = true
				what += ", fed by systemd (" + v + ")"
			}
		}
	}
	// None of this fails: it must not keep an operator from arming it again.
	s, err := watchdog.Tell(e.Root+watchdog.StateDir, e.Root+watchdog.RunDir)
	const arm = "when nothing fails here, run: rrts watchdog arm"
	switch {
	case err != nil:
		e.add(Warn, "watchdog", arm, "%s, %s", what, oneLine(err))
	case s.State == watchdog.UnarmedState && fedBySystemd:
		e.add(OK, "watchdog", "", "%s, not armed for engines that cannot be killed", what)
	case s.State == watchdog.UnarmedState:
		e.add(Warn, "watchdog", arm, "%s, not armed: a machine that hangs stays so until somebody comes", what)
	case s.State == watchdog.OffState:
		e.add(Warn, "watchdog", "see rrts watchdog status; when the cause is found, run: rrts watchdog arm", "%s, off after %s", what, s.Why)
	case s.State == watchdog.DeadState:
		e.add(Warn, "watchdog", "see journalctl -u rrts-watchdog -x", "%s, ordered and not running", what)
	default:
		e.add(OK, "watchdog", "", "%s, %s", what, s.State)
	}
}

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
