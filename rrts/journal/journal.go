package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

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
	MinSegmentBytes = 4 * BlockBytes
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

	// Rand gives the salts. Nil means crypto/rand.
	Rand io.Reader

	// Log hears of cut tails, damage and repairs. Nil discards.
	Log *slog.Logger
}

// Journal is an open journal.
//
// One goroutine at a time may call Append, Sync, Mark, NeedsMark, Rotate,
// Repair, Abandon and Close: the writer. TrimBefore, Reserve, Reserved, Replay, ReadAt,
// First, Synced, Damage, Epoch and KeysInUse may run on any goroutine beside
// it and beside each other.
type Journal struct {
	cfg Config
}

// Open opens the journal in cfg.Dir, makes it if there is none, and recovers.
//
// A torn tail is cut. Damage is no error of Open: see Damage. Errors: ErrForeign,
// ErrUnknownKey, ErrVersion, a fault in cfg, or what the file system answers.
func Open(cfg Config) (*Journal, error) { return nil, errors.ErrUnsupported }

// Close gives up what was appended and not synced, and releases the files. It
// writes nothing.
func (j *Journal) Close() error { return errors.ErrUnsupported }

// MaxPayload is the largest payload that Append takes, in bytes.
func (j *Journal) MaxPayload() int { return 0 }

// Append seals one record, the concatenation of the payload slices, behind
// what was appended before, and returns its position. It copies; the caller keeps
// the slices. The record is durable, and readable, after the next Sync.
//
// Append does no I/O, but for: the first one after Open and one that finds the
// segment full (the old segment is synced, the next one begun, 2 to 4 ms), and
// one that finds more than 4 MiB not yet written (they are written, not synced).
//
// Errors: ErrTooLarge and ErrNoSpace leave the journal as it was; ErrNoSpace
// comes only when the record does not fit the current segment and no segment is
// reserved. IsDamage: repair first. IsFailed: the end.
func (j *Journal) Append(kind Kind, payload ...[]byte) (Position, error) {
	return 0, errors.ErrUnsupported
}

// Sync makes everything appended so far durable, with one write and one
// fdatasync. With nothing appended it does nothing.
func (j *Journal) Sync() error { return errors.ErrUnsupported }

// NeedsMark reports whether the last synced records stand without a durable
// word that they were synced. The owner calls Mark within 10 ms of idleness then.
func (j *Journal) NeedsMark() bool { return false }

// Mark writes and syncs a frame that says how far the journal is synced, and
// with it everything appended so far.
func (j *Journal) Mark() error { return errors.ErrUnsupported }

// Rotate syncs, and begins a new segment under the ring's current key and the
// given epoch, which must not be lower than the journal's. It serves key
// rotation and a forced recovery.
func (j *Journal) Rotate(epoch uint64) error { return errors.ErrUnsupported }

// First is the position of the oldest segment's first frame: no record stands
// before it. It is 0 in an empty journal.
func (j *Journal) First() Position { return 0 }

// Synced is the end of what is durable: every record at a lower position is.
func (j *Journal) Synced() Position { return 0 }

// Epoch is the epoch of the newest segment, or Config.Epoch when that is higher.
func (j *Journal) Epoch() uint64 { return 0 }

// KeysInUse lists the ids of the node keys that segments are sealed under, in
// rising order. A key that is neither here nor current may leave the ring.
func (j *Journal) KeysInUse() []uint32 { return nil }

// Replay calls fn for each record at or after from, in order, up to Synced at
// the time of the call. The payload is valid only during fn. It stops with fn's error,
// or at a damaged range with an error for which IsDamage holds; the owner
// may go on from the range's To.
func (j *Journal) Replay(from Position, fn func(pos Position, kind Kind, payload []byte) error) error {
	return errors.ErrUnsupported
}

// ReadAt reads the record at pos, which an Append returned and a Sync covered,
// or a Replay reported. The payload lies at the start of buf, or of a larger slice when buf's
// capacity is too small: pass payload[:0] as the next buf. Errors: ErrTrimmed,
// ErrNotFound, and IsDamage when the record no longer opens.
func (j *Journal) ReadAt(pos Position, buf []byte) (Kind, []byte, error) {
	return 0, nil, errors.ErrUnsupported
}

// TrimBefore gives up the segments that end at or before pos; the current
// segment stays. Their files are kept as spares or removed, oldest first.
// It takes a directory sync for each.
func (j *Journal) TrimBefore(pos Position) error { return errors.ErrUnsupported }

// Reserved reports whether the next segment stands ready on the disk.
func (j *Journal) Reserved() bool { return false }

// Reserve makes the next segment ready: it does nothing when a recycled one is
// there, else it fills a new file with zeros. Error: ErrNoSpace, as a *NoSpaceError.
func (j *Journal) Reserve() error { return errors.ErrUnsupported }
