package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Position is the place of a record: its segment's number in the high 32 bits,
// its offset in bytes in the low ones. Positions rise strictly with every append, over
// segments and restarts. Zero is before everything.
type Position uint64

// Segment is the number of the position's segment, from 1.
func (p Position) Segment() uint32 { return uint32(p >> 32) }

// Offset is the position's place in its segment, in bytes.
func (p Position) Offset() uint32 { return uint32(p) }

// String gives "segment+offset".
func (p Position) String() string { return fmt.Sprintf("%d+%d", p.Segment(), p.Offset()) }

// Kind is the owner's kind of a record, 1 to 255.
type Kind uint8

// Missing is no kind: Replay says by it that records are missing, which were given up.
const Missing Kind = 0

// LocalKinds is the first kind whose records are this replica's own. Records
// of lower kinds are shared: every replica holds the same bytes of them.
const LocalKinds Kind = 128

// Local reports whether records of this kind are the replica's own, outside of
// the chain and beyond repair by a peer.
func (k Kind) Local() bool { return k >= LocalKinds }

// Record is one record in plaintext.
type Record struct {
	Kind    Kind
	Payload []byte
}

// KeyRing gives the node keys. Its methods may be called from any goroutine.
type KeyRing interface {
	// Current is the key that new segments are sealed under.
	Current() (id uint32, key [32]byte)
	// Key is the key of that id.
	Key(id uint32) (key [32]byte, ok bool)
}

const (
	// BlockBytes is the unit of writing: a page and the largest physical
	// sector in use, so that no write reads first or touches what an earlier sync made durable.
	BlockBytes = 4096

	// MaxRecordBytes bounds a payload: the largest raft entry and a reader's largest buffer.
	MaxRecordBytes = 32 << 20

	// MinSegmentBytes and MaxSegmentBytes bound Config.SegmentBytes.
	MinSegmentBytes = 16 * BlockBytes
	MaxSegmentBytes = 1 << 30

	// DefaultSegmentBytes holds the largest record and makes a roll rare.
	DefaultSegmentBytes = 64 << 20
)

// Config says where a journal lies and how it is sealed.
type Config struct {
	// FS is the file system, and Dir the journal's own directory in it, made
	// if it is missing. Both are required.
	FS  vfs.FS
	Dir string

	// Keys is the ring of node keys. Required.
	Keys KeyRing

	// Cluster is the cluster's id; a journal of another cluster is refused.
	Cluster [16]byte

	// Epoch is the lowest epoch to write. The journal goes on at the higher of
	// this and of its newest segment's.
	Epoch uint64

	// SegmentBytes is the size of new segments: a multiple of BlockBytes,
	// MinSegmentBytes to MaxSegmentBytes, 0 means DefaultSegmentBytes. A
	// record must fit into one segment, see MaxPayload.
	SegmentBytes int64

	// Head gives the records that stand at the start of every new segment,
	// so that older segments can be cut: the owner's state in short. All must be of local
	// kinds. It is called inside of Append and Rotate, on their goroutine,
	// and must not call the journal; the journal keeps nothing of the result. Nil means none.
	Head func() []Record

	// Rand gives the salts, to any goroutine. Nil means crypto/rand.
	Rand io.Reader

	// Log hears of cut tails, damage and repairs. Nil discards.
	Log *slog.Logger
}

// validate reports all faults of the configuration at once.
func (c *Config) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("journal: "+format, args...)) }
	if c.FS == nil {
		fault("Config.FS is required")
	}
	if c.Dir == "" {
		fault("Config.Dir is required")
	}
	if c.Keys == nil {
		fault("Config.Keys is required")
	}
	if c.SegmentBytes < MinSegmentBytes || c.SegmentBytes > MaxSegmentBytes || c.SegmentBytes%BlockBytes != 0 {
		fault("Config.SegmentBytes is %d: must be a multiple of %d from %d to %d", c.SegmentBytes, BlockBytes, MinSegmentBytes, MaxSegmentBytes)
	}
	return errors.Join(faults...)
}

// Journal is an open journal.
//
// One goroutine at a time may call Append, Sync, Mark, NeedsMark, Rotate,
// Repair, Abandon and Close: the writer. TrimBefore, Reserve, Reserved, Replay, ReadAt,
// First, Synced, Damage, Epoch and KeysInUse may run on any goroutine beside
// it and beside each other, until Close; so may Reseal, on one, while there is no damage.
type Journal struct {
	cfg    Config
	log    *slog.Logger
	lock   io.Closer
	failed atomic.Pointer[FailedError]
	hurt   atomic.Bool // damage is not empty
	synced atomic.Uint64
	epoch  atomic.Uint64

	// The writer's.
	closed     bool
	cur        *segment // nil until the first append: a restart begins a new segment
	lastNum    uint32   // the highest segment number so far
	at         uint32   // where buf belongs in cur
	buf        []byte   // sealed frames, not yet written
	unsynced   bool     // something is written and not synced
	st         state    // behind the last appended record
	stSynced   state    // behind the last synced record
	recordsEnd Position // the synced position when records were last synced
	marked     Position // the highest synced position that a durable frame, mark or header tells
	marks      uint64   // marks written into cur
	chain      chainer
	nonce      nonce

	// spaceMu is held by who gives files up or makes new ones. It guards lastSpare.
	spaceMu   sync.Mutex
	lastSpare uint32

	// mu guards the lists and the fields of segments that say so. It is held
	// for moments only, never over I/O but a close.
	mu     sync.Mutex
	segs   []*segment
	spares []*spare
	damage []damage
	rest   int64 // bytes that the current segment has left, or the one that is about to be
}

// Open opens the journal in cfg.Dir, makes it if there is none, and recovers.
//
// A torn tail is cut. Damage is no error of Open: see Damage. Errors: ErrForeign,
// ErrUnknownKey, ErrVersion, a fault in cfg, or what the file system answers.
func Open(cfg Config) (*Journal, error) {
	if cfg.SegmentBytes == 0 {
		cfg.SegmentBytes = DefaultSegmentBytes
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	j := &Journal{cfg: cfg, log: cfg.Log, chain: newChainer()}
	j.epoch.Store(cfg.Epoch)
	if err := j.open(); err != nil {
		j.release()
		return nil, fmt.Errorf("journal: open %s: %w", cfg.Dir, err)
	}
	return j, nil
}

func (j *Journal) open() (err error) {
	if err := j.makeDir(); err != nil {
		return err
	}
	if j.lock, err = j.cfg.FS.Lock(j.cfg.FS.PathJoin(j.cfg.Dir, lockName)); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if err := j.load(); err != nil {
		return err
	}
	// A killed process may have left names that are not durable.
	if err := j.syncDir(); err != nil {
		return err
	}
	return j.recover()
}

// makeDir makes the directory and its name durable.
func (j *Journal) makeDir() error {
	fs := j.cfg.FS
	if err := fs.MkdirAll(j.cfg.Dir, 0o700); err != nil {
		return err
	}
	parent, err := fs.OpenDir(fs.PathDir(j.cfg.Dir))
	if err != nil {
		return err
	}
	err = parent.Sync()
	return errors.Join(err, parent.Close())
}

// release lets go of files and lock.
func (j *Journal) release() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segs {
		_ = s.file.Close()
	}
	for _, s := range j.spares {
		_ = s.file.Close()
	}
	j.segs, j.spares = nil, nil
	if j.lock != nil {
		_ = j.lock.Close()
	}
}

// Close gives up what was appended and not synced, and releases the files. It
// writes nothing: before a planned end, Sync and Mark.
func (j *Journal) Close() error {
	if j.closed {
		return ErrClosed
	}
	j.closed = true
	j.release()
	return nil
}

// Synced is the end of what is durable: every record at a lower position is.
func (j *Journal) Synced() Position { return Position(j.synced.Load()) }

// Epoch is the epoch of the newest segment, or Config.Epoch when that is higher.
func (j *Journal) Epoch() uint64 { return j.epoch.Load() }
