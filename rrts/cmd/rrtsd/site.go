package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"

	"virtualservicesinc.com/comps/gateway"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/child"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// addSite adds the programs of the site that this SFU runs. A file of theirs that is
// faulty is that component's failure, and never the SFU's.
func (a *assembler) addSite() error {
	names, err := config.ComponentNames(a.cfg.Dir)
	if err != nil {
		a.log.Error("components.d", "err", err)
	}
	for _, name := range names {
		c, err := config.LoadComponent(a.cfg.Dir, name)
		if err == nil && !c.RunsOn(a.cfg.Self) {
			continue
		}
		err = a.engine.AddApart(func() (engine.Component, error) { return a.component(name) })
		if err != nil {
			return err
		}
	}
	return nil
}

// component makes one life of a program of the site, from its file as it is now: a
// change of the file needs no restart of the SFU.
func (a *assembler) component(name string) (engine.Component, error) {
	log := a.log.With("sfu", a.cfg.Self.Number, "component", name)
	c, err := config.LoadComponent(a.cfg.Dir, name)
	if err == nil && !c.RunsOn(a.cfg.Self) {
		err = fmt.Errorf("%s: key sfus: does not name %s any more; restart the SFU to be rid of the component", config.ComponentFile(a.cfg.Dir, name), a.cfg.Self.Name)
	}
	if err != nil {
		return child.New(child.Config{Name: name, Launch: func() (child.Process, error) { return nil, err }})
	}
	out := child.Config{
		Name: name, SFUName: a.cfg.Self.Name, Calls: c.Calls, Principal: c.Principal, Role: componentRoles[c.Role],
		Outward: a.outward, InFlight: c.Limits.InFlight,
		Launch: func() (child.Process, error) { return a.launch(c, log) },
	}
	for _, s := range c.Services {
		clients := make(map[string]message.Roles)
		for _, g := range []struct {
			role    message.Role
			methods []string
		}{{message.RoleClient, s.Client}, {message.RoleOperator, s.Operator}, {message.RoleAuditor, s.Auditor}} {
			for _, m := range g.methods {
				clients[m] |= message.RoleSet(g.role)
			}
		}
		out.Services = append(out.Services, child.Grant{Number: s.Number, Clients: clients})
	}
	return child.New(out)
}

var componentRoles = map[config.ComponentRole]message.Role{
	config.ComponentNone: message.RoleNone, config.ComponentClient: message.RoleClient,
	config.ComponentOperator: message.RoleOperator, config.ComponentAuditor: message.RoleAuditor,
}

// launch starts the program of a component. An SFU that is root, as in a trial, gives it
// a user by itself; one that is not has it run by systemd, or under its own user where the
// file says so.
func (a *assembler) launch(c *config.Component, log *slog.Logger) (child.Process, error) {
	p := child.Program{Name: c.Name, Executable: c.Executable, Arguments: c.Arguments, Log: log,
		Limits: child.Limits{Memory: c.Limits.Memory, Files: uint64(c.Limits.Files), Processes: uint64(c.Limits.Processes), Nice: c.Limits.Nice}}
	if c.User == child.UserDynamic && os.Geteuid() != 0 {
		return p.Commission(a.cfg.ComponentSocket())
	}
	var err error
	if p.User, err = child.FindUser(c.User, c.Name); err != nil {
		return nil, err
	}
	if p.User != nil && os.Geteuid() != 0 {
		return nil, fmt.Errorf("user %q in %s: this SFU is not root and cannot change users: write user = %q", c.User, config.ComponentFile(a.cfg.Dir, c.Name), child.UserDynamic)
	}
	return p.Start()
}

// runComponent runs the one program that an SFU orders on the standard input, for
// rrts-component@.service.
func runComponent() int {
	c, err := net.FileConn(os.Stdin)
	if err == nil {
		os.Stdin.Close()
		control, ok := c.(*net.UnixConn)
		if !ok {
			fmt.Fprintln(os.Stderr, "rrtsd: the standard input is no Unix socket: systemd runs this for an SFU")
			return exitConfig
		}
		err = child.Execute(control)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailure
	}
	return 0
}

// maxSubmissions bounds the transactions of one SubmitBatch of a component: what gateways
// put into one.
const maxSubmissions = 8190

// outward is asked for every call of a component that its file grants. A component has
// the rights of the user in whose name it calls, as a client of a gateway has; of
// transactions it may submit whole batches, each in that name.
func (a *assembler) outward(c *engine.Call) *message.Error {
	c.Epoch, c.Group = a.keeper.epoch(), group
	switch {
	case c.Service >= engine.FirstSite:
		return nil
	case c.Service == txnpb.TxnService && c.Method == txnpb.TxnSubmitMethod:
		return submission(c)
	case c.Service == loginpb.LoginService && c.Method == loginpb.LoginLoginMethod:
		return message.Errorf(message.Denied, "rrtsd: a component does not log in: it calls in the name that its file gives it")
	case !gateway.Allows(c.Service, c.Method, c.Role):
		return message.Errorf(message.Denied, "rrtsd: the role of user %d may not call this", c.Principal)
	}
	return nil
}

// submission puts the caller's name into every transaction of a batch.
func submission(c *engine.Call) *message.Error {
	if c.Role != message.RoleClient && c.Role != message.RoleOperator {
		return message.Errorf(message.Denied, "rrtsd: the role of user %d may not submit transactions", c.Principal)
	}
	var b txnpb.SubmitBatch
	if err := b.Parse(c.Body); err != nil {
		return message.Errorf(message.Invalid, "%v", err)
	}
	if n := len(b.Submissions); n == 0 || n > maxSubmissions {
		return message.Errorf(message.Invalid, "rrtsd: %d transactions in one batch, need 1 to %d", n, maxSubmissions)
	}
	for i := range b.Submissions {
		b.Submissions[i].Principal, b.Submissions[i].Role = c.Principal, uint32(c.Role)
	}
	c.Body = message.Marshal(&b)
	c.Principal, c.Role = 0, message.RoleSFU
	return nil
}
