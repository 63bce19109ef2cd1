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
	if env.Group != d.c.cfg.Group || env.Epoch != d.c.cfg.Epoch || env.From == 0 {
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
		l := a.c.loop
		body := message.Marshal(&digest)
		for _, id := range l.replica.Group().Members() {
			if id == a.c.cfg.Node {
				continue
			}
			_ = a.c.host.Notify(engine.Notice{ // lost: the next one will do
				To: sfuOf(id), Service: txnpb.ReplicaService, Method: txnpb.ReplicaMarkMethod,
				Epoch: a.c.cfg.Epoch, Group: a.c.cfg.Group, Body: body,
			})
		}
		l.marked(a.c.cfg.Node, &digest)
	})
}

// marked compares the states that members came to with an entry.
func (l *loop) marked(member uint64, d *txnpb.StateDigest) {
	switch l.replica.Mark(member, d.AppliedIndex, d.Chain) {
	case replica.VerdictMinority:
		err := fmt.Errorf("txn: at entry %d, CSN %d, this SFU has come to another state than most", d.AppliedIndex, d.Csn)
		l.c.applier.do(func() { l.c.fence(err) })
	case replica.VerdictNoMajority:
		l.c.haltWith(alarmDiverged, errors.New("txn: no majority of the SFUs has come to the same state: find out which one is right, by `rrts ledger audit` on each, or restore a backup with `rrts restore`"))
	}
}
