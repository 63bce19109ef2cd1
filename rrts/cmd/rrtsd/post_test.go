package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/rrts/config"
)

// TestPostSettings: who is told stands in machine.toml, and counts while the SFU runs.
func TestPostSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings := postSettings(&config.Config{Dir: dir, Machine: &config.Machine{}, Self: &config.Member{Name: "alpha"}}, "")
	if p, err := settings(); p != nil || err != nil {
		t.Fatalf("%+v, %v without a file", p, err)
	}
	const full = `name = "pc1"
[alarm_mail]
server = "mail.example.com:465"
security = "tls"
user = "rrts"
ca = "DIR/ca.pem"
from = "rrts@example.com"
critical = ["anna@example.com"]
`
	write("machine.toml", strings.ReplaceAll(full, "DIR", dir))
	for _, step := range []struct{ file, text, fault string }{
		{"unused", "", "mail.password: file is missing"},
		{"keys/alpha/mail.password", "secret\n", "ca.pem: no such file"},
		{"ca.pem", "nothing", "holds no certificate"},
	} {
		write(step.file, step.text)
		if p, err := settings(); p != nil || err == nil || !strings.Contains(err.Error(), step.fault) {
			t.Errorf("%+v, %v; want %q", p, err, step.fault)
		}
	}
	write("machine.toml", strings.ReplaceAll(full, `ca = "DIR/ca.pem"`, ""))
	for range 2 {
		p, err := settings()
		if err != nil || p.Server.Address != "mail.example.com:465" || p.Server.Security != smtp.TLS || p.Server.User != "rrts" || p.Server.Password != "secret" ||
			p.Server.Name == "" || p.From != "rrts@example.com" || len(p.To("critical")) != 1 || len(p.To("warning")) != 0 {
			t.Fatalf("%+v, %v", p, err)
		}
		write("machine.toml", "name =") // being edited
	}
}
