package txn

import (
	"errors"
	"fmt"

	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// defaultMarks is after how many entries members compare their states: at full load some
// times a second.
const defaultMarks = 256

// Mark implements txnpb.ReplicaHandler.
func (d replicaService) Mark(r message.Request, in *txnpb.StateDigest) {
	env := r.Envelope()
	if env.Group != d.c.cfg.Group || env.Epoch != d.c.epoch.Load() || env.From == 0 {
		return
	}
	d.add(func() { d.c.loop.marked(uint64(env.From), in) })
}

// mark tells all members to which state this one came with the entry applied last, if that
// is one at which states are compared. It runs on the apply thread.
func (a *applier) mark(index uint64) {
	if index%a.c.cfg.Marks != 0 || a.c.witness() {
		return
	}
	digest := a.machine.Digest()
	a.c.post(func() {
		a.c.loop.tellMembers(txnpb.ReplicaMarkMethod, &digest)
		a.c.loop.marked(a.c.cfg.Node, &digest)
	})
}

// tellMembers tells all other members something that may be lost: the next one will do.
func (l *loop) tellMembers(method uint16, m message.Message) {
	body := message.Marshal(m)
	for _, id := range l.replica.Group().Members() {
		if id == l.c.cfg.Node {
			continue
		}
		_ = l.c.host.Notify(engine.Notice{
			To: sfuOf(id), Service: txnpb.ReplicaService, Method: method,
			Epoch: l.c.epoch.Load(), Group: l.c.cfg.Group, Body: body,
		})
	}
}

// marked compares the states that members came to with an entry.
func (l *loop) marked(member uint64, d *txnpb.StateDigest) {
	l.judge(l.replica.Mark(member, d.AppliedIndex, d.Chain), fmt.Sprintf("at entry %d, CSN %d, this SFU has come to another state than most", d.AppliedIndex, d.Csn))
}

// judge does what follows from a comparison of states; minority says in one line that this
// one is not like most.
func (l *loop) judge(v replica.Verdict, minority string) {
	switch v {
	case replica.VerdictMinority:
		err := errors.New("txn: " + minority)
		l.c.applier.do(func() { l.c.fence(err) })
	case replica.VerdictNoMajority:
		l.c.haltWith(alarmDiverged, errors.New("txn: no majority of the SFUs has come to the same state: find out which one is right, by `rrts ledger audit` on each, or restore a backup with `rrts restore`"))
	}
}
