package engine

import (
	"errors"
	"time"
)

// What is fixed here has its reason beside it; what an owner may want to change
// stands in Config.
const (
	// DefaultMailbox is the bound on waiting requests of a service on one lane. A
	// Component that takes 10 µs a request is 40 ms behind when it is full.
	DefaultMailbox = 4096
	// DefaultTimeout answers a Call that names none. Longer than any election or
	// restart that the engine rides out, short enough that nothing piles up.
	DefaultTimeout = 10 * time.Second
	// MaxTimeout bounds what a caller may ask for: a forgotten call must end.
	MaxTimeout = 10 * time.Minute

	// maxRecord bounds what a block from a peer may say that it holds: twice the longest
	// record of any lane of the interconnect.
	maxRecord = 32 << 20

	// maxBatch bounds one Serve, so that what comes in on a lane with priority waits
	// for no more than this many requests of another.
	maxBatch = 256
	// maxHeld bounds the requests that a Component has taken and not answered. Above
	// it requests stay in the mailbox, which then refuses.
	maxHeld = 1 << 16
	// aloneFor is how long a suspect of an earlier crash keeps the next suspect
	// waiting: what it was going to break would be broken by then.
	aloneFor = 2 * time.Second
	// maxEvents bounds the news of peers that wait for a Component: it is stuck long
	// before that many changes happen.
	maxEvents = 1 << 14
	// maxComponents bounds the Components of one engine; a list of them stands in one
	// status message.
	maxComponents = 64

	// watchEvery is how often the engine looks whether Components show life, and
	// counts its own progress.
	watchEvery = 500 * time.Millisecond
	// pausedFor is how late a look must come to say that the whole process did not run
	// (stopped, swapped out, its virtual machine suspended): then nobody is judged by
	// that time.
	pausedFor = watchEvery
	// restartFirst is the pause before a failed Component is made anew; it doubles
	// with each failure in a row up to restartMost, so that a hopeless one costs
	// nothing and a cured one is back within half a minute.
	restartFirst = 50 * time.Millisecond
	restartMost  = 30 * time.Second
	// stableAfter is how long a Component must run before its failures are forgotten
	// and the alarm ends.
	stableAfter = 60 * time.Second
	// criticalAfter failures in a row make the alarm critical.
	criticalAfter = 5
	// maxAbandoned bounds the goroutines of a Component that hang at a time: each
	// holds memory, and the cause is not going away. At the bound the engine gives up,
	// and systemd starts it anew.
	maxAbandoned = 3

	// farewellWithin bounds the last question to the peers of an engine that stops: a
	// peer that does not answer within it is as good as lost.
	farewellWithin = time.Second
	// maxBacklog and maxBacklogBytes bound the answers that found no room in the
	// transport. Their callers have deadlines, so that dropping what is beyond costs
	// them a wait, and never the truth.
	maxBacklog      = 4096
	maxBacklogBytes = 64 << 20
	// backlogEvery is how often the backlog is tried again.
	backlogEvery = 5 * time.Millisecond
	// maxScratch bounds the buffers that are kept for encoding.
	maxScratch = 1 << 20
	// maxAlarms bounds the alarms that stand at a time; one more is logged only.
	maxAlarms = 256
	// maxQuarantine bounds the requests in quarantine. Beyond it a request that has
	// crashed its Component too often is refused and logged, and not kept.
	maxQuarantine = 1024
	// heldPage is how many requests in quarantine one answer lists, in short: 20 kB.
	heldPage = 64
	// maxHeldLine bounds the line of a crash's reason in a list, in bytes.
	maxHeldLine = 200
	// maxAsked bounds those who look at the quarantine, or change it, at a time: each
	// reads requests of up to 64 MiB from disk.
	maxAsked = 4
	// maxBy bounds the name of who asks, as the log has it.
	maxBy = 64
)

// ErrFull is what a Transport returns when it has no room: the caller gets
// Overloaded.
var ErrFull = errors.New("engine: transport is full")
