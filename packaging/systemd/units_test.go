// Package systemd holds the units to systemd's own opinion of them.
package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/sim/require"
	"virtualservicesinc.com/watchdog"
)

// maxExposure is the bar of `systemd-analyze security`, times ten.
const maxExposure = "20"

func TestUnits(t *testing.T) {
	require.Tool(t, "systemd-analyze", "systemd")
	if _, err := os.Stat("/run/systemd"); err != nil {
		require.Root(t) // where systemd does not run, its tool makes the directory
	}
	dir := t.TempDir()
	for _, name := range []string{"rrts@.service", "rrts-net.service", "rrts-backup.service", "rrts-backup.timer", "rrts-watchdog.service", "rrts-reset.service", "rrts.target", "rrts-component.socket", "rrts-component@.service"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// The programs need not be installed here.
		unit := regexp.MustCompile(`(?m)^ExecStart=\S+`).ReplaceAllString(string(data), "ExecStart=/bin/true")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(unit), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	analyze := func(args ...string) string {
		cmd := exec.Command("systemd-analyze", args...)
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":/usr/lib/systemd/system", "SYSTEMD_COLORS=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	units := []string{"rrts@alpha.service", "rrts-component.socket", "rrts-component@1.service", "rrts-net.service", "rrts-backup.service", "rrts-backup.timer", "rrts-watchdog.service", "rrts-reset.service", "rrts.target"}
	for _, u := range units {
		if out := analyze("verify", "--man=no", filepath.Join(dir, u)); out != "" {
			t.Errorf("verify %s: %s", u, out)
		}
	}
	for _, u := range units {
		if !strings.HasSuffix(u, ".service") || u == "rrts-reset.service" {
			continue // it runs nothing
		}
		out := analyze("security", "--offline=true", "--threshold="+maxExposure, filepath.Join(dir, u))
		t.Log(out[strings.Index(out, "→"):])
	}
}

// TestInstance holds the unit to what the rest relies on.
func TestInstance(t *testing.T) {
	data, err := os.ReadFile("rrts@.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Type=notify", "NotifyAccess=main", "WatchdogSec=10", "User=rrts", "PartOf=rrts.target", "WantedBy=rrts.target",
		"CapabilityBoundingSet=CAP_NET_RAW", "LoadCredential=" + config.CredentialPrefix + ":/etc/rrts/keys/%i",
	} {
		if !strings.Contains(string(data), "\n"+line+"\n") {
			t.Errorf("rrts@.service has no %s", line)
		}
	}
}

// TestComponents holds the units to what SFUs rely on that run programs of the site.
func TestComponents(t *testing.T) {
	for unit, lines := range map[string][]string{
		"rrts-component.socket":   {"ListenStream=/run/rrts/component.sock", "SocketGroup=rrts", "SocketMode=0660", "Accept=yes"},
		"rrts-component@.service": {"ExecStart=/usr/sbin/rrtsd --component", "StandardInput=socket", "DynamicUser=yes", "User=rrts-c%i", "NoNewPrivileges=yes", "CapabilityBoundingSet="},
		"rrts@.service":           {"Wants=rrts-component.socket"},
	} {
		data, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains(string(data), "\n"+line+"\n") {
				t.Errorf("%s has no %s", unit, line)
			}
		}
	}
}

// TestWatchdog holds the units to what package watchdog relies on.
func TestWatchdog(t *testing.T) {
	for unit, lines := range map[string][]string{
		"rrts-watchdog.service": {
			"Type=notify", "NotifyAccess=main", "ConditionPathExists=" + watchdog.StateDir + "/order.json",
			"StateDirectory=" + strings.TrimPrefix(watchdog.StateDir, "/var/lib/"), "RuntimeDirectory=" + strings.TrimPrefix(watchdog.RunDir, "/run/"),
			// What is off, or of no use, is not tried again and again.
			"Restart=on-failure", "RestartPreventExitStatus=78", "LimitMEMLOCK=infinity", "CapabilityBoundingSet=",
		},
		"rrts-reset.service": {"DefaultDependencies=no", "SuccessAction=reboot-immediate"},
		"rrts.target":        {"Wants=rrts-watchdog.service"},
	} {
		data, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains(string(data), "\n"+line+"\n") {
				t.Errorf("%s has no %s", unit, line)
			}
		}
	}
	data, err := os.ReadFile("rrts@.service")
	if err != nil {
		t.Fatal(err)
	}
	// So that it is stopped after the SFUs, and guards their stop.
	if !regexp.MustCompile(`(?m)^After=.*\brrts-watchdog\.service\b`).Match(data) {
		t.Error("rrts@.service does not come after rrts-watchdog.service")
	}
}
