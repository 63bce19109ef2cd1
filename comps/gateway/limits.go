package gateway

import "time"

// What the protocol fixes.
const (
	// Protocol is the newest version that this gateway speaks. Its history:
	//
	//	1  Hello, Login, Resume, Ping, Moved, Closed; Submit; services by number
	//	2  logins are sealed: Schema, Enter, ChangePassword
	Protocol = 2
	// heartbeatsMissed is how many heartbeats in a row a client may be silent.
	heartbeatsMissed = 3
)

// What an owner may want to change stands in Config; these are the defaults.
const (
	DefaultHeartbeat      = 10 * time.Second
	DefaultMaxConnections = 10_000
	DefaultWindow         = 256
	// DefaultMoveGrace is how long a stopping gateway goes on taking requests, for its
	// clients to open their next connection: hundreds of TLS handshakes at the others.
	DefaultMoveGrace = 2 * time.Second
)

// Bounds of this implementation, each with its reason.
const (
	// maxOpening bounds connections that have not logged in, and maxOpeningAddress
	// those of one address: each holds some 30 kB, and one flooding address must
	// leave room for the others. Where there is none the address with the most gives way.
	maxOpening        = 1024
	maxOpeningAddress = 256
	// handshakeTime and helloTime cut off who connects and says nothing; signTime who
	// says hello and does not log in: a login may have to wait for a leader.
	handshakeTime = 10 * time.Second
	helloTime     = 10 * time.Second
	signTime      = 45 * time.Second
	// openingFrame is the longest frame before the login: a login is the longest.
	openingFrame = 8 << 10
	// openingWindow bounds requests in flight before the login.
	openingWindow = 4

	// maxConnectionBytes bounds the requests in flight of one connection: four of the
	// largest transactions.
	maxConnectionBytes = 16 << 20
	// maxUserInFlight bounds one user's transactions in flight on all connections
	// here, so that none can fill the queue for the others.
	maxUserInFlight = 16_384
	// maxBacklog bounds the answers that wait for one client to read them; one answer
	// of any size may always wait. stall is how long it may take for the next 64 KiB.
	maxBacklog = 16 << 20
	stall      = 5 * time.Second
	// maxBacklogs bounds them for all clients together; the worst reader goes first.
	maxBacklogs = 256 << 20
	// linger is how long a client may take to read the gateway's last word, and up to
	// maxBacklog that waits before it; stopLinger is how long a stopping gateway waits
	// for that.
	linger     = 10 * time.Second
	stopLinger = time.Second

	// maxQueued and maxQueuedBytes bound the transactions that wait for an answer, of
	// all connections: some seconds of a fast cluster's work.
	maxQueued      = 65_536
	maxQueuedBytes = 128 << 20
	// maxBatch and maxBatchBytes close a batch: far below the service's own bound of
	// 16 MiB, yet the cost of a message is long shared out.
	maxBatch      = 4096
	maxBatchBytes = 1 << 20
	// maxInFlight is how many batches are on their way at once. Fewer leave the
	// leader idle between them, more make them small.
	maxInFlight = 4

	// maxWait answers a transaction whose client named no deadline.
	maxWait = 30 * time.Second
	// expiryTick is how exactly deadlines are kept.
	expiryTick = 10 * time.Millisecond
	// retryFirst and retryMost bound the pause before a batch is sent again. The
	// engine waits for a leader by itself, so a pause is seldom needed.
	retryFirst = 2 * time.Millisecond
	retryMost  = 50 * time.Millisecond
	// doubtAfter is how long after an SFU became suspect, was lost or was announced
	// anew unanswered batches are sent once more, every doubtEvery: their leader may
	// have been the one, and the engine only knows when it has given it up. The
	// transaction service recognises what it has already.
	doubtAfter = 3 * time.Second
	doubtEvery = 20 * time.Millisecond
	// maxUnder bounds the sendings of one batch without an answer: two thirds of a
	// second of doubt, by when the engine has given the lost SFU up itself.
	maxUnder = 32

	// sessionsTick is how often the leader is asked which users have changed, and
	// sessionsFresh how long its word counts for a session that is resumed: together with
	// the time that an answer takes they stay below the second in which a session must
	// end. sessionsTimeout lets a question follow the leadership to another SFU.
	sessionsTick    = 200 * time.Millisecond
	sessionsFresh   = 500 * time.Millisecond
	sessionsTimeout = 2 * time.Second
	// maxSessionUsers bounds the users of one question: what the service takes.
	maxSessionUsers = 4096
	// resumeTime is how long a Resume waits for the leader's word: longer than an election.
	resumeTime = 5 * time.Second

	// sweepTick is how often silent clients and slow readers are looked for, or every
	// heartbeat if that is shorter.
	sweepTick = time.Second
	// maxAgent bounds what is kept of a client's name for itself, in bytes.
	maxAgent = 64
	// logLines bounds the lines about bad clients in any one second: a flood must not
	// fill the journal. The counters count them all.
	logLines = 5
)
