package genesis

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"virtualservicesinc.com/rrts/config"
)

// seeded is randomness that comes again.
func seeded(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func shop(seed byte) Spec {
	return Spec{
		Name: "shop",
		SFUs: []SFU{
			{Name: "alpha", Machine: "pc1", Gateways: []string{"pc1.example:7400", "127.0.0.1:7400"}},
			{Name: "bravo", Machine: "pc2", Gateways: []string{"[::1]:7400"}, UDPA: netip.MustParseAddrPort("192.168.7.2:7401")},
			{Name: "carol", Machine: "pc2", Type: config.TypeCore, UDPA: netip.MustParseAddrPort("192.168.7.2:7402")},
			{Name: "wit", Machine: "box", Type: config.TypeWitness, Carrier: config.UDP, UDPA: netip.MustParseAddrPort("192.168.7.9:7401")},
		},
		Machines: []config.Machine{
			{Name: "pc1", NetworkA: config.NIC{Name: "eth0"}, NetworkB: config.NIC{Name: "eth1"}},
			{Name: "pc2", NetworkA: config.NIC{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}},
		},
		Rand: seeded(seed),
		Now:  time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
}

func create(t *testing.T, spec Spec) *Material {
	t.Helper()
	if spec.SFUs[0].UDPA == (netip.AddrPort{}) {
		spec.SFUs[0].UDPA = netip.MustParseAddrPort("192.168.7.1:7401")
	}
	m, err := Create(spec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// content is every file below dir, by path: its mode and its bytes.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		data := ""
		if !info.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data = string(b)
		}
		all[rel] = fmt.Sprintf("%v %s", info.Mode(), data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSameSeedSameBytes(t *testing.T) {
	var dirs [3]string
	for i, seed := range []byte{1, 1, 2} {
		dirs[i] = t.TempDir()
		if err := create(t, shop(seed)).Write(dirs[i], WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(content(t, dirs[0]), content(t, dirs[1])); diff != "" {
		t.Errorf("two clusters of one seed differ:\n%s", diff)
	}
	other := content(t, dirs[2])
	for path, data := range content(t, dirs[0]) {
		if strings.HasSuffix(path, ".key") && other[path] == data {
			t.Errorf("%s is the same under another seed", path)
		}
	}
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	if err := create(t, shop(1)).Write(dir, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			fmt.Fprintf(&got, "%v %s\n", info.Mode(), rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `drwxr-x--- box
-rw-r----- box/client-kit.toml
-rw-r----- box/cluster.toml
drwx------ box/keys
drwx------ box/keys/wit
-rw------- box/keys/wit/interconnect.key
-rw------- box/keys/wit/psk.key
-rw------- box/keys/wit/store.key
-rw-r----- box/machine.toml
drwxr-x--- box/sfu
-rw-r----- box/sfu/wit.toml
-rw-r----- client-kit.toml
drwx------ master
-rw------- master/backup.key
-rw-r----- master/ca.crt
-rw------- master/ca.key
-rw-r----- master/cluster.toml
-rw------- master/pepper.key
-rw------- master/psk.key
-rw------- master/token.key
drwxr-x--- pc1
-rw-r----- pc1/client-kit.toml
-rw-r----- pc1/cluster.toml
drwx------ pc1/keys
drwx------ pc1/keys/alpha
-rw------- pc1/keys/alpha/gateway.key
-rw------- pc1/keys/alpha/interconnect.key
-rw------- pc1/keys/alpha/pepper.key
-rw------- pc1/keys/alpha/psk.key
-rw------- pc1/keys/alpha/store.key
-rw------- pc1/keys/alpha/token.key
-rw-r----- pc1/machine.toml
drwxr-x--- pc1/sfu
-rw-r----- pc1/sfu/alpha.crt
-rw-r----- pc1/sfu/alpha.toml
drwxr-x--- pc2
-rw-r----- pc2/client-kit.toml
-rw-r----- pc2/cluster.toml
drwx------ pc2/keys
drwx------ pc2/keys/bravo
-rw------- pc2/keys/bravo/gateway.key
-rw------- pc2/keys/bravo/interconnect.key
-rw------- pc2/keys/bravo/pepper.key
-rw------- pc2/keys/bravo/psk.key
-rw------- pc2/keys/bravo/store.key
-rw------- pc2/keys/bravo/token.key
drwx------ pc2/keys/carol
-rw------- pc2/keys/carol/interconnect.key
-rw------- pc2/keys/carol/psk.key
-rw------- pc2/keys/carol/store.key
-rw-r----- pc2/machine.toml
drwxr-x--- pc2/sfu
-rw-r----- pc2/sfu/bravo.crt
-rw-r----- pc2/sfu/bravo.toml
-rw-r----- pc2/sfu/carol.toml
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("layout (-want +got):\n%s", diff)
	}
}

func TestEverySFULoads(t *testing.T) {
	dir := t.TempDir()
	m := create(t, shop(1))
	if err := m.Write(dir, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	voters := 0
	for _, s := range m.Cluster.SFUs {
		c, err := config.Load(filepath.Join(dir, s.Machine), s.Name)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		if diff := cmp.Diff(s, *c.Self, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%s (-made +loaded):\n%s", s.Name, diff)
		}
		secrets, err := c.Secrets("")
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		if public, err := config.PublicOf(secrets.Interconnect); err != nil || public != s.PublicKey {
			t.Errorf("%s: the private key does not belong to the public one", s.Name)
		}
		if (secrets.Certificate != nil) != s.Type.Gateway() {
			t.Errorf("%s of type %s: certificate %v", s.Name, s.Type, secrets.Certificate)
		}
		if c.Self.Voter {
			voters++
		}
	}
	if voters != 3 {
		t.Errorf("%d voters, want one on each of 3 machines", voters)
	}
}

// TestGatewayIsTrusted connects as a client does, with nothing but the kit.
func TestGatewayIsTrusted(t *testing.T) {
	dir := t.TempDir()
	m := create(t, shop(1))
	if err := m.Write(dir, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	kit, err := config.LoadClientKit(filepath.Join(dir, "client-kit.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.Kit, kit); diff != "" {
		t.Fatalf("client kit (-made +loaded):\n%s", diff)
	}
	stranger := create(t, shop(9))
	if !bytes.Equal(kit.Signer(), config.LoginSigner(m.Master.Pepper).Public().(ed25519.PublicKey)) || bytes.Equal(kit.Signer(), stranger.Kit.Signer()) {
		t.Error("the login key is not that of the cluster's login services")
	}
	now := func() time.Time { return shop(1).Now.Add(time.Hour) }
	for _, tc := range []struct {
		name, host string
		client     *tls.Config
		want       string // in the client's error; empty means success
	}{
		{"host name", "pc1.example", &tls.Config{RootCAs: kit.Pool(), Time: now}, ""},
		{"address", "127.0.0.1", &tls.Config{RootCAs: kit.Pool(), Time: now}, ""},
		{"another host", "pc2.example", &tls.Config{RootCAs: kit.Pool(), Time: now}, "certificate is valid for pc1.example, not pc2.example"},
		{"another cluster", "pc1.example", &tls.Config{RootCAs: stranger.Kit.Pool(), Time: now}, "certificate signed by unknown authority"},
		{"slow clock", "pc1.example", &tls.Config{RootCAs: kit.Pool(), Time: func() time.Time { return now().Add(-20 * time.Hour) }}, ""},
		{"years later", "pc1.example", &tls.Config{RootCAs: kit.Pool(), Time: func() time.Time { return now().AddDate(3, 0, 0) }}, "certificate has expired"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := config.Load(filepath.Join(dir, "pc1"), "alpha")
			if err != nil {
				t.Fatal(err)
			}
			secrets, err := c.Secrets("")
			if err != nil {
				t.Fatal(err)
			}
			tc.client.ServerName, tc.client.MinVersion = tc.host, tls.VersionTLS13
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				far, err := l.Accept()
				if err != nil {
					return
				}
				defer far.Close()
				// The client's verdict is what is tested.
				_ = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{*secrets.Certificate}, MinVersion: tls.VersionTLS13}).Handshake()
			}()
			near, err := tls.Dial("tcp", l.Addr().String(), tc.client)
			if err == nil {
				near.Close()
			}
			l.Close()
			<-served
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("handshake: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("handshake: %v, want %q", err, tc.want)
			}
		})
	}
}

// TestCertificates renews a gateway's certificate, and then puts the owner's own in
// its place: each time the newer one is what a reload finds.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	m := create(t, shop(1))
	if err := m.Write(dir, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(filepath.Join(dir, "pc1"), "alpha")
	if err != nil {
		t.Fatal(err)
	}
	expires := func() int {
		t.Helper()
		cert, err := c.Certificate("")
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.NotAfter.Year()
	}
	if got := expires(); got != 2028 {
		t.Errorf("made in 2026, it ends in %d", got)
	}
	sign := func(year int, cert, key string) {
		t.Helper()
		public, keyPEM, err := NewGatewayKey(seeded(byte(year)))
		if err != nil {
			t.Fatal(err)
		}
		if key == "" { // a renewal is for the key that there is
			old, err := c.Certificate("")
			if err != nil {
				t.Fatal(err)
			}
			public = old.Leaf.PublicKey.(ed25519.PublicKey)
		} else if err := WriteFile(key, File{Mode: modeSecret, Data: keyPEM}, 0); err != nil {
			t.Fatal(err)
		}
		certPEM, err := m.Master.CA.Sign(c.Self, public, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), seeded(byte(year)))
		if err == nil {
			err = WriteFile(cert, File{Mode: modeConfig, Data: certPEM}, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sign(2030, filepath.Join(c.Dir, config.GatewayCert("alpha")), "")
	if got := expires(); got != 2032 {
		t.Errorf("renewed in 2030, it ends in %d", got)
	}
	if err := os.Mkdir(filepath.Join(c.Dir, "tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	sign(2040, filepath.Join(c.Dir, "tls/alpha.crt"), filepath.Join(c.Dir, "tls/alpha.key"))
	if got := expires(); got != 2042 {
		t.Errorf("the owner's of 2040 ends in %d", got)
	}
}

func TestNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	first := create(t, shop(1))
	if err := first.Write(dir, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	before := content(t, dir)
	second := create(t, shop(2))
	for name, write := range map[string]func() error{
		"cluster": func() error { return second.Write(dir, WriteOptions{}) },
		"machine": func() error { return second.WriteMachine(filepath.Join(dir, "pc1"), "pc1", WriteOptions{}) },
		"master":  func() error { return second.WriteMaster(filepath.Join(dir, "master")) },
	} {
		err := write()
		if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "move the old configuration away") {
			t.Errorf("%s over an existing one: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, content(t, dir)); diff != "" {
		t.Errorf("a refused write changed something:\n%s", diff)
	}
	if err := second.WriteMachine(t.TempDir(), "pc7", WriteOptions{}); err == nil || !strings.Contains(err.Error(), `no machine "pc7"`) {
		t.Errorf("unknown machine: %v", err)
	}
}

func TestBadSpec(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*Spec)
		want  string
	}{
		{"no SFU", func(s *Spec) { s.SFUs = nil }, "genesis: cluster.toml: key sfu: missing; a cluster has at least one [[sfu]]: make one with rrts init"},
		{"bad name", func(s *Spec) { s.Name = "My Shop" }, `genesis: cluster.toml: key name: is "My Shop"; write 1 to 63 letters a-z, digits and "-", in quotes, such as "shop"`},
		{"no gateway", func(s *Spec) { s.SFUs[1].Gateways = nil }, `genesis: cluster.toml: key sfu[1].gateways: missing; write gateways = ["HOST:7400"], the address at which clients reach this machine`},
		{"bad machine", func(s *Spec) { s.Machines[0].NetworkB.Name = "eth0" }, `genesis: machine.toml: key network_b: is the same interface as network_a; the networks are two: name another interface`},
		{"bad settings", func(s *Spec) { s.SFUs[0].Settings.StateDir = "here" }, `genesis: sfu/alpha.toml: key state_dir: is "here"; write an absolute path in quotes, without "." or ".." in it and "/" at its end`},
		{"no randomness", func(s *Spec) { s.Rand = io.LimitReader(seeded(1), 100) }, "genesis: no randomness: unexpected EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := shop(1)
			spec.SFUs[0].UDPA = netip.MustParseAddrPort("192.168.7.1:7401")
			tc.spoil(&spec)
			_, err := Create(spec)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// TestRestores: a cluster that takes another's place is trusted by its clients and
// knows its passwords; all that would let an old machine or session in is new.
func TestRestores(t *testing.T) {
	spec := shop(1)
	spec.Transactions.DedupeWindow = 48 * time.Hour
	old := create(t, spec)
	next := create(t, Spec{Restores: old.Master, Epoch: 7, SFUs: []SFU{{Name: "uno", Gateways: []string{"pc9.example:7400"}}}, Rand: seeded(2), Now: spec.Now})
	o, n := old.Master, next.Master
	if n.Pepper != o.Pepper || string(n.CA.CertPEM) != string(o.CA.CertPEM) || string(n.CA.KeyPEM) != string(o.CA.KeyPEM) {
		t.Error("pepper or certificate authority is another")
	}
	if n.PSK == o.PSK || n.Token == o.Token || n.Backup == o.Backup || n.Cluster.ID == o.Cluster.ID || n.Cluster.BackupKey == o.Cluster.BackupKey {
		t.Error("a key or the identity is the old cluster's")
	}
	if c := next.Cluster; c.Name != "shop" || c.Epoch != 7 || c.Transactions.DedupeWindow != 48*time.Hour || c.Interconnect != old.Cluster.Interconnect ||
		len(c.SFUs) != 1 || c.SFUs[0].Name != "uno" || old.Cluster.Epoch != 1 {
		t.Errorf("%+v", c)
	}
}
