package client_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/config"
)

func authority(t testing.TB) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "client-kit.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKitIsWhatInitWrites: the SDK reads, without a TOML library, the file as
// `rrts init` writes it.
func TestKitIsWhatInitWrites(t *testing.T) {
	written := config.ClientKit{Cluster: "shop", ID: config.ID{1, 2, 3}, CA: authority(t) + authority(t),
		Gateways: []string{"pc1.example:7400", "192.168.1.5:7400", "[2001:db8::1]:7400"}}
	k, err := client.ReadKit(write(t, string(written.Marshal())))
	if err != nil {
		t.Fatal(err)
	}
	if k.Cluster != "shop" || k.ClusterID != [16]byte(written.ID) || !slices.Equal(k.Gateways, written.Gateways) || !k.RootCAs.Equal(written.Pool()) {
		t.Errorf("%+v", k)
	}
	if c := k.Config(); !slices.Equal(c.Gateways, written.Gateways) || c.RootCAs != k.RootCAs || c.ClusterID != k.ClusterID {
		t.Errorf("%+v", c)
	}
}

func TestKitFaults(t *testing.T) {
	ca := authority(t)
	good := "# a comment\n\ncluster = \"shop\"\ncluster_id = \"0102030405060708090a0b0c0d0e0f10\"\ngateways = [\"a:1\", \"b:2\"]\nlater = 7\nlogin_key = \"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\"\nca = '''\n" + ca + "'''\n"
	if k, err := client.ReadKit(write(t, good)); err != nil || len(k.Gateways) != 2 {
		t.Fatal(k, err)
	}
	for _, tt := range []struct{ from, to, want string }{
		{"gateways", "gatways", "gateways is missing"},
		{"cluster_id", "id", "cluster_id is missing"},
		{"0102", "01", "line 4: cluster_id: not 32 hexadecimal digits"},
		{"0102", "01zz", "line 4: cluster_id: not 32 hexadecimal digits"},
		{`"shop"`, "shop", `line 3: cluster: not one line of text in "quotes"`},
		{`"shop"`, `"sh\u006fp"`, `line 3: cluster: not one line of text in "quotes"`},
		{`["a:1"`, `["a:1`, "line 5: gateways:"},
		{`"b:2"]`, `"b:2"`, `line 5: gateways: not a list ["…", "…"] on one line`},
		{"later = 7", "later", "line 6: not a key and a value"},
		{"-----BEGIN", "----BEGIN", "ca holds no certificate"},
		{"-----END CERTIFICATE-----\n'''\n", "", "line 8: ca: no end"},
		{"'''\n", "''' and more", "line 9: not a key and a value"},
		{"BwcH", "BwcHBwcH", "line 7: login_key: not 32 bytes as base64"},
		{`"BwcH`, "BwcH", `line 7: login_key: not one line of text in "quotes"`},
	} {
		_, err := client.ReadKit(write(t, strings.Replace(good, tt.from, tt.to, 1)))
		if !errors.Is(err, client.ErrKit) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "restore the file that rrts init wrote") {
			t.Errorf("%q instead of %q: %v, want %s", tt.to, tt.from, err, tt.want)
		}
	}
	if _, err := client.ReadKit(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "name the client-kit.toml") {
		t.Error(err)
	}
}

func TestConfigFaults(t *testing.T) {
	_, err := client.Open(t.Context(), client.Config{Gateways: []string{"nowhere"}, LoginName: "anna", MaxInFlight: -1})
	for _, want := range []string{`gateway "nowhere": write host:port`, "LoginName and Password go together", "MaxInFlight is -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	_, err = client.Open(t.Context(), client.Config{})
	for _, want := range []string{"Gateways is empty", "client: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if _, err = client.Open(t.Context(), client.Config{Gateways: []string{"localhost:1"}}); err == nil || !strings.Contains(err.Error(), "neither LoginName and Password nor Token") {
		t.Error(err)
	}
}
