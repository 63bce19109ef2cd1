package txn

import (
	"errors"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// alarmVersion stands where the group uses what this SFU's software does not know.
const alarmVersion = "version-unknown"

// unknownVersion reports whether an error says that newer software is needed.
func unknownVersion(err error) bool {
	var version *machine.VersionError
	return errors.As(err, &version) || errors.Is(err, machine.ErrUnknownField)
}

// checkActive reports whether this software knows the apply version that the group uses, as
// another member says: where it does not this member halts before it meets an entry. Only
// what the log has activated is ever told.
func (c *Component) checkActive(version uint32) error {
	if version <= c.cfg.Machine.Newest {
		return nil
	}
	err := &machine.VersionError{Version: version, Know: c.cfg.Machine.Newest}
	c.halt(err)
	return err
}

// halt makes this member one that applies nothing and answers nobody, until newer software
// is started. It stores the log and votes.
func (c *Component) halt(cause error) { c.haltWith(alarmVersion, cause) }

func (c *Component) haltWith(alarm string, cause error) {
	if c.halted.Swap(true) {
		return
	}
	c.host.Alarm(alarm, engine.Critical, cause.Error())
	c.host.Ready(false)
	c.post(func() { c.loop.replica.Halt() })
}

// Activate implements txnpb.MembersHandler.
func (d membersService) Activate(r message.Responder[*txnpb.MembersAnswer], in *txnpb.ActivateVersion) {
	version := in.Version
	if version == 0 {
		version = d.c.cfg.Machine.Newest
	}
	d.change(r, txnpb.RosterChange{Activate: version})
}

// versions tells the active apply version, and which ones the members' software knows.
func versions(r *replica.Replica, out *txnpb.MembersAnswer) {
	out.ApplyVersion = r.ActiveVersion()
	if out.Roster == nil {
		return
	}
	for i := range out.Roster.Members {
		out.NewestVersions = append(out.NewestVersions, r.Newest(uint64(out.Roster.Members[i].Number)))
	}
}
