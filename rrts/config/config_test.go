package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
)

var equateAddresses = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// goodCluster is a cluster with everything set that can be.
const goodCluster = `
name = "shop"
id = "000102030405060708090a0b0c0d0e0f"
roster = 3
backup_key = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[interconnect]
carrier = "ethernet"
ethertype_a = 0x9000
ethertype_b = 0x9001
probe_interval = "50ms"
suspect_after = "250ms"
dead_after = "2s"
[transactions]
tick = "20ms"
heartbeat = "60ms"
election_timeout = "200ms"
dedupe_window = "30d"
[clients]
heartbeat = "30s"
session_validity = "1h"
argon2_memory = "64MiB"
argon2_passes = 3
[[sfu]]
number = 1
name = "alpha"
type = "all"
machine = "pc1"
public_key = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
voter = true
udp_a = "192.168.7.1:7401"
udp_b = "192.168.8.1:7401"
gateways = ["pc1.example:7400", "[2001:db8::1]:7400"]
overruled = true
[[sfu]]
number = 7
name = "core-2"
type = "core"
machine = "pc1"
public_key = "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
voter = false
udp_a = "192.168.7.1:7402"
[[sfu]]
number = 9
name = "wit"
type = "witness"
machine = "box"
public_key = "AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
carrier = "udp"
udp_a = "[2001:db8::9]:7401"
`

const goodMachine = `
name = "pc1"
run_dir = "/tmp/run"
[network_a]
mac = "00:25:90:ab:cd:01"
[network_b]
nic = "enp3s0"
speed = 1000
[backup]
target = "/mnt/usb"
keep = "90d"
max_age = "2d"
[alarms]
cpu = "above 99.5% for 10m, until below 90%"
memory = "below 5% for 30s, until above 6%"
disk_space = "below 20% for 1h, until above 20%"
disk_latency = "above 1s for 5s, until below 20ms"
temperature = "above 70C for 1m, until below 65C"
clock = "above 5ms for 2m, until below 1ms"
[alarm_mail]
server = "mail.example.com:465"
security = "tls"
user = "rrts"
ca = "/etc/rrts/mail-ca.pem"
from = "rrts@example.com"
critical = ["anna@example.com", "bert@example.com"]
warning = ["anna@example.com"]
info = ["carla@example.com"]
`

const goodSFU = `
state_dir = "/srv/rrts"
log_level = "debug"
memory = "2GiB"
[gateway]
listen = ["192.168.1.5:7400", "[::1]:7400"]
max_connections = 50
window = 8
client_ca = "/etc/rrts/tls/clients.pem"
[txn]
cache = "8MiB"
balances = 5000
journal_segment = "16MiB"
[mail]
relay = "relay.example:465"
security = "tls"
user = "shop"
ca = "/etc/shop/relay-ca.pem"
from = "Shop <shop@shop.example>"
templates = "/etc/shop/mail"
client_templates = ["receipt", "invoice"]
parallel = 8
per_domain = 3
[alarms]
network_loss = "above 1% for 5s, until below 0.5%"
commit_latency = "above 50ms for 1m, until below 40ms"
lag = "above 10 for 1m, until below 5"
[metrics]
listen = "127.0.0.1:7409"
[login]
elsewhere = true
`

func parseGood(t testing.TB) (*Cluster, *Machine, *SFU) {
	t.Helper()
	c, err := ParseCluster("cluster.toml", []byte(goodCluster))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMachine("machine.toml", []byte(goodMachine))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSFU("alpha.toml", []byte(goodSFU), &c.SFUs[0])
	if err != nil {
		t.Fatal(err)
	}
	return c, m, s
}

func TestRoundTrip(t *testing.T) {
	c, m, s := parseGood(t)
	c2, err := ParseCluster("cluster.toml", c.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, c2, equateAddresses); diff != "" {
		t.Errorf("cluster.toml (-read +written and read):\n%s", diff)
	}
	m2, err := ParseMachine("machine.toml", m.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, m2); diff != "" {
		t.Errorf("machine.toml (-read +written and read):\n%s", diff)
	}
	s2, err := ParseSFU("alpha.toml", s.Marshal(&c.SFUs[0]), &c.SFUs[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, s2); diff != "" {
		t.Errorf("sfu/alpha.toml (-read +written and read):\n%s", diff)
	}
}

// TestGoodSetsEverything keeps the round trip honest: a key that the examples
// above leave at its zero value would be compared with itself.
func TestGoodSetsEverything(t *testing.T) {
	c, m, s := parseGood(t)
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		switch {
		case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[netip.AddrPort]():
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case v.IsZero():
			t.Errorf("%s is not set", path)
		}
	}
	walk("Cluster", reflect.ValueOf(*c))
	walk("Member", reflect.ValueOf(c.SFUs[0]))
	walk("Machine.Name", reflect.ValueOf(m.Name))
	walk("Machine.RunDir", reflect.ValueOf(m.RunDir))
	walk("Machine.NetworkA.MAC", reflect.ValueOf(m.NetworkA.MAC))
	walk("Machine.NetworkB.Name", reflect.ValueOf(m.NetworkB.Name))
	walk("Machine.Mail", reflect.ValueOf(m.Mail))
	walk("Machine.Backup", reflect.ValueOf(m.Backup))
	walk("SFU", reflect.ValueOf(*s))
}

// TestFaults holds every message to testdata/faults. A case is a file as it might
// stand on disk; "edit" is the good one with what stands before "=>" replaced by
// what stands after it.
func TestFaults(t *testing.T) {
	good := map[string]string{"cluster": goodCluster, "machine": goodMachine, "sfu": goodSFU}
	datadriven.Walk(t, "testdata/faults", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			text := d.Input
			if d.Cmd == "edit" {
				old, replacement, found := strings.Cut(d.Input, "=>")
				old, replacement = strings.TrimSpace(old), strings.TrimSpace(replacement)
				var which string
				d.ScanArgs(t, "file", &which)
				text = strings.Replace(good[which], old, replacement, 1)
				if !found || text == good[which] {
					t.Fatalf("%s: the good file has no %q", d.Pos, old)
				}
				d.Cmd = which
			}
			var err error
			switch d.Cmd {
			case "cluster":
				_, err = ParseCluster("cluster.toml", []byte(text))
			case "machine":
				_, err = ParseMachine("machine.toml", []byte(text))
			case "sfu":
				c, _, _ := parseGood(t)
				_, err = ParseSFU("sfu/alpha.toml", []byte(text), &c.SFUs[0])
			default:
				t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
			}
			if err == nil {
				return "ok\n"
			}
			return err.Error() + "\n"
		})
	})
}

// TestEveryKeyFaults gives every key of every file a date, which none of them is.
func TestEveryKeyFaults(t *testing.T) {
	c, _, _ := parseGood(t)
	for _, tc := range []struct {
		name, text string
		parse      func(data []byte) error
	}{
		{"cluster", goodCluster, func(b []byte) error { _, err := ParseCluster("f", b); return err }},
		{"machine", goodMachine, func(b []byte) error { _, err := ParseMachine("f", b); return err }},
		{"sfu", goodSFU, func(b []byte) error { _, err := ParseSFU("f", b, &c.SFUs[0]); return err }},
	} {
		lines := strings.Split(tc.text, "\n")
		for i, line := range lines {
			name, _, ok := strings.Cut(line, " = ")
			if !ok {
				continue
			}
			bad := append(append(append([]string{}, lines[:i]...), name+" = 2026-01-01"), lines[i+1:]...)
			err := tc.parse([]byte(strings.Join(bad, "\n")))
			if err == nil {
				t.Errorf("%s: %s may be a date", tc.name, name)
				continue
			}
			e := err.(*Error)
			f := e.Faults[0]
			if f.Line != i+1 || f.Column != 1 || !strings.HasSuffix(f.Key, name) || f.Problem != "is a date or time" || !strings.HasPrefix(f.Cure, "write ") || strings.Contains(f.String(), "\n") {
				t.Errorf("%s: line %d: %v", tc.name, i+1, err)
			}
		}
	}
}

// TestExamples keeps the commented files that the package ships as documentation
// in step with the code: they are what the code writes.
func TestExamples(t *testing.T) {
	c, m, _ := parseGood(t)
	small := &Cluster{Name: "shop", ID: c.ID, BackupKey: PublicKey{9}}
	for i, name := range []string{"alpha", "bravo", "carol"} {
		pc := "pc" + string(rune('1'+i))
		small.SFUs = append(small.SFUs, Member{Number: uint16(i + 1), Name: name, Type: TypeAll, Machine: pc, PublicKey: PublicKey{byte(i + 1)}, Voter: true, Gateways: []string{pc + ".example:7400"}})
	}
	m.RunDir, m.NetworkB.Speed, m.Backup, m.Alarms, m.Mail = "", 0, Backups{}, MachineAlarms{}, AlarmMail{}
	for path, data := range map[string][]byte{
		"cluster.toml":             small.Marshal(),
		"machine.toml":             m.Marshal(),
		"sfu/alpha.toml":           (&SFU{}).Marshal(&small.SFUs[0]),
		"components.d/orders.toml": orders.Marshal(),
		"datasource/shop.toml":     shop.Marshal(),
		"payment/stripe.toml":      stripe.Marshal(),
	} {
		golden(t, filepath.Join("..", "..", "packaging", "examples", path), data)
	}
	if err := small.Validate(); err != nil {
		t.Error(err)
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./rrts/config -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-file +code); write it again with: go test ./rrts/config -update\n%s", path, diff)
	}
}
