// Package replica is one member of a transaction group as a state machine
// without I/O: it turns what clients submit and peers say into log entries,
// messages and answers. go.etcd.io/raft/v3 decides the order; this package
// decides what is proposed, when, and who is waiting for it.
//
// # The caller's contract
//
// The owner calls every method from one goroutine and, after each round of
// inputs, calls Ready until it reports nothing more. What Ready returns must be
// done:
//
//	Messages   encode and send to the peers at once; losing one is no harm
//	Append     in the order given, on one append thread: write entries and hard
//	           state (and install the snapshot), make them durable with one sync
//	           for as many as are there, then deliver the responses: those to
//	           peers by sending, those to this replica by Respond
//	Apply      in the order given, on one apply thread: apply the entries to the
//	           machine, then hand the result to Applied
//	Finished   answer these batches
//	Reads      the state applied so far may answer these reads
//	Changes    answer these changes of the roster
//
// Append and Apply run beside each other and beside the loop: a leader writes its
// own disk while its followers write theirs.
//
// # How transactions flow
//
// Submissions queue. As long as fewer than MaxInflightEntries entries of this
// leader are under way, all that is queued (within MaxEntryBytes) becomes the
// next entry; what arrives meanwhile waits and makes a larger one. So a lone
// client sees one round of disk and network, and many clients share it. Pending
// transfers whose time is over expire with the next entry.
//
// A batch is finished when each of its submissions is: committed or aborted after
// apply, refused before the log, or, when leadership or the deadline is lost,
// told that nothing is known (STATE_UNKNOWN, STATE_PENDING) so that whoever asked
// asks again with the same id. A request that is repeated while it is under way
// waits for the same result.
//
// # How time flows
//
// An entry proposes its leader's wall clock. With CompareClocks the owner tells the
// others' by Clocks, and a leader proposes entries only while a majority of the voters'
// clocks is within half a second of their median and its own is among them. One whose
// clock is not hands over to a voter whose clock is; without a majority submissions wait
// for a second and are then answered STATE_CLOCK_UNSYNCED. Changes of the roster need no
// clock: a member whose clock is wrong can be removed.
//
// # How reads flow
//
// A leader that has applied an entry of its own asks a quorum whether it still leads,
// once for all reads that are there; each is served when the state has come as far
// as what was committed then.
//
// # How members change
//
// A leader that has applied an entry of its own founds the cluster, where nobody has,
// with the roster that it started from. After that it does the changes that operators
// ask for, one after the other: each is proposed when the one before is done with both
// its steps, and is refused where the voters that would be left could not decide. A
// leader that is to be removed hands over and leaves the change to who leads then. What
// was asked for twice is done once: a member is known by its public key. Between
// changes the leader promotes learners that are to vote and keep up.
package replica
