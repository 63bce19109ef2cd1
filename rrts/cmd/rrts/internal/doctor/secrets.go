package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"time"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
)

const (
	// renewEarly leaves an operator two months for a certificate.
	renewEarly = 60 * 24 * time.Hour
	day        = 24 * time.Hour
)

// secrets holds that every SFU has its keys and nobody else has them.
func (e *examination) secrets() {
	for _, c := range e.sfus {
		check := "keys of " + c.Self.Name
		dir := filepath.Join(e.Dir, "keys", c.Self.Name)
		info, err := os.Stat(dir)
		if os.IsPermission(err) {
			e.add(Warn, check, "run this as root", "they cannot be looked at: permission denied")
			continue
		}
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			e.add(Fail, check, "run: chmod -R go= "+dir, "%s has mode %#o: others can look in", dir, info.Mode().Perm())
			e.fix(closed(dir))
		}
		s, err := c.Secrets("")
		if err != nil {
			e.add(Fail, check, "restore what is missing, or replace the SFU: rrts sfu replace "+c.Self.Name, "%s", oneLine(err))
			continue
		}
		e.add(OK, check, "", "whole, and the SFU's own")
		if s.Certificate != nil {
			e.certificate(c, s.Certificate)
		}
	}
	e.master()
}

// certificate holds a gateway's certificate to its time and its names.
func (e *examination) certificate(c *config.Config, cert *tls.Certificate) {
	check := "certificate of " + c.Self.Name
	cure := "run where the master keys are: rrts node renew " + c.Self.Name
	_, err := os.Stat(filepath.Join(e.Dir, "master"))
	renewable := err == nil
	if _, err := os.Stat(filepath.Join(e.Dir, "tls", c.Self.Name+".crt")); err == nil {
		cure = "renew your own certificate in " + filepath.Join(e.Dir, "tls") + ", then: systemctl reload rrts@" + c.Self.Name
		renewable = false
	}
	bad := func(v Verdict, measured string, args ...any) {
		e.add(v, check, cure, measured, args...)
		if renewable {
			e.fix(renewed(c.Self.Name))
		}
	}
	left := cert.Leaf.NotAfter.Sub(e.Now)
	until := cert.Leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case left <= 0:
		bad(Fail, "it ended on %s: no client connects", until)
		return
	case e.Now.Before(cert.Leaf.NotBefore):
		e.add(Fail, check, "set the clock", "it begins on %s only", cert.Leaf.NotBefore.UTC().Format(time.DateOnly))
		return
	case left < renewEarly:
		bad(Warn, "it ends on %s, in %d days", until, int(left/day))
	}
	for _, g := range c.Self.Gateways {
		if host := hostOf(g); cert.Leaf.VerifyHostname(host) != nil {
			bad(Fail, "it is not for %s, by which clients reach the gateway", host)
			return
		}
	}
	kit, err := config.LoadClientKit(filepath.Join(e.Dir, "client-kit.toml"))
	if err != nil {
		e.add(Warn, check, "copy the file from another machine of the cluster", "%s", oneLine(err))
		return
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: kit.Pool(), CurrentTime: e.Now}); err != nil {
		e.add(Warn, check, "clients need another CA than client-kit.toml's; give it to them, or remove your own certificate", "clients that use client-kit.toml refuse it: %v", err)
		return
	}
	if left >= renewEarly {
		e.add(OK, check, "", "good until %s", until)
	}
}

// master holds the master keys, where they are, to their modes.
func (e *examination) master() {
	dir := filepath.Join(e.Dir, "master")
	info, err := os.Stat(dir)
	if err != nil {
		return // on another machine
	}
	if info.Mode().Perm()&0o077 != 0 {
		e.add(Fail, "master keys", "run: chmod -R go= "+dir, "%s has mode %#o: others can look in", dir, info.Mode().Perm())
		e.fix(closed(dir))
		return
	}
	m, err := genesis.LoadMaster(dir)
	switch {
	case os.IsPermission(err):
		e.add(Warn, "master keys", "run this as root", "they cannot be looked at: permission denied")
	case err != nil:
		e.add(Fail, "master keys", "restore them from the recovery kit", "%s", oneLine(err))
	case e.cluster != nil && m.Cluster.ID != e.cluster.ID:
		e.add(Fail, "master keys", "move the directory away", "they are of another cluster, %s", m.Cluster.ID)
	default:
		e.add(OK, "master keys", "", "whole; the recovery kit holds the same: is yours in a safe place?")
	}
}
