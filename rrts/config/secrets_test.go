package config

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testKey(n byte) Key { return Key{8 * n, 31: 0x40} } // the low three bits do not count

// coreSecrets configures core-2 of the good cluster with good secrets.
func coreSecrets(t *testing.T) (dir string, c *Config) {
	t.Helper()
	public, err := PublicOf(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	dir = placeFiles(t, map[string]string{
		"cluster.toml":                 strings.Replace(goodCluster, "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", public.String(), 1),
		"machine.toml":                 goodMachine,
		"sfu/core-2.toml":              "",
		"keys/core-2/interconnect.key": string(MarshalKey(testKey(1))),
		"keys/core-2/psk.key":          string(MarshalKey(testKey(2))),
		"keys/core-2/store.key":        string(MarshalKey(testKey(3))),
	})
	c, err = Load(dir, "core-2")
	if err != nil {
		t.Fatal(err)
	}
	return dir, c
}

func TestSecrets(t *testing.T) {
	dir, c := coreSecrets(t)
	s, err := c.Secrets("")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Secrets{Interconnect: testKey(1), PSK: testKey(2), Store: testKey(3)}); *s != want {
		t.Error("other secrets than those in the files")
	}

	// systemd's credentials go first; what they lack comes from the files.
	credentials := placeFiles(t, map[string]string{"rrts_psk.key": string(MarshalKey(testKey(9)))})
	s, err = c.Secrets(credentials)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Secrets{Interconnect: testKey(1), PSK: testKey(9), Store: testKey(3)}); *s != want {
		t.Error("a credential did not go before the file")
	}

	// Group may read, so that a group can be given the files; others may not.
	psk := filepath.Join(dir, "keys/core-2/psk.key")
	if err := os.Chmod(psk, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Secrets(""); err != nil {
		t.Error(err)
	}
}

func TestSecretFaults(t *testing.T) {
	const psk = "keys/core-2/psk.key"
	for _, tc := range []struct {
		name  string
		spoil func(path string) error
		want  string
	}{
		{"world readable", func(p string) error { return os.Chmod(p, 0o644) }, "DIR/keys/core-2/psk.key: mode 0644 lets every user of this machine at a secret; run: chmod o= DIR/keys/core-2/psk.key"},
		{"world writable", func(p string) error { return os.Chmod(p, 0o602) }, "DIR/keys/core-2/psk.key: mode 0602 lets every user of this machine at a secret; run: chmod o= DIR/keys/core-2/psk.key"},
		{"missing", os.Remove, "DIR/keys/core-2/psk.key: file is missing; restore it from the machine where the cluster was made"},
		{"empty", func(p string) error { return os.Truncate(p, 0) }, "DIR/keys/core-2/psk.key: is empty; restore it"},
		{"short", func(p string) error { return os.Truncate(p, 40) }, "DIR/keys/core-2/psk.key: is not a key: 44 characters of base64 and their check sum on one line; restore it"},
		{"zero", func(p string) error { return os.WriteFile(p, MarshalKey(Key{}), 0o600) }, "DIR/keys/core-2/psk.key: is not a key: 44 characters of base64 and their check sum on one line; restore it"},
		{"huge", func(p string) error { return os.Truncate(p, maxSecretBytes+1) }, "DIR/keys/core-2/psk.key: cannot be read, or is longer than the limit of 1048576 bytes; restore it"},
		{"directory", func(p string) error { os.Remove(p); return os.Mkdir(p, 0o700) }, "DIR/keys/core-2/psk.key: is not a file; restore it"},
		{"all", func(p string) error { return os.RemoveAll(filepath.Dir(p)) }, `DIR/keys/core-2/interconnect.key: file is missing; restore it from the machine where the cluster was made
DIR/keys/core-2/psk.key: file is missing; restore it from the machine where the cluster was made
DIR/keys/core-2/store.key: file is missing; restore it from the machine where the cluster was made`},
		{"another SFU's", func(p string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(p), FileInterconnect), MarshalKey(testKey(5)), 0o600)
		}, "DIR/keys/core-2/interconnect.key: is not the key of SFU core-2, whose public key in cluster.toml is PUBLIC; restore the key that rrts wrote when it made the SFU"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, c := coreSecrets(t)
			if err := tc.spoil(filepath.Join(dir, psk)); err != nil {
				t.Fatal(err)
			}
			_, err := c.Secrets("")
			if err == nil {
				t.Fatal("no fault")
			}
			got := strings.NewReplacer(dir, "DIR", c.Self.PublicKey.String(), "PUBLIC").Replace(err.Error())
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnreadableSecret(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root reads everything: only the file's mode is held here, by TestSecretFaults")
		return
	}
	dir, c := coreSecrets(t)
	if err := os.Chmod(filepath.Join(dir, "keys/core-2/psk.key"), 0); err != nil {
		t.Fatal(err)
	}
	_, err := c.Secrets("")
	if err == nil || !strings.Contains(err.Error(), "permission denied; start the SFU with systemctl") {
		t.Error(err)
	}
	_, err = c.Secrets(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "psk.key: file is missing; restore it from the machine where the cluster was made, then restart the SFU") {
		t.Error(err)
	}
}

// TestKeysHide prints a key in every way that a program prints things.
func TestKeysHide(t *testing.T) {
	k := Key{0xa7, 31: 0x40}
	s := Secrets{Interconnect: k, PSK: k}
	var log strings.Builder
	timeless := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey { // its digits may be any
			return slog.Attr{}
		}
		return a
	}}
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, timeless), slog.NewJSONHandler(&log, timeless)} {
		slog.New(h).Info("x", "key", k, "pointer", &k, "secrets", s, "all", &s)
	}
	shown := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		shown += fmt.Sprintf(verb+verb+verb+verb, k, &k, s, &s)
	}
	if !strings.Contains(shown, hidden) {
		t.Fatal("nothing was printed")
	}
	for _, form := range []string{"167", "a7", "A7", `\xa7`, base64.StdEncoding.EncodeToString(k[:3])} {
		if strings.Contains(shown, form) {
			t.Errorf("a printed key shows %q: %s", form, shown)
		}
	}
}

// TestKeyRots: no bit of a key's file can change without a word.
func TestKeyRots(t *testing.T) {
	k := testKey(7)
	whole := MarshalKey(k)
	for bit := range 8 * (len(whole) - 1) { // but for the newline
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if got, err := ParseKey(b); err == nil && (got != k || !strings.EqualFold(string(b), string(whole))) {
			t.Errorf("bit %d: %q is a key", bit, b)
		}
	}
	old, _, _ := strings.Cut(string(whole), " ")
	if got, err := ParseKey([]byte(old + "\n")); err != nil || got != k {
		t.Errorf("a file without a check sum: %v", err)
	}
}

// TestMailPassword: it is one line, from where the SFU's other secrets are.
func TestMailPassword(t *testing.T) {
	c := &Config{Dir: t.TempDir(), Self: &Member{Name: "alpha"}}
	keys, credentials := filepath.Join(c.Dir, "keys", "alpha"), t.TempDir()
	if err := os.MkdirAll(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ dir, file, text, want, fault string }{
		{"", "", "", "", "file is missing; write the password into it"},
		{keys, FileMailPassword, "\n", "", "is not one line"},
		{keys, FileMailPassword, "a\nb\n", "", "is not one line"},
		{keys, FileMailPassword, "pass word\r\n", "pass word", ""},
		{credentials, CredentialPrefix + "_" + FileMailPassword, "another", "another", ""},
	} {
		if x.dir != "" {
			if err := os.WriteFile(filepath.Join(x.dir, x.file), []byte(x.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.MailPassword(credentials)
		if got != x.want && x.fault == "" || (err == nil) != (x.fault == "") || err != nil && !strings.Contains(err.Error(), x.fault) {
			t.Errorf("%q: %q, %v; want %q, %q", x.text, got, err, x.want, x.fault)
		}
	}
}
