package journal

import (
	"errors"
	"fmt"
)

// Damage is one range of the journal below the synced position that cannot be
// read.
type Damage struct {
	// From is where the first lost byte lies, To where the next good record or
	// segment begins: [From, To). Replay may go on at To.
	From, To Position

	// Shared and Local count the lost records of shared and of local kinds.
	Shared, Local int

	// Tail says that nothing good follows, so that the number of lost records
	// is not known and no copy can be proved: only Abandon clears it.
	Tail bool

	// Cause says what was found, for people.
	Cause string
}

func (d Damage) String() string {
	lost := fmt.Sprintf("%d shared and %d local records lost", d.Shared, d.Local)
	if d.Tail {
		lost = "an unknown number of records lost"
	}
	return fmt.Sprintf("segment %d offset %d to segment %d offset %d: %s, %s",
		d.From.Segment(), d.From.Offset(), d.To.Segment(), d.To.Offset(), d.Cause, lost)
}

// Damage lists the damaged ranges in order; nil when the journal is sound.
func (j *Journal) Damage() []Damage { return nil }

// Repair puts records in the place of what was lost at d, which must be one of
// Damage's. They must be the d.Shared lost records of shared kinds, in order, as any
// replica holds them; the chain proves it, ErrMismatch when it does not. Lost
// local records stay lost: the owner has judged that later ones supersede them.
//
// The segment is written anew when its last range is settled; until then the
// journal keeps the records, not their slices.
func (j *Journal) Repair(d Damage, records []Record) error { return errors.ErrUnsupported }

// Abandon gives the records lost at d up. The owner swears that it needs none
// of them, because later records or a snapshot supersede them.
func (j *Journal) Abandon(d Damage) error { return errors.ErrUnsupported }

// The journal's errors. What is returned names values and limits and wraps one of them.
var (
	ErrNoSpace    = errors.New("journal: no space for the next segment")
	ErrTooLarge   = errors.New("journal: record too large")
	ErrTrimmed    = errors.New("journal: position was trimmed")
	ErrNotFound   = errors.New("journal: no record at this position")
	ErrMismatch   = errors.New("journal: not the records that were lost")
	ErrForeign    = errors.New("journal: belongs to another cluster")
	ErrUnknownKey = errors.New("journal: key is not in the ring")
	ErrVersion    = errors.New("journal: format version not supported")
	ErrClosed     = errors.New("journal: closed")
)

// NoSpaceError is ErrNoSpace with what is needed.
type NoSpaceError struct {
	NeedBytes int64 // free space that Reserve needs to succeed
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("journal: no space for the next segment: needs %d bytes free", e.NeedBytes)
}

func (e *NoSpaceError) Is(target error) bool { return target == ErrNoSpace }

// DamageError says that the journal is damaged below its synced position.
type DamageError struct {
	Ranges []Damage
}

func (e *DamageError) Error() string {
	if len(e.Ranges) == 1 {
		return "journal: damaged at " + e.Ranges[0].String()
	}
	return fmt.Sprintf("journal: damaged in %d places, first at %v", len(e.Ranges), e.Ranges[0])
}

// IsDamage reports whether err says that synced records cannot be read.
func IsDamage(err error) bool {
	var d *DamageError
	return errors.As(err, &d)
}

// FailedError says that a write or a sync failed: what the disk holds is no
// longer known, and the journal is dead.
type FailedError struct {
	Op  string // what was tried, with the file's name
	Err error
}

func (e *FailedError) Error() string { return fmt.Sprintf("journal: dead: %s: %v", e.Op, e.Err) }

func (e *FailedError) Unwrap() error { return e.Err }

// IsFailed reports whether err says that the journal is dead. The owner ends the process.
func IsFailed(err error) bool {
	var f *FailedError
	return errors.As(err, &f)
}
