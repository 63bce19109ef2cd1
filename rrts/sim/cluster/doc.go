// Package cluster runs whole clusters on virtual time from a seed.
//
// Each node is the cores that an SFU is made of, joined by hand instead of by
// goroutines: net/session towards every other node over two lossy networks,
// comps/effects' core and comps/txn's replica, raftlog on a journal on a simulated disk, machine and
// ledger on a store that forgets what was not flushed. Clients submit, retry with
// the same ids wherever they like, ask for final answers, read, and remember what
// they were told.
//
// # A run
//
// A schedule says what goes wrong in the safety phase, and when: loss, doubling,
// corruption and reordering of frames, one-way cuts of one or both networks, crashes of the
// power or of the process between and within disk writes and while a node starts, torn
// sectors, syncs that fail, journals and rows that rot or cannot be read, slow disks, full disks, pauses,
// restarts, clocks that differ and jump, planned hand-overs, states sent to members
// that lag; and an operator adds, removes, rests and replaces members all the while, those
// whose disks are lost among them. Newer software is installed on nodes, and older again,
// and the newer apply version is activated. Nodes reach each other by the rosters that they
// know, and those that were removed may linger. Then everything is healed, and a liveness
// phase gives the cluster a bounded time to answer all that is open, to agree, and to expire
// what pends.
//
// The seed draws the schedule ([Plan]), and everything that is no fault: what clients do,
// how long frames and disks take. A schedule can be written down, and replayed ([ParseSchedule]):
//
//	run seed=2 nodes=3 clients=1 safety=847ms bug=3
//	797.081ms    crash node=1 for=35.842ms
//
// [Shrink] cuts the schedule of a run that fails down to the events that it takes.
//
// Config.Force adds one fault that no cluster gets over by itself: of two nodes one is
// lost, an operator lets the other go on alone, and the first one comes back.
//
// # What is checked
//
//	told      whatever a client was told to be final is final everywhere: the same
//	          state, the same CSN, on every replica and at every repetition
//	once      no transaction has two effects: each transfer is in the ledger iff
//	          its transaction committed
//	balance   debits equal credits, every limit holds, nothing pends for ever
//	agreement replicas at the same index have the same chain digest
//	rows      and in the end the same sum of their rows
//	order     CSNs are 1, 2, 3, … without a gap, and in that order the history is
//	          linearizable: it agrees with what happened before what, and each read
//	          saw the sum of what comes before it
//	history   porcupine, which knows of no CSN, finds each account linearizable
//	epoch     a node that a forced recovery has overruled decides nothing any more:
//	          whatever any client was told, by whomever, is final
//	effects   of each committed transaction are done, those of no other; one by one
//	          where they have a key; reported once, with what follows; none is asked for
//	          again after that, and who does one is told when it may have been done
//	records   what a session hands out was sent, once, in order, without a gap
//	members   every change that was asked for is done or refused, and who is to vote
//	          does in the end; changes of the group agree with raft's own at every entry
//	witness   one that votes and has no state answers nobody, sends no state, and leads
//	          only for as long as a voter takes to get from it what it lacks
//	versions  no entry names an apply version that was not activated, and no node halts
//	          whose software knows it
//	clocks    what a leader stamps with is near the clocks of a majority of its voters
//	rot       a member whose rows have rotted makes its state anew, and nobody takes it
//	journal   no synced record is lost; one that has rotted is found, and its node
//	          takes no part any more
//
// # Planted bugs
//
// Config.Bug plants a fault around the code under test. A test for each sees
// that the checks find it.
//
// Raft draws its election times from crypto/rand.Reader; a run replaces it, so
// runs of one process must follow each other.
package cluster
