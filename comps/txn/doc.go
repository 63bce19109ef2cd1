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
//	marker    what a witness has in the place of these two
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
// An idle group lives on heartbeats, and most of what one costs is to wake somebody: a
// follower answers where the heartbeat arrives, on the interconnect's goroutine (Hear), if
// nobody else is at the loop's work and no more than an answer can come of it. The leader
// takes in the answers in the same way. The timer of the ticks is put off with each
// heartbeat; it fires for a leader's next one, and when one is late.
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
// A voter that stops gives up its vote first (service Replica, method Rest) where others
// could not do without it: to a learner of the same machine, which keeps it, or, of two
// voters, for as long as it is away.
//
// # Forced recovery
//
// Where most voters are lost for good, an operator lets one member go on alone (service
// Replica, method Force). It writes an entry that nobody else has agreed to into its log,
// with the record that makes it count, and is made anew; a higher epoch begins, in which
// it is the only voter, and every other replica is overruled. What they say in the older
// one is refused, and they are told why; the journal's header, every message and every
// roster bear the epoch. A member that could decide alone listens for a moment at its
// start whether that has happened to it. What an overruled member has and nobody else is
// found by package overruled.
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
// # A witness
//
// A member of type witness votes and acknowledges what it has on disk, like the others,
// and applies nothing: it has the log and a marker, which says where it stands and who the
// group is there. It answers no client, founds nothing, changes nobody, and is handed no
// leadership. It leads in one case only. Here A and B hold the state, W is the witness,
// and the numbers are entries of the log; [n] has been committed with this copy:
//
//	     A 1 2 3 [4] [5]       B was away: 4 and 5 were committed
//	     B 1 2 3               by A and W.
//	     W 1 2 3 [4] [5]
//
//	1.   A is lost. B asks for W's vote; its log ends before W's: no.
//	2.   But what W sees is a voter that cannot win because of what W holds.
//	     It stands itself, in a term t, and has B's vote.
//
//	     B 1 2 3               W leads; nobody is told of it: clients wait.
//	     W 1 2 3 [4] [5] 6     6 is the empty entry with which terms begin.
//
//	3.   W sends 4, 5 and 6. In the moment in which B has them on disk, and
//	     no later, W has it campaign for term t+1, and votes for it.
//
//	     B 1 2 3 [4] [5] [6] 7   B leads, applies 4 and 5, and answers.
//	     W 1 2 3 [4] [5] [6] 7
//
// So whatever W has acknowledged, and a voter may lack, must stay in W's log. Who may cut
// what:
//
//	A, B   up to what is flushed into their own state: as leader they send it to who
//	       lags behind that, and to a witness a marker.
//	W      up to what every voter with a state has flushed into it, as they say
//	       themselves; beyond that not before its log has come to a bound, and then
//	       the alarm witness-overrun stands.
//
// A marker takes W's log away up to its index i, and with it nothing that a voter lacks:
// W was not there when what it skips was committed, so the others of its group were. A
// learner becomes a voter beside a witness only when it lacks nothing that is committed,
// so that this holds for it, too. A voter that lacks more than W keeps finds W unwilling:
// it would lead in vain, since it has no state to send. Then nothing is decided until one
// that holds it all is back, and the alarm no-leader says so.
//
// # Keys
//
// Log and state are sealed under keys of this member's own. For a fresh one (service
// Replica, method Keys) the log begins a segment, and then its older ones and the state's
// files are sealed anew, beside all else; the old key is destroyed when nothing needs it. A
// start ends what a crash has cut short.
//
// # Backups
//
// Any member hands its state out at one CSN, in the chunks of a state transfer, each
// sealed before it leaves (service Backup, package backup). Whoever asks needs no key,
// and sets the pace: nothing of a backup waits in memory.
//
// # When the disk is slow
//
// A commit needs the disks of a majority, and the leader's own: raft applies nothing that
// is not on it. A leader whose log takes long to write, or whose disk has not answered for a
// second, lets a member lead whose disk is better; the alarm disk-slow@journal says so.
// Where all are slow the lead stays. A disk that does not answer at all ends the process.
//
// # A damaged journal
//
// A member whose journal does not read back neither votes nor acknowledges. It asks the
// other members for the entries that are lost (service Replica, method Entries), the
// journal proves them, and then it takes part. If its newest vote is among what is lost,
// it first hears the terms of all others and begins a higher one: it cannot vote twice.
//
// # A damaged state
//
// A scrub reads all rows again and again and holds them against their sum. A member whose
// rows are others than it wrote notes that its state must not be used, and is made anew; one
// that cannot read a row that an entry needs ends. Either takes the state of another member
// (service Replica, method State), whose rows must agree with their own sum, and applies
// what its log holds behind that. After every 256 entries the members tell each other to which state they
// came (method Mark): one that most voters contradict does the same, and where no state
// has a majority all of them halt. As often as it scrubs the leader has all members tell
// the sums of their rows at one entry (method Sum), and the same follows: what differs there
// was not stored as the machine made it. A member whose lost log entries nobody keeps any
// more takes another's state, too. One that cannot even open its state, or finds an
// older one than its log goes with, has all its promises in the log: it does the same, with
// the alarm state-damaged, and its damaged files are kept aside. Where no other member has
// the state it does not start; where none gives it, it waits.
//
// # Clocks and versions
//
// The owner tells what the interconnect knows of the other SFUs' clocks: a leader stamps
// nothing by a clock that no majority agrees with; see package replica. Members say in
// their messages which apply version their software knows; a newer one is activated by an
// entry that an operator asks for (service Members, method Activate) when all know it. A
// member that meets what its software does not know halts: it stores the log and votes,
// applies nothing and does not lead, and says so with an alarm.
//
// # When the disk is full
//
// The journal always holds the next segment in reserve. When no further one can
// be made, the alarm disk-full stands. A leader proposes only what its own journal surely
// holds, so that all that is committed can be applied and read there; without room it lets
// a member lead that has some, and where nobody has, it refuses new work as overloaded.
// Reads go on; work resumes by itself when there is space.
package txn
