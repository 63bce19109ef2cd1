// Package txn is the transaction Component: one member of a replicated group
// that puts transactions into one order, makes them durable on a quorum and
// applies them to the ledger.
//
// # The parts
//
//	entry     what one log entry holds
//	roster    who is in the cluster and in the group, and how that changes
//	replica   raft, batching, who waits for what: a state machine without I/O
//	raftlog   the raft log in a sealed journal (rrts/journal)
//	machine   applies entries: exactly once, deterministic
//	store     the applied state: accounts, transfers, transaction rows, users
//
// This package gives them threads, a clock, a disk and the engine's messages:
//
//	Serve ──events──▶ loop ──Append──▶ appender ──responses──▶ peers
//	  ▲                │ ▲ └──Apply───▶ applier ──results──┐
//	  │                │ └──────────────────────◀──────────┘
//	engine ◀─messages, answers─┘
//
// The loop owns the replica, the appender the log, the applier the machine and
// the store's writes; readers answer queries beside them. Work crosses between
// them in batches. Nothing else is shared.
//
// # Members
//
// Who is in the cluster, the roster, and who of them votes or learns, the group, are
// replicated state. An operator's change (service Members) goes into the log, one at a
// time. An SFU that is new to the group begins with nothing: the leader sends it the
// state, and makes it a voter, if it is to be one, when it has kept up for two election
// times. A change of the group is on disk before anybody hears that it is done. Every
// replica announces the roster to the SFUs that it reaches (service RosterKeeper): those
// without a replica hear of it in no other way, and one that was removed hears that the
// others can do without it.
//
// Of two voters, the one that stops gives up its vote first (service Replica, method
// Rest), and is given it back when it has caught up again.
//
// # State transfer
//
// A member that lags behind what the log still holds gets the state: the leader
// pins a snapshot of its store and sends its rows in chunks on the bulk lane
// (service Replica, method Install); the last chunk brings the raft message that
// installs it. The receiver builds the new state beside the old one, notes its
// intent in the log, switches, and then begins its log there; a crash at any point
// leaves the one or the other.
//
// # Backups
//
// Any member hands its state out at one CSN, in the chunks of a state transfer, each
// sealed before it leaves (service Backup, package backup). Whoever asks needs no key,
// and sets the pace: nothing of a backup waits in memory.
//
// # A damaged journal
//
// A member whose journal does not read back neither votes nor acknowledges. It asks the
// other members for the entries that are lost (service Replica, method Entries), the
// journal proves them, and then it takes part. If its newest vote is among what is lost,
// it first hears the terms of all others and begins a higher one: it cannot vote twice.
//
// A member whose state does not read back does not start: it says so, with an alarm, and
// is replaced (`rrts sfu replace`).
//
// # When the disk is full
//
// The journal always holds the next segment in reserve. When no further one can
// be made, the alarm disk-full stands. A leader proposes only what its own journal surely
// holds, so that all that is committed can be applied and read there; without room it lets
// a member lead that has some, and where nobody has, it refuses new work as overloaded.
// Reads go on; work resumes by itself when there is space.
package txn
