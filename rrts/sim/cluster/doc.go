// Package cluster runs whole clusters on virtual time from a seed.
//
// Each node is the cores that an SFU is made of, joined by hand instead of by
// goroutines: net/session towards every other node over two lossy networks,
// comps/txn's replica, raftlog on a journal on a simulated disk, machine and
// ledger on a store that forgets what was not flushed. Clients submit, retry with
// the same ids wherever they like, and remember what they were told.
//
// # A run
//
// A safety phase lets the seed do what it likes: loss, doubling, corruption and
// reordering of frames, one-way cuts of one or both networks, crashes between and
// within disk writes, torn sectors, slow disks, pauses, restarts, clocks that
// differ, planned hand-overs. Then everything is healed, and a liveness phase
// gives the cluster a bounded time to answer all that is open and to agree.
//
// # What is checked
//
//	told      whatever a client was told to be final is final everywhere: the same
//	          state, the same CSN, on every replica and at every repetition
//	once      no transaction has two effects: each transfer is in the ledger iff
//	          its transaction committed
//	balance   debits equal credits, and every limit holds
//	agreement replicas at the same index have the same chain digest
//	order     CSNs are 1, 2, 3, … without a gap
//	journal   no synced record is lost or damaged
//
// Raft draws its election times from crypto/rand.Reader; a run replaces it, so
// runs of one process must follow each other.
package cluster
