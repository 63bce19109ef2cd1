package txn

import (
	"errors"
	"math"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Serve implements engine.Component: it decodes what came and hands it to the
// loop in one piece.
func (c *Component) Serve(batch []message.Request) {
	if !c.sound.Load() {
		c.serveDamaged(batch)
		return
	}
	d := dispatch{c: c}
	for _, r := range batch {
		service := r.Envelope().Service
		if service != txnpb.ReplicaService && c.refusesOverruled(r) {
			continue
		}
		switch service {
		case txnpb.TxnService:
			txnpb.ServeTxn(txnService{&d}, r)
		case txnpb.ReplicaService:
			txnpb.ServeReplica(replicaService{&d}, r)
		case txnpb.MembersService:
			txnpb.ServeMembers(membersService{&d}, r)
		case txnpb.BackupService:
			txnpb.ServeBackup(backupService{&d}, r)
		}
	}
	if len(d.events) > 0 {
		c.post(d.events...)
	}
}

// Hear implements engine.Hearer: what keeps the group together goes to the loop without a
// detour, and heartbeats are answered where they arrive.
func (c *Component) Hear(n message.Request) bool {
	l, env := c.hears.Load(), n.Envelope()
	if l == nil || env.Service != txnpb.ReplicaService || env.Method != txnpb.ReplicaControlMethod {
		return false
	}
	d := dispatch{c: c}
	txnpb.ServeReplica(replicaService{&d}, n)
	if len(d.events) > 0 && (d.stepped == nil || !l.hear(d.stepped, d.events)) {
		c.post(d.events...)
	}
	return true
}

// dispatch turns the requests of one Serve into the loop's events.
type dispatch struct {
	c       *Component
	events  []func()
	stepped *raftpb.Message // the last one of them
}

// txnService answers clients' requests, replicaService the other members'.
type (
	txnService     struct{ *dispatch }
	replicaService struct{ *dispatch }
)

func (d *dispatch) add(f func()) { d.events = append(d.events, f) }

// Submit implements txnpb.TxnHandler.
func (d txnService) Submit(r message.Responder[*txnpb.Outcomes], in *txnpb.SubmitBatch) {
	c, arrived := d.c, d.c.host.Now()
	d.add(func() {
		b := &replica.Batch{Submissions: in.Submissions, Origin: r, Arrived: arrived}
		c.loop.replica.Submit(c.host.Now(), c.cfg.Wall(), b)
	})
}

// Resolve implements txnpb.TxnHandler.
func (d txnService) Resolve(r message.Responder[*txnpb.Outcome], in *txnpb.StatusRequest) {
	c, env := d.c, r.Envelope()
	tx := txnpb.Transaction{Id: in.Id}
	b := &replica.Batch{Origin: r, Arrived: c.host.Now(), Submissions: []txnpb.Submission{{
		Transaction: message.Marshal(&tx), Principal: owner(env), RemainingMillis: env.RemainingMillis,
	}}}
	d.add(func() { c.loop.replica.Resolve(c.host.Now(), c.cfg.Wall(), b) })
}

// owner is the user by whose rights the caller reads: a client sees its own
// transactions and accounts. machine.Everything for those who may see all.
func owner(env *message.Envelope) uint64 {
	switch {
	case env.Role != message.RoleClient:
		return machine.Everything
	case env.Principal == 0: // no user has this number
		return math.MaxUint64
	}
	return env.Principal
}

// Status implements txnpb.TxnHandler.
func (d txnService) Status(r message.Responder[*txnpb.Outcome], in *txnpb.StatusRequest) {
	c, who, id := d.c, owner(r.Envelope()), in.Id
	d.linearizable(r.Request, func() {
		var row *txnpb.StoredOutcome
		view, err := c.store.View()
		if err == nil {
			row, err = machine.Status(view, id)
			err = errors.Join(err, view.Close())
		}
		switch {
		case err != nil:
			r.Fail(message.Internal, err.Error())
		case row == nil || who != 0 && row.Principal != who:
			r.Reply(&txnpb.Outcome{Id: id, State: txnpb.StateUnknown})
		default:
			r.Reply(row.Outcome)
		}
	})
}

// FindUser implements txnpb.TxnHandler.
func (d txnService) FindUser(r message.Responder[*txnpb.UserAnswer], in *txnpb.UserQuery) {
	c := d.c
	d.linearizable(r.Request, func() {
		var u *txnpb.User
		var err error
		if in.PublicName != "" {
			u, err = machine.FindNamed(c.store, in.PublicName)
		} else {
			u, err = machine.FindUser(c.store, in.Number, in.LoginHash)
		}
		if err != nil {
			r.Fail(message.Internal, err.Error())
			return
		}
		r.Reply(&txnpb.UserAnswer{User: u})
	})
}

// Read implements txnpb.TxnHandler.
func (d txnService) Read(r message.Responder[*txnpb.QueryAnswer], in *txnpb.Query) {
	c, who := d.c, owner(r.Envelope())
	query := func() {
		view, err := c.store.View()
		if err != nil {
			r.Fail(message.Internal, err.Error())
			return
		}
		answer, err := machine.Query(view, in, who)
		if cerr := view.Close(); err == nil {
			err = cerr
		}
		switch {
		case errors.Is(err, machine.ErrDenied):
			r.Fail(message.Denied, err.Error())
		case errors.Is(err, machine.ErrInvalid):
			r.Fail(message.Invalid, err.Error())
		case err != nil:
			r.Fail(message.Internal, err.Error())
		case in.Stale && answer.Csn < in.MinCsn:
			// A linearizable read has all there is: a CSN beyond it was overruled by a forced
			// recovery, and will not come.
			r.Fail(message.Unavailable, "this replica has not come so far yet")
		default:
			if answer.Outbox != nil {
				answer.Outbox.ClusterId = c.cfg.Cluster[:]
			}
			r.Reply(answer)
		}
	}
	if in.Stale {
		c.enqueueRead(r.Request, query)
		return
	}
	d.linearizable(r.Request, query)
}

// linearizable has f run by a reader once the state applied here holds all that
// was committed when the request came.
func (d *dispatch) linearizable(r message.Request, f func()) {
	c := d.c
	rd := &replica.Read{Deadline: c.deadline(r), Origin: func(ok bool) {
		if !ok {
			r.Fail(message.NotLeader, "")
			return
		}
		c.enqueueRead(r, f)
	}}
	d.add(func() { c.loop.replica.Read(rd) })
}

// Control implements txnpb.ReplicaHandler.
func (d replicaService) Control(r message.Request, in *txnpb.RaftMessage) { d.step(r, in) }

// Append implements txnpb.ReplicaHandler.
func (d replicaService) Append(r message.Request, in *txnpb.RaftMessage) { d.step(r, in) }

// step checks a peer's message before raft sees it: the session has proved the
// sender and the cluster, the rest stands in the envelope.
func (d *dispatch) step(r message.Request, in *txnpb.RaftMessage) {
	c, env := d.c, r.Envelope()
	m := &raftpb.Message{}
	if err := proto.Unmarshal(in.Message, m); err != nil {
		c.host.Log().Warn("a peer's message is malformed", "from", env.From, "err", err)
		return
	}
	if epoch := c.epoch.Load(); env.Group == c.cfg.Group && env.Epoch != epoch {
		if env.Epoch < epoch {
			d.add(func() { c.loop.outdated(env.From) })
		}
		return // who is behind hears so in another way
	}
	if env.Group != c.cfg.Group || m.GetTo() != c.cfg.Node ||
		m.GetFrom() != uint64(env.From) || env.From == 0 || m.GetType() == raftpb.MsgSnap {
		c.host.Log().Warn("a peer's message is not for this member", "from", env.From, "group", env.Group, "epoch", env.Epoch,
			"node", m.GetFrom(), "to", m.GetTo(), "type", m.GetType())
		return
	}
	_ = c.checkActive(in.ActiveVersion) // a halted member takes part in the log
	d.stepped = m
	d.add(func() {
		c.loop.replica.PeerFull(m.GetFrom(), in.Full)
		c.loop.replica.PeerSlow(m.GetFrom(), in.Slow)
		c.loop.replica.PeerKnows(m.GetFrom(), in.NewestVersion)
		c.loop.replica.Step(m)
	})
}

// Install implements txnpb.ReplicaHandler.
func (d replicaService) Install(r message.Responder[*txnpb.SnapshotProgress], in *txnpb.SnapshotChunk) {
	env := r.Envelope()
	if env.Group != d.c.cfg.Group || env.Epoch != d.c.epoch.Load() || env.From == 0 {
		r.Fail(message.Denied, "not of this group and epoch")
		return
	}
	d.c.applier.do(func() { d.c.applier.receive(r, in) })
}

// Status implements txnpb.ReplicaHandler.
func (d replicaService) Status(r message.Responder[*txnpb.ReplicaStatus], _ *txnpb.ReplicaStatusRequest) {
	c := d.c
	d.add(func() {
		out := c.status()
		commitStatus(out, &c.loop.commits)
		out.Progress = c.tasks.status(c.host.Now())
		c.applier.do(func() {
			digest := c.applier.machine.Digest()
			out.Csn, out.Transactions = digest.Csn, digest.Transactions
			out.FlushedIndex = c.keep.Flushed()
			r.Reply(out)
		})
	})
}

// status is what this member is, without how far its state reaches. It belongs to the
// loop.
func (c *Component) status() *txnpb.ReplicaStatus {
	st := c.loop.replica.Status()
	out := &txnpb.ReplicaStatus{
		Sfu: uint32(c.host.SFU()), Role: st.Role, Leader: uint32(sfuOf(st.Lead)), Term: st.Term,
		CommitIndex: st.Commit, AppliedIndex: st.Applied, Pending: uint32(st.Pending), Epoch: c.epoch.Load(),
		ApplyVersion: c.loop.replica.ActiveVersion(), NewestVersion: c.cfg.Machine.Newest,
	}
	for _, node := range st.Voters {
		out.Voters = append(out.Voters, uint32(sfuOf(node)))
	}
	for _, node := range st.Learners {
		out.Learners = append(out.Learners, uint32(sfuOf(node)))
	}
	if r := c.loop.replica.Group().Roster; r != nil {
		out.RosterVersion = r.Version
	}
	out.LastIndex, _ = c.log.LastIndex() // never fails
	out.LastTerm, _ = c.log.Term(out.LastIndex)
	return out
}

// Digest implements txnpb.ReplicaHandler.
func (d replicaService) Digest(r message.Responder[*txnpb.StateDigest], _ *txnpb.DigestRequest) {
	if d.c.witness() {
		r.Fail(message.NotFound, "a witness has no state")
		return
	}
	a := d.c.applier
	a.do(func() {
		digest := a.machine.Digest()
		r.Reply(&digest)
	})
}
