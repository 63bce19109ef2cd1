package txn

import (
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/marker"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// body is what committed entries are given to: the machine, or what a witness has in its
// place. It belongs to the apply thread.
type body interface {
	Applied() (index, term uint64)
	Group() roster.State
	GroupIndex() uint64
	NextExpiry() uint64
	OutboxVersion() uint64
	Digest() txnpb.StateDigest
	Apply(index, term uint64, data []byte, out []entry.Result) ([]entry.Result, error)
	Reconfigure(index, term uint64, data []byte) error
	TakeChanges() []roster.Applied
	TakeUsers() []txnpb.UserStanding
}

// keep is where a body keeps what it has made of them: a store, or a marker. Flush makes
// it durable; after a crash it stands at least where Flushed said.
type keep interface {
	Applied() uint64
	Flushed() uint64
	Flush() error
	Close() error
}

var (
	_ body = (*machine.Machine)(nil)
	_ body = witnessBody{}
	_ keep = (*marker.File)(nil)
)

// openKeep opens what the member keeps.
func (c *Component) openKeep() error {
	if c.cfg.OpenMarker != nil {
		m, err := c.cfg.OpenMarker()
		if err == nil {
			c.marker, c.keep = m, m
		}
		return err
	}
	s, err := c.cfg.OpenStore()
	if err == nil { // otherwise it may be an interface around a nil pointer
		c.store, c.keep = s, s
	}
	return err
}

// witness reports whether this member votes and applies nothing.
func (c *Component) witness() bool { return c.cfg.OpenMarker != nil }

// begun reports whether the member has ever had a body.
func (c *Component) begun() bool {
	if c.witness() {
		return c.marker.Marker() != nil
	}
	return machine.Begun(c.store)
}

// newBody makes the body of what is kept; where that is nothing, one that begins with
// the given members.
func (c *Component) newBody(members *raftpb.ConfState) (body, error) {
	if !c.witness() {
		return machine.Open(c.store, c.cfg.Machine, members)
	}
	w, err := machine.NewWitness(c.marker.Marker(), members, c.cfg.Machine.Newest)
	if err != nil {
		return nil, err
	}
	b := witnessBody{w, c.marker}
	b.keep()
	return b, nil
}

// witnessBody keeps its marker after every entry.
type witnessBody struct {
	*machine.Witness
	marker *marker.File
}

func (b witnessBody) keep() { b.marker.Set(b.Marker()) }

func (b witnessBody) Apply(index, term uint64, data []byte, out []entry.Result) ([]entry.Result, error) {
	out, err := b.Witness.Apply(index, term, data, out)
	if err == nil {
		b.keep()
	}
	return out, err
}

func (b witnessBody) Reconfigure(index, term uint64, data []byte) error {
	err := b.Witness.Reconfigure(index, term, data)
	if err == nil {
		b.keep()
	}
	return err
}

// replaceKeep puts what was received in the place of what is kept, durably.
func (c *Component) replaceKeep(in *incoming) error {
	if !c.witness() {
		return in.restore.Switch()
	}
	c.marker.Set(in.marker)
	return c.marker.Flush()
}
