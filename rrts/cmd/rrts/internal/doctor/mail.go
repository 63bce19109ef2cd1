package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"virtualservicesinc.com/rrts/config"
)

// mail looks at what alarms need to go by mail, where they are to. Whether the server
// takes them says `rrts alarms test`.
func (e *examination) mail(ctx context.Context) {
	const check = "mail"
	if e.machine == nil || e.machine.Mail.Server == "" {
		return
	}
	m := &e.machine.Mail
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return // the configuration was read, so it has one
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	if _, err := e.Resolve(ctx, host); err != nil {
		e.add(Fail, check, "correct server in the section alarm_mail of machine.toml, or the machine's DNS", "%s does not resolve: %v", host, err)
		return
	}
	for _, c := range e.sfus {
		if m.User == "" {
			break
		}
		_, err := c.MailPassword("")
		var faulty *config.Error
		switch {
		case errors.As(err, &faulty) && strings.Contains(faulty.Faults[0].Problem, "permission denied"):
			e.add(Warn, check, "run this as root", "the password cannot be looked at: permission denied")
			return
		case err != nil:
			e.add(Fail, check, "then try it: rrts alarms test", "%s", oneLine(err))
			return
		}
	}
	if !e.certify(m.CA) {
		e.add(Fail, check, "correct ca in the section alarm_mail of machine.toml", "%s holds no certificate", m.CA)
		return
	}
	if len(m.Critical) == 0 {
		e.add(Warn, check, "name somebody for critical in the section alarm_mail of machine.toml", "nobody is told of critical alarms")
		return
	}
	e.add(OK, check, "", "critical alarms to %s, through %s; rrts alarms test sends one", strings.Join(m.Critical, ", "), m.Server)
}

// relays looks at what SFUs need to send the mails that transactions owe. Whether a relay
// takes them says `rrts mail test`.
func (e *examination) relays(ctx context.Context) {
	const check = "relay"
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	for _, c := range e.sfus {
		m := &c.SFU.Mail
		if m.Relay == "" || !c.Self.Type.Effects() {
			continue
		}
		where := fmt.Sprintf("in the section mail of sfu/%s.toml", c.Self.Name)
		host, _, err := net.SplitHostPort(m.Relay)
		if err == nil {
			_, err = e.Resolve(ctx, host)
		}
		switch {
		case err != nil:
			e.add(Fail, check, "correct relay "+where+", or the machine's DNS", "%s does not resolve: %v", host, err)
		case !e.certify(m.CA):
			e.add(Fail, check, "correct ca "+where, "%s holds no certificate", m.CA)
		default:
			e.add(OK, check, "", "mails of %s through %s; rrts mail test sends one", c.Self.Name, m.Relay)
		}
	}
}

// certify reports whether a file holds certificates of authorities, or none is named.
func (e *examination) certify(path string) bool {
	if path == "" {
		return true
	}
	text, err := os.ReadFile(e.Root + path)
	return err == nil && x509.NewCertPool().AppendCertsFromPEM(text)
}
