package config

import (
	"bytes"
	"crypto/ed25519"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// placeFiles writes files below a new directory.
func placeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad(t *testing.T) {
	dir := placeFiles(t, map[string]string{"cluster.toml": goodCluster, "machine.toml": goodMachine, "sfu/alpha.toml": "", "sfu/core-2.toml": goodSFU})
	c, err := Load(dir, "alpha")
	if err != nil {
		t.Fatal(err)
	}
	if c.SFU.StateDir != "/var/lib/rrts/alpha" {
		t.Errorf("state in %s", c.SFU.StateDir)
	}
	if diff := cmp.Diff([]string{":7400"}, c.SFU.Gateway.Listen); diff != "" {
		t.Errorf("listen (-want +got):\n%s", diff)
	}
	if got := c.ControlSocket("alpha"); got != "/tmp/run/alpha/control.sock" {
		t.Errorf("control socket %s", got)
	}
	if got := c.NetworkDir("b"); got != "/tmp/run/network.b" {
		t.Errorf("network directory %s", got)
	}
	var peers []string
	for _, p := range c.Peers() {
		peers = append(peers, fmt.Sprint(p.Name, " ", p.Via))
	}
	if diff := cmp.Diff([]string{"core-2 unix", "wit udp"}, peers); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	local, err := LocalSFUs(dir)
	if diff := cmp.Diff([]string{"alpha", "core-2"}, local); diff != "" || err != nil {
		t.Errorf("local SFUs: %v (-want +got):\n%s", err, diff)
	}
	if _, err := LoadCluster(dir); err != nil {
		t.Error(err)
	}
}

func TestVia(t *testing.T) {
	a := netip.MustParseAddrPort("192.0.2.1:1")
	for _, tc := range []struct {
		a, b Member
		want Path
	}{
		{Member{Machine: "x", Carrier: Ethernet}, Member{Machine: "y", Carrier: Ethernet, UDPA: a}, PathEthernet},
		{Member{Machine: "x", Carrier: Ethernet}, Member{Machine: "x", Carrier: Ethernet}, PathUnix},
		{Member{Machine: "x", Carrier: Ethernet}, Member{Machine: "y", Carrier: UDP}, PathUDP},
		{Member{Machine: "x", Carrier: UDP}, Member{Machine: "x", Carrier: UDP}, PathUDP},
	} {
		if got := Via(&tc.a, &tc.b); got != tc.want || Via(&tc.b, &tc.a) != got {
			t.Errorf("via %v and %v: %v, want %v", tc.a, tc.b, got, tc.want)
		}
	}
}

// TestLoadFaults reports the faults of all files at once, in their order.
func TestLoadFaults(t *testing.T) {
	for _, tc := range []struct {
		name  string
		sfu   string
		files map[string]string
		want  string
	}{
		{"nothing there", "alpha", nil, `
cluster.toml: file is missing; make a cluster with rrts init, or name its directory with --config
machine.toml: file is missing; copy the file that rrts init wrote for this machine`},
		{"every file is bad", "alpha", map[string]string{
			"cluster.toml":   strings.Replace(goodCluster, `"wit"`, `5`, 1),
			"machine.toml":   "nmae = 'pc1'",
			"sfu/alpha.toml": "memory = 5\nstate = '/x'",
		}, `
cluster.toml:44:1: key sfu[2].name: is the number 5; write 1 to 32 letters a-z, digits and "-", in quotes, such as "alpha"
machine.toml:1:1: key name: missing; write name = "pc1", as in the machine key of its SFUs in cluster.toml
machine.toml:1:1: key nmae: unknown key; did you mean name?
sfu/alpha.toml:1:1: key memory: is the number 5; write a size from "64MiB" to "1024GiB", in quotes, with its unit: KiB, MiB or GiB
sfu/alpha.toml:2:1: key state: unknown key; remove it; keys here are state_dir, log_level, memory, gateway, login, txn, mail, alarms, metrics`},
		{"no such SFU", "delta", map[string]string{"cluster.toml": goodCluster, "machine.toml": goodMachine}, `
cluster.toml: there is no SFU named "delta"; its SFUs are alpha, core-2, wit`},
		{"no settings", "alpha", map[string]string{"cluster.toml": goodCluster, "machine.toml": goodMachine}, `
sfu/alpha.toml: file is missing; copy the file that rrts init wrote for this SFU; an empty one means the defaults`},
		{"another machine", "wit", map[string]string{"cluster.toml": goodCluster, "machine.toml": goodMachine, "sfu/wit.toml": ""}, `
machine.toml:2:1: key name: is "pc1", but SFU wit runs on "box"; start it there, or correct the name here or in cluster.toml`},
		{"no NIC", "alpha", map[string]string{
			"cluster.toml":   strings.Replace(goodCluster, "machine = \"pc1\"\npublic_key = \"Ag", "machine = \"pc2\"\npublic_key = \"Ag", 1),
			"machine.toml":   "name = 'pc1'",
			"sfu/alpha.toml": ""}, `
machine.toml:1:1: key network_a: missing, although raw frames go between alpha and core-2; write [network_a] and nic = "NAME" below it`},
		{"directory for a file", "alpha", map[string]string{"cluster.toml/x": "", "machine.toml": goodMachine}, `
cluster.toml: file cannot be read: is a directory; make a cluster with rrts init, or name its directory with --config`},
		{"not TOML", "alpha", map[string]string{"cluster.toml": "name = \"shop\"\nid = 12\"\n", "machine.toml": goodMachine}, `
cluster.toml:2:8: expected newline but got U+0022 '"'; correct the line`},
		{"huge", "alpha", map[string]string{"cluster.toml": strings.Repeat("#", maxFileBytes+1), "machine.toml": goodMachine}, `
cluster.toml: file is longer than the limit of 1048576 bytes; this is not a file that rrts wrote; restore it`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := placeFiles(t, tc.files)
			c, err := Load(dir, tc.sfu)
			if err == nil || c != nil {
				t.Fatalf("loaded: %v", c)
			}
			got := "\n" + strings.ReplaceAll(err.Error(), dir+"/", "")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzCluster(f *testing.F) {
	f.Add([]byte(goodCluster))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCluster("f", data)
		if err != nil {
			return
		}
		again, err := ParseCluster("f", c.Marshal())
		if err != nil {
			t.Fatalf("written: %v\n%s", err, c.Marshal())
		}
		if diff := cmp.Diff(c, again, equateAddresses); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzMachine(f *testing.F) {
	f.Add([]byte(goodMachine))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMachine("f", data)
		if err != nil {
			return
		}
		again, err := ParseMachine("f", m.Marshal())
		if err != nil {
			t.Fatalf("written: %v\n%s", err, m.Marshal())
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzSFU(f *testing.F) {
	f.Add([]byte(goodSFU))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, _ := parseGood(t)
		s, err := ParseSFU("f", data, &c.SFUs[0])
		if err != nil {
			return
		}
		again, err := ParseSFU("f", s.Marshal(&c.SFUs[0]), &c.SFUs[0])
		if err != nil {
			t.Fatalf("written: %v\n%s", err, s.Marshal(&c.SFUs[0]))
		}
		if diff := cmp.Diff(s, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

// kitCA is a certificate authority that nobody has the key of any more.
const kitCA = `-----BEGIN CERTIFICATE-----
MIIBWTCCAQugAwIBAgIQUI1/FzX1a4+zGqmBSaReFDAFBgMrZXAwKzENMAsGA1UE
ChMEc2hvcDEaMBgGA1UEAxMRUlJUUyBjbHVzdGVyIHNob3AwHhcNMjYxMTIyMDkw
MjQwWhcNNDYxMTIzMDkwMjQwWjArMQ0wCwYDVQQKEwRzaG9wMRowGAYDVQQDExFS
UlRTIGNsdXN0ZXIgc2hvcDAqMAUGAytlcAMhADHmwEwehHVFq6hHb22yRwASnXnA
ONKZAUklL3pTCLXdo0UwQzAOBgNVHQ8BAf8EBAMCAQYwEgYDVR0TAQH/BAgwBgEB
/wIBADAdBgNVHQ4EFgQUmVAyKVZzu8IXHBmFsMH7ZZO6awMwBQYDK2VwA0EAQS+n
sPVVD4S2AY+CYtlGwcWCs2OLBPLvotHWR84dXR8fW6ZwFXKaePU80E1JXY8Kixw5
HirVg1GAcepPq9ngAg==
-----END CERTIFICATE-----
`

const goodKit = `
cluster = "shop"
cluster_id = "000102030405060708090a0b0c0d0e0f"
gateways = ["pc1.example:7400"]
login_key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
ca = '''
` + kitCA + "'''\n"

func TestClientKit(t *testing.T) {
	kit, err := ParseClientKit("kit", []byte(goodKit))
	if err != nil {
		t.Fatal(err)
	}
	if kit.CA != kitCA || !bytes.Equal(kit.Signer(), bytes.Repeat([]byte{7}, ed25519.PublicKeySize)) {
		t.Errorf("CA %q, login key %x", kit.CA, kit.Signer())
	}
	before, err := ParseClientKit("kit", []byte(strings.Replace(goodKit, "login_key", "# login_key", 1)))
	if err != nil || before.Signer() != nil {
		t.Errorf("a kit of before there was a login key: %v, %v", before, err)
	}
	for _, tc := range []struct{ old, new, want string }{
		{"BEGIN", "BEGUN", "kit:6:1: key ca: holds no certificate; write the certificates that rrts init wrote, as PEM in ''' quotes"},
		{"MIIB", "MIIC", "kit:6:1: key ca: holds what is not a certificate; write the certificates that rrts init wrote, as PEM in ''' quotes"},
		{"-----BEGIN", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n-----BEGIN", "kit:6:1: key ca: holds what is not a certificate; write the certificates that rrts init wrote, as PEM in ''' quotes"},
		{`["pc1.example:7400"]`, "[]", `kit:4:1: key gateways: has 0 values; write a list of 1 to 512, each a host and a port, in quotes, such as "pc1.example:7400"`},
	} {
		_, err := ParseClientKit("kit", []byte(strings.Replace(goodKit, tc.old, tc.new, 1)))
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s for %s:\ngot  %v\nwant %s", tc.new, tc.old, err, tc.want)
		}
	}
}

func FuzzClientKit(f *testing.F) {
	f.Add([]byte(goodKit))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseClientKit("f", data)
		if err != nil {
			return
		}
		again, err := ParseClientKit("f", k.Marshal())
		if err != nil {
			t.Fatalf("written: %v\n%s", err, k.Marshal())
		}
		third, err := ParseClientKit("f", again.Marshal())
		if diff := cmp.Diff(again, third); diff != "" || err != nil {
			t.Fatal(err, diff)
		}
	})
}
