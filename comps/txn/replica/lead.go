package replica

import "go.etcd.io/raft/v3"

// Suspect tells what the interconnect thinks of a peer. When the leader falls
// silent, the lowest of the other voters campaigns at once and the rest, witnesses
// among them, are ready to vote for it: two candidates at the same time would split the
// votes.
func (r *Replica) Suspect(peer uint64, suspect bool) {
	if !suspect {
		delete(r.suspects, peer)
		return
	}
	r.suspects[peer] = true
	if peer != r.lead || r.leading {
		return
	}
	for id := range r.node.Status().Config.Voters.IDs() {
		if r.cfg.Witness || id < r.cfg.ID && !r.suspects[id] && !r.isWitness(id) {
			_ = r.node.ForgetLeader() // refused by a learner only, which has no vote to lend
			return
		}
	}
	if r.halted {
		_ = r.node.ForgetLeader() // for the next one to have its vote
		return
	}
	_ = r.node.Campaign() // refused with a membership change to apply: the timer will campaign
}

// Draining tells whether a peer is about to stop: leadership is not handed to it, and a
// learner does not become a voter meanwhile.
func (r *Replica) Draining(peer uint64, draining bool) {
	if draining {
		r.draining[peer] = true
	} else {
		delete(r.draining, peer)
	}
}

// PeerFull tells whether a peer's disk has room for new work; a message of its own said so.
func (r *Replica) PeerFull(peer uint64, full bool) {
	if full {
		r.fullPeers[peer] = true
	} else {
		delete(r.fullPeers, peer)
	}
}

// PeerSlow tells whether a peer's disk takes long for the log; a message of its own said so.
func (r *Replica) PeerSlow(peer uint64, slow bool) {
	if slow {
		r.slowPeers[peer] = true
	} else {
		delete(r.slowPeers, peer)
	}
}

// Unreachable tells raft that messages to the peer were not sent.
func (r *Replica) Unreachable(peer uint64) { r.node.ReportUnreachable(peer) }

// SnapshotSent tells raft how the transfer of a snapshot to the peer ended.
func (r *Replica) SnapshotSent(peer uint64, ok bool) {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	r.node.ReportSnapshot(peer, status)
}

// HandOver passes leadership to the voter that has most of the log, if this replica
// leads and another voter is there that is no witness. It reports whether it tries, now
// or since an earlier call; success shows in Output.Lead. What is submitted meanwhile
// waits. Raft gives up after an election's time.
func (r *Replica) HandOver() bool {
	return r.cfg.CompareClocks && r.handOver(r.rightClock) || r.handOver(func(uint64) bool { return true })
}

// Yield does the same for want of room, if a voter is there that has some: where all
// disks are full, this one leads on.
func (r *Replica) Yield() bool { return r.handOver(func(id uint64) bool { return !r.fullPeers[id] }) }

// Relieve does the same because the disk takes long for the log, if a voter is there whose
// disk does not, and has room: a leader applies nothing that its own disk does not hold.
func (r *Replica) Relieve() bool {
	return r.handOver(func(id uint64) bool { return !r.slowPeers[id] && !r.fullPeers[id] })
}

// handOver is HandOver to a voter that is fit; one whose disk is full or slow is the last
// choice.
func (r *Replica) handOver(fit func(id uint64) bool) bool {
	if !r.leading && !r.witness.lifting {
		return false
	}
	status := r.node.Status()
	under := status.LeadTransferee
	if under != 0 && !r.witness.lifting { // another target would campaign against this one
		return true
	}
	var best, match uint64
	bestFull := false
	for id := range status.Config.Voters[0] { // not to one that is leaving
		p := status.Progress[id]
		full := r.fullPeers[id] || r.slowPeers[id]
		if id == r.cfg.ID || r.isWitness(id) || r.suspects[id] || r.draining[id] || !p.RecentActive || !r.knowsActive(id) || !fit(id) {
			continue
		}
		if best == 0 || bestFull && !full || bestFull == full && (p.Match > match || p.Match == match && id < best) {
			best, match, bestFull = id, p.Match, full
		}
	}
	switch {
	case under != 0 && (best == 0 || match <= status.Progress[under].Match):
		return true // a witness leaves a voter that takes long for one that has more
	case best == 0:
		return false
	}
	r.node.TransferLeader(best)
	r.handing = true
	return true
}
