package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/internal/lastbackup"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/nic"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/watchdog"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// healthy is a machine on which all is well; a test spoils one thing.
type healthy struct {
	*Patient
	t      *testing.T
	nics   []nic.NIC
	heard  []nic.Heard // the first of them is heard from port 1 of the survey's own source
	ips    map[string]net.IP
	clock  Clock
	clocks []PeerClock
	silent error // why nobody knows them
	did    []string
	disk   Disk
	units  map[string]map[string]string
}

func newHealthy(t *testing.T) *healthy {
	t.Helper()
	h := &healthy{
		t: t,
		nics: []nic.NIC{
			{Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Index: 2, MTU: 1500, Up: true, Carrier: true},
			{Name: "eth1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Index: 3, MTU: 1500, Up: true, Carrier: true},
		},
		ips:   map[string]net.IP{"pc1.example": net.IPv4(10, 0, 0, 1), "pc2.example": net.IPv4(10, 0, 0, 2)},
		clock: Clock{Synchronised: true, MaxError: 20 * time.Millisecond},
		disk:  Disk{Median: time.Millisecond, Worst: 3 * time.Millisecond, Free: 100 << 30, Size: 200 << 30},
		units: map[string]map[string]string{"": {"RuntimeWatchdogUSec": "1min"}, "chrony.service": {"ActiveState": "active"}},
		clocks: []PeerClock{
			{SFU: "bravo", Machine: "pc2", Offset: 3 * time.Millisecond, Error: 200 * time.Microsecond},
			{SFU: "delta", Machine: "pc1", Offset: time.Hour, Error: time.Millisecond}, // the same clock
		},
	}
	for _, u := range []string{"rrts.target", "rrts@alpha.service"} {
		h.units[u] = map[string]string{"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active", "SubState": "running", "Result": "success"}
	}
	h.Patient = &Patient{
		Dir: filepath.Join(t.TempDir(), "etc"), Root: t.TempDir(), Now: now,
		NICs: func() ([]nic.NIC, error) { return h.nics, nil },
		Survey: func(_ context.Context, s *nic.Survey) ([]nic.Heard, error) {
			for i := range h.heard {
				h.heard[i].Beacon.Source = s.Source
			}
			return h.heard, nil
		},
		Resolve: func(_ context.Context, host string) ([]net.IP, error) {
			if ip := h.ips[host]; ip != nil {
				return []net.IP{ip}, nil
			}
			return nil, errors.New("no such host")
		},
		Clock:  func() (Clock, error) { return h.clock, nil },
		Clocks: func(context.Context) ([]PeerClock, error) { return h.clocks, h.silent },
		Run: func(_ context.Context, command ...string) error {
			h.did = append(h.did, strings.Join(command, " "))
			return nil
		},
		Renew: func(_ context.Context, sfu string) error {
			h.did = append(h.did, "renewed "+sfu)
			return nil
		},
		Fsync: func(string) (Disk, error) { return h.disk, nil },
		Unit: func(_ context.Context, unit string, _ ...string) (map[string]string, error) {
			return h.units[unit], nil
		},
	}
	m, err := genesis.Create(genesis.Spec{
		Name: "shop", Now: now,
		SFUs: []genesis.SFU{
			{Name: "alpha", Machine: "pc1", Gateways: []string{"pc1.example:7400"}},
			{Name: "bravo", Machine: "pc2", Gateways: []string{"pc2.example:7400"}},
		},
		Machines: []config.Machine{{Name: "pc1", NetworkA: config.NIC{MAC: h.nics[0].MAC}, NetworkB: config.NIC{Name: "eth1"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WriteMachine(h.Dir, "pc1", genesis.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteMaster(filepath.Join(h.Dir, "master")); err != nil {
		t.Fatal(err)
	}
	h.write("/proc/sys/net/core/rmem_max", "8388608\n")
	h.write("/proc/sys/net/core/wmem_max", "8388608\n")
	h.write("/proc/sys/net/unix/max_dgram_qlen", "512\n")
	h.write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1\n")
	h.write("/usr/lib/systemd/system/sleep.target.d/rrts.conf", "")
	h.write("/sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n")
	h.write("/sys/class/watchdog/watchdog0/timeout", "30\n")
	return h
}

func (h *healthy) write(path, text string) {
	h.t.Helper()
	path = h.Root + path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// target gives the machine a target for backups.
func (h *healthy) target(dir string) {
	h.t.Helper()
	path := filepath.Join(h.Dir, "machine.toml")
	m, err := config.LoadMachine(path)
	if err != nil {
		h.t.Fatal(err)
	}
	m.Backup.Target = dir
	if err := os.WriteFile(path, m.Marshal(), 0o640); err != nil {
		h.t.Fatal(err)
	}
	h.units["rrts-backup.timer"] = map[string]string{"UnitFileState": "enabled", "ActiveState": "active"}
}

// mail has alarms go by mail.
func (h *healthy) mail(change func(*config.AlarmMail)) {
	h.t.Helper()
	path := filepath.Join(h.Dir, "machine.toml")
	m, err := config.LoadMachine(path)
	if err != nil {
		h.t.Fatal(err)
	}
	m.Mail = config.AlarmMail{Server: "mail.example:587", Security: config.MailStartTLS, User: "rrts", From: "rrts@example.com", Critical: []string{"anna@example.com"}}
	h.ips["mail.example"] = net.IPv4(192, 0, 2, 7)
	password := filepath.Join(h.Dir, "keys/alpha", config.FileMailPassword)
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	change(&m.Mail)
	if err := os.WriteFile(path, m.Marshal(), 0o640); err != nil {
		h.t.Fatal(err)
	}
}

// relay has mails that transactions owe go through a relay that resolves, with these keys
// beside it.
func (h *healthy) relay(keys string) {
	h.t.Helper()
	h.ips["relay.example"] = net.IPv4(192, 0, 2, 8)
	text := "[mail]\nrelay = \"relay.example:587\"\nfrom = \"shop@example.com\"\n" + keys
	if err := os.WriteFile(filepath.Join(h.Dir, "sfu/alpha.toml"), []byte(text), 0o640); err != nil {
		h.t.Fatal(err)
	}
}

// backedUp has taken a backup, so long before or after now.
func (h *healthy) backedUp(at time.Duration) {
	h.t.Helper()
	h.target("/mnt/usb")
	if err := os.MkdirAll(h.Root+"/mnt/usb", 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := lastbackup.Write(h.Dir, &lastbackup.Note{File: "/mnt/usb/a.rrtsbackup", CSN: 7, Taken: now.Add(at)}); err != nil {
		h.t.Fatal(err)
	}
}

// text shows a finding as a line of a transcript.
func text(f Finding) string {
	s := fmt.Sprintf("%s %s: %s", f.Verdict, f.Check, f.Measured)
	if f.Cure != "" {
		s += " → " + f.Cure
	}
	return s
}

func TestHealthy(t *testing.T) {
	findings := newHealthy(t).Examine(t.Context())
	for _, f := range findings {
		if f.Verdict != OK || f.Cure != "" {
			t.Error(text(f))
		}
	}
	if len(findings) != 19 || Worst(findings) != OK {
		t.Errorf("%d findings, the worst %s", len(findings), Worst(findings))
	}
}

// TestFindings spoils one thing each: what is said of it is the only finding that is
// not ok.
func TestFindings(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*healthy)
		want  []string
	}{
		{"a NIC is gone", func(h *healthy) { h.nics = h.nics[:1] }, []string{
			"fail network B: eth1 is missing → plug it in, or correct machine.toml"}},
		{"a cable is out", func(h *healthy) { h.nics[0].Carrier = false }, []string{
			"fail network A: eth0 (02:00:00:00:00:01) has no carrier → plug the cable in; see that the switch is on"}},
		{"a NIC is down", func(h *healthy) { h.nics[1].Up = false }, []string{
			"fail network B: eth1 (02:00:00:00:00:02) is down → run: systemctl restart rrts-net"}},
		{"an address", func(h *healthy) { h.nics[1].Unfit = "it has the IP address 10.0.0.9/24" }, []string{
			"warn network B: eth1 (02:00:00:00:00:02) is used: it has the IP address 10.0.0.9/24 → take it from whoever uses it, or name another NIC in machine.toml"}},
		{"an MTU and IPv6", func(h *healthy) {
			h.nics[0].MTU = 9000
			h.write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0\n")
		}, []string{
			"warn network A: eth0 (02:00:00:00:00:01) has an MTU of 9000, not 1500 → run: systemctl restart rrts-net",
			"warn network A: eth0 (02:00:00:00:00:01) speaks IPv6 → run: systemctl restart rrts-net"}},
		{"NetworkManager", func(h *healthy) { h.write("/run/NetworkManager/devices/2", "[device]\nmanaged=true\n") }, []string{
			"warn network A: eth0 (02:00:00:00:00:01) is managed by NetworkManager → run: systemctl restart rrts-net; if it stays, remove the NIC from its configuration"}},
		{"networkd", func(h *healthy) { h.write("/run/systemd/netif/links/3", "ADMIN_STATE=configured\n") }, []string{
			"warn network B: eth1 (02:00:00:00:00:02) is managed by systemd-networkd → run: systemctl restart rrts-net; if it stays, remove the NIC from its configuration"}},
		{"ifupdown", func(h *healthy) { h.write("/run/network/ifstate", "lo=lo\neth1=eth1\n") }, []string{
			"warn network B: eth1 (02:00:00:00:00:02) is managed by ifupdown (/etc/network/interfaces) → run: systemctl restart rrts-net; if it stays, remove the NIC from its configuration"}},
		{"networkd knows better", func(h *healthy) { h.write("/run/systemd/netif/links/3", "ADMIN_STATE=unmanaged\n") }, nil},
		{"one network", func(h *healthy) { h.heard = []nic.Heard{{NIC: "eth1", Beacon: nic.Beacon{Port: 1}}} }, []string{
			"fail two networks: what leaves on eth0 arrives on eth1 → plug them into two switches that nothing joins"}},
		{"a name", func(h *healthy) { delete(h.ips, "pc2.example") }, []string{
			"fail name pc2.example: gateway of bravo: it does not resolve: no such host → put the name into your DNS, or into /etc/hosts on every machine and client"}},
		{"Debian's loopback name", func(h *healthy) { h.ips["pc1.example"] = net.IPv4(127, 0, 1, 1) }, []string{
			"warn name pc1.example: gateway of alpha: it is 127.0.1.1 here, which no other machine reaches → in /etc/hosts give it the machine's address on the clients' network instead"}},
		{"no time", func(h *healthy) { h.clock.Synchronised = false }, []string{
			"fail clock: it is not synchronised (chrony.service runs): a leader whose clock is off hands over, and logins and certificates go wrong → ask it why: chronyc tracking; chronyc sources"}},
		{"no time service", func(h *healthy) {
			h.clock.Synchronised = false
			delete(h.units, "chrony.service")
		}, []string{
			"fail clock: it is not synchronised (no time service runs): a leader whose clock is off hands over, and logins and certificates go wrong → run one: apt install chrony; then see chronyc tracking"}},
		{"vague time", func(h *healthy) { h.clock.MaxError = time.Second }, []string{
			"warn clock: it may be off by 1s, more than 500ms (chrony.service runs) → ask it why: chronyc tracking; chronyc sources"}},
		{"another clock is odd", func(h *healthy) { h.clocks[0].Offset = -120 * time.Millisecond }, []string{
			"warn clock of pc2: 120ms behind compared with this one, to within 200µs (by bravo) → find out which of the two is wrong: rrts doctor there and on a third machine; its time service does not do its work"}},
		{"another clock is wrong", func(h *healthy) { h.clocks[0].Offset = 2 * time.Second }, []string{
			"fail clock of pc2: 2s ahead compared with this one, to within 200µs (by bravo): a leader that is so far from the others hands over → find out which of the two is wrong: rrts doctor there and on a third machine; its time service does not do its work"}},
		{"an offset within its error", func(h *healthy) {
			h.clocks[0].Offset, h.clocks[0].Error = 510*time.Millisecond, 450*time.Millisecond
		}, nil},
		{"nobody knows the clocks", func(h *healthy) { h.silent = errors.New("no SFU could be reached") }, []string{
			"warn clocks of the others: nobody here knows them: no SFU could be reached → start an SFU with a gateway here: systemctl start rrts@NAME"}},
		{"a slow disk", func(h *healthy) { h.disk.Median = 25 * time.Millisecond }, []string{
			"warn disk /var/lib/rrts/alpha: a durable write takes 25ms, at worst 3ms; 100.0 GiB free of 200.0 GiB → every commit waits for it: an SSD, best one with power-loss protection, is ten times faster"}},
		{"a hopeless disk", func(h *healthy) { h.disk.Median = 250 * time.Millisecond }, []string{
			"fail disk /var/lib/rrts/alpha: a durable write takes 250ms, at worst 3ms; 100.0 GiB free of 200.0 GiB → the disk is too slow for transactions: use an SSD, best one with power-loss protection"}},
		{"a full disk", func(h *healthy) { h.disk.Free = 500 << 20 }, []string{
			"fail disk /var/lib/rrts/alpha: a durable write takes 1ms, at worst 3ms; 500 MiB free of 200.0 GiB → free space, or move state_dir"}},
		{"memory", func(h *healthy) { h.disk.Memory = true }, []string{
			"fail disk /var/lib/rrts/alpha: it is in memory: a power cut loses it; a durable write takes 1ms, at worst 3ms; 100.0 GiB free of 200.0 GiB → put state_dir of sfu/NAME.toml on a disk"}},
		{"open keys", func(h *healthy) { os.Chmod(filepath.Join(h.Dir, "keys/alpha"), 0o755) }, []string{
			"fail keys of alpha: DIR/keys/alpha has mode 0755: others can look in → run: chmod -R go= DIR/keys/alpha"}},
		{"a lost key", func(h *healthy) { os.Remove(filepath.Join(h.Dir, "keys/alpha/psk.key")) }, []string{
			"fail keys of alpha: DIR/keys/alpha/psk.key: file is missing; restore it from the machine where the cluster was made → restore what is missing, or replace the SFU: rrts sfu replace alpha"}},
		{"open master keys", func(h *healthy) { os.Chmod(filepath.Join(h.Dir, "master"), 0o750) }, []string{
			"fail master keys: DIR/master has mode 0750: others can look in → run: chmod -R go= DIR/master"}},
		{"an old certificate", func(h *healthy) { h.Now = now.AddDate(0, 0, 800) }, []string{
			"warn certificate of alpha: it ends on 2028-06-03, in 25 days → run where the master keys are: rrts node renew alpha"}},
		{"an expired certificate", func(h *healthy) { h.Now = now.AddDate(0, 0, 900) }, []string{
			"fail certificate of alpha: it ended on 2028-06-03: no client connects → run where the master keys are: rrts node renew alpha"}},
		{"small buffers", func(h *healthy) { h.write("/proc/sys/net/core/rmem_max", "212992\n") }, []string{
			"warn sysctl net.core.rmem_max: 212992, below 4194304: bursts are lost → run: systemctl restart systemd-sysctl; if it stays, a file in /etc/sysctl.d lowers it"}},
		{"sleep", func(h *healthy) { os.RemoveAll(h.Root + "/usr/lib/systemd") }, []string{
			"warn sleep: nothing keeps this machine from going to sleep → run: systemctl mask sleep.target; or install the package rrts, which refuses it while an SFU runs"}},
		{"softdog", func(h *healthy) { h.write("/sys/class/watchdog/watchdog0/identity", "Software Watchdog\n") }, []string{
			"warn watchdog: softdog: it dies with the kernel that it watches → prefer a hardware driver (modprobe iTCO_wdt, sp5100_tco or i6300esb)"}},
		{"softdog beside hardware", func(h *healthy) {
			h.write("/sys/class/watchdog/watchdog0/identity", "Software Watchdog\n")
			h.write("/sys/class/watchdog/watchdog1/identity", "iTCO_wdt\n")
		}, nil},
		{"no disk for backups", func(h *healthy) { h.target("/mnt/usb") }, []string{
			"fail backup: the target /mnt/usb is not there: stat ROOT/mnt/usb: no such file or directory → mount its disk; see findmnt"}},
		{"no backup", func(h *healthy) {
			h.target("/mnt/usb")
			os.MkdirAll(h.Root+"/mnt/usb", 0o700)
		}, []string{
			"warn backup: no backup has been taken to /mnt/usb yet → run: systemctl start rrts-backup; if it fails, see journalctl -u rrts-backup"}},
		{"an old backup", func(h *healthy) {
			h.backedUp(-50 * time.Hour)
		}, []string{
			"warn backup: the last backup to /mnt/usb was taken 50h0m0s ago, on 2026-02-27 10:00 UTC → run: systemctl start rrts-backup; if it fails, see journalctl -u rrts-backup"}},
		{"a fresh backup", func(h *healthy) { h.backedUp(-time.Hour) }, nil},
		{"nobody takes backups", func(h *healthy) {
			h.backedUp(-time.Hour)
			h.units["rrts-backup.timer"] = map[string]string{"UnitFileState": "disabled", "ActiveState": "inactive"}
		}, []string{
			"warn backup: nothing takes backups to /mnt/usb by itself: rrts-backup.timer is disabled, inactive → run: systemctl enable --now rrts-backup.timer"}},
		{"backups on the ledger's disk", func(h *healthy) {
			h.backedUp(-time.Hour)
			os.MkdirAll(h.Root+"/var/lib/rrts/alpha", 0o700)
		}, []string{
			"warn backup: the target /mnt/usb is on the disk that holds the ledger of alpha: who loses one loses both → name a target on another disk in machine.toml, best on another machine"}},
		{"mail", func(h *healthy) { h.mail(func(*config.AlarmMail) {}) }, nil},
		{"a mail server that is not there", func(h *healthy) {
			h.mail(func(m *config.AlarmMail) { m.Server = "mial.example:587" })
		}, []string{
			"fail mail: mial.example does not resolve: no such host → correct server in the section alarm_mail of machine.toml, or the machine's DNS"}},
		{"no password for mail", func(h *healthy) {
			h.mail(func(*config.AlarmMail) { os.Remove(filepath.Join(h.Dir, "keys/alpha/mail.password")) })
		}, []string{
			"fail mail: DIR/keys/alpha/mail.password: file is missing; write the password into it as one line, chmod 640, chgrp rrts, then restart the SFU → then try it: rrts alarms test"}},
		{"no certificate for mail", func(h *healthy) {
			h.mail(func(m *config.AlarmMail) { m.CA = "/etc/ca.pem" })
		}, []string{
			"fail mail: /etc/ca.pem holds no certificate → correct ca in the section alarm_mail of machine.toml"}},
		{"nobody for critical alarms", func(h *healthy) {
			h.mail(func(m *config.AlarmMail) { m.Critical, m.Info = nil, m.Critical })
		}, []string{
			"warn mail: nobody is told of critical alarms → name somebody for critical in the section alarm_mail of machine.toml"}},
		{"a relay", func(h *healthy) { h.relay("") }, nil},
		{"a relay that is not there", func(h *healthy) {
			h.relay("")
			delete(h.ips, "relay.example")
		}, []string{
			"fail relay: relay.example does not resolve: no such host → correct relay in the section mail of sfu/alpha.toml, or the machine's DNS"}},
		{"no certificate for a relay", func(h *healthy) {
			h.write("/etc/ca.pem", "nothing\n")
			h.relay("ca = \"/etc/ca.pem\"\n")
		}, []string{
			"fail relay: /etc/ca.pem holds no certificate → correct ca in the section mail of sfu/alpha.toml"}},
		{"a watchdog that nobody armed", func(h *healthy) { h.units[""]["RuntimeWatchdogUSec"] = "0" }, []string{
			"warn watchdog: watchdog0, iTCO_wdt, time-out 30 s, not armed: a machine that hangs stays so until somebody comes → when nothing fails here, run: rrts watchdog arm"}},
		{"a watchdog that is off", func(h *healthy) {
			h.write(watchdog.StateDir+"/order.json", `{"id": "1", "device": "/dev/watchdog0", "timeout_s": 60}`)
			h.write(watchdog.StateDir+"/record.json", `{"order": "1", "off": {"why": "3 resets within 1h0m0s"}}`)
		}, []string{
			"warn watchdog: watchdog0, iTCO_wdt, time-out 30 s, fed by systemd (1min), off after 3 resets within 1h0m0s → see rrts watchdog status; when the cause is found, run: rrts watchdog arm"}},
		{"a watchdog that does not run", func(h *healthy) {
			h.write(watchdog.StateDir+"/order.json", `{"id": "1", "device": "/dev/watchdog0", "timeout_s": 60}`)
		}, []string{
			"warn watchdog: watchdog0, iTCO_wdt, time-out 30 s, fed by systemd (1min), ordered and not running → see journalctl -u rrts-watchdog -x"}},
		{"a disabled unit", func(h *healthy) { h.units["rrts@alpha.service"]["UnitFileState"] = "disabled" }, []string{
			"warn rrts@alpha.service: it does not start with the machine (disabled) → run: systemctl enable rrts@alpha.service"}},
		{"a failed unit", func(h *healthy) {
			h.units["rrts@alpha.service"]["ActiveState"], h.units["rrts@alpha.service"]["Result"] = "failed", "exit-code"
		}, []string{
			"fail rrts@alpha.service: failed, exit-code → see journalctl -u rrts@alpha.service -x"}},
		{"components", func(h *healthy) {
			program := filepath.Join(h.Dir, "program")
			os.WriteFile(program, nil, 0o755)
			os.WriteFile(program+"2", nil, 0o644)
			os.WriteFile(program+"3", nil, 0o755)
			os.Chmod(program+"3", 0o757)
			os.MkdirAll(filepath.Join(h.Dir, "components.d"), 0o755)
			for name, text := range map[string]string{"a": "executable = \"" + program + "\"", "b": "executable = \"" + program + "2\"", "c": "executable = \"" + program + "3\"",
				"d": "executable = \"" + program + "\"\nuser = \"self\"", "e": "executable = \"" + program + "\"\nsfus = [\"zulu\"]", "f": "executable = \"/nowhere\"", "g": "x = 1"} {
				os.WriteFile(config.ComponentFile(h.Dir, name), []byte(text), 0o644)
			}
		}, []string{
			"fail component b: DIR/program2 cannot be executed → run: chmod a+rx DIR/program2",
			"fail component c: others than its owner can change DIR/program3 → run: chmod go-w DIR/program3",
			`warn component d: it runs under the user of the SFU and sees what the SFU sees → write user = "dynamic" where it is more than development`,
			"warn component e: no SFU of this machine runs it → name an SFU of this machine in sfus, or remove the file",
			"fail component f: /nowhere is not there → install it there, or correct executable in DIR/components.d/f.toml",
			`fail component g: DIR/components.d/g.toml:1:1: key executable: missing; write executable = "/usr/local/lib/orders/orders"; DIR/components.d/g.toml:1:1: key x: unknown key; remove it; keys here are executable, arguments, user, sfus, calls, role, principal, service, limits → correct the file, then: rrts component restart g`}},
		{"a bad file", func(h *healthy) {
			os.WriteFile(filepath.Join(h.Dir, "sfu/alpha.toml"), []byte("colour = 1\n"), 0o640)
		}, []string{
			"fail configuration: DIR/sfu/alpha.toml:1:1: key colour: unknown key; remove it; keys here are state_dir, log_level, memory, gateway, login, txn, mail, alarms, metrics → correct the file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHealthy(t)
			tc.spoil(h)
			var got []string
			for _, f := range h.Examine(t.Context()) {
				if f.Verdict != OK {
					got = append(got, strings.NewReplacer(h.Dir, "DIR", h.Root, "ROOT").Replace(text(f)))
				}
			}
			if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("\ngot  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tc.want, "\n     "))
			}
		})
	}
}

// TestWitnessRoom: what a witness may have to keep fits on its disk, together with what
// it keeps already.
func TestWitnessRoom(t *testing.T) {
	h := newHealthy(t)
	c := &config.Config{Self: &config.Member{Name: "wit", Type: config.TypeWitness}, SFU: &config.SFU{StateDir: "/var/lib/rrts/wit"}}
	c.SFU.Txn.WitnessLog = 4 << 30
	const few = "ok disk /var/lib/rrts/wit: a durable write takes 1ms, at worst 3ms; 100.0 GiB free of 200.0 GiB"
	for _, x := range []struct {
		free, kept int64
		want       string
	}{
		{100 << 30, 0, "ok log of wit: up to 4.0 GiB for SFUs that are away, with room for 100.0 GiB"},
		{3 << 30, 0, "warn log of wit: this witness keeps up to 4.0 GiB of the log for SFUs that are away (witness_log), and has room for 3.0 GiB: when that is full it votes no more → free space, move state_dir, or lower witness_log in sfu/wit.toml"},
		{3 << 30, 1 << 30, "ok log of wit: up to 4.0 GiB for SFUs that are away, with room for 4.0 GiB"},
	} {
		h.disk.Free = uint64(x.free)
		h.write("/var/lib/rrts/wit/journal/1.seg", "")
		if err := os.Truncate(h.Root+"/var/lib/rrts/wit/journal/1.seg", x.kept); err != nil {
			t.Fatal(err)
		}
		e := &examination{Patient: h.Patient, sfus: []*config.Config{c}}
		e.disks()
		if len(e.findings) != 2 || text(e.findings[1]) != x.want || x.free == 100<<30 && text(e.findings[0]) != few {
			t.Errorf("%d free, %d kept: %+v, want %q", x.free, x.kept, e.findings, x.want)
		}
	}
}

// TestFix: what is safe is done, each thing once, and nothing else is.
func TestFix(t *testing.T) {
	h := newHealthy(t)
	h.nics[0].MTU, h.nics[1].Up = 9000, false
	h.nics[1].Carrier = false // a cable: not for Fix
	h.clock.Synchronised = false
	h.disk.Free = 0
	h.write("/proc/sys/net/core/rmem_max", "212992\n")
	h.Now = now.AddDate(0, 0, 800) // the certificate ends soon
	for _, dir := range []string{"keys/alpha", "master"} {
		if err := os.Chmod(filepath.Join(h.Dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	findings := h.Examine(t.Context())
	var told []string
	for _, f := range h.Fix(t.Context(), findings) {
		if f.Err != nil {
			t.Error(f.Did, f.Err)
		}
		told = append(told, strings.ReplaceAll(f.Did, h.Dir, "DIR"))
	}
	if want := []string{"systemctl restart rrts-net", "chmod -R go= DIR/keys/alpha", "rrts node renew alpha", "chmod -R go= DIR/master",
		"/usr/lib/systemd/systemd-sysctl --prefix=net/core/rmem_max"}; strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("it says that it did\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if want := []string{"systemctl restart rrts-net", "renewed alpha", "/usr/lib/systemd/systemd-sysctl --prefix=net/core/rmem_max"}; strings.Join(h.did, "\n") != strings.Join(want, "\n") {
		t.Errorf("it did %q", h.did)
	}
	for _, f := range h.Examine(t.Context()) {
		if (f.Check == "keys of alpha" || f.Check == "master keys") && f.Verdict != OK {
			t.Error(text(f))
		}
	}
	// Own certificates are their owner's to renew.
	if err := os.MkdirAll(filepath.Join(h.Dir, "tls"), 0o750); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"sfu/alpha.crt": "alpha.crt", "keys/alpha/gateway.key": "alpha.key"} {
		data, err := os.ReadFile(filepath.Join(h.Dir, from))
		if err == nil {
			err = os.WriteFile(filepath.Join(h.Dir, "tls", to), data, 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range h.Examine(t.Context()) {
		if f.Check == "certificate of alpha" && (f.Verdict != Warn || f.Fixable) {
			t.Error(text(f))
		}
	}
}

// TestBare is a machine that has no configuration yet.
func TestBare(t *testing.T) {
	h := newHealthy(t)
	if err := os.RemoveAll(h.Dir); err != nil {
		t.Fatal(err)
	}
	findings := h.Examine(t.Context())
	if Worst(findings) != Warn {
		t.Errorf("the worst is %s", Worst(findings))
	}
	found := false
	for _, f := range findings {
		found = found || f.Check == "networks" && f.Verdict == OK && strings.Contains(f.Measured, "free NICs: eth0")
	}
	if !found {
		t.Errorf("its NICs are not named: %+v", findings)
	}
}

// TestMeasure measures what is there, as root or not.
func TestMeasure(t *testing.T) {
	d, err := measureDisk(t.TempDir())
	if err != nil || d.Median <= 0 || d.Worst < d.Median || d.Size < d.Free {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := measureDisk("/proc/nowhere"); !os.IsNotExist(err) {
		t.Errorf("a directory that is not there: %v", err)
	}
	if _, err := kernelClock(); err != nil {
		t.Errorf("the clock: %v", err)
	}
}
