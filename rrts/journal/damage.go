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

	// Unknown says that the number of lost records is not known and no copy can
	// be proved, as at a segment whose headers are gone and that nothing follows. Abandon
	// clears it, and TrimBefore when it lies below.
	Unknown bool

	// Cause says what was found, for people.
	Cause string
}

func (d Damage) String() string {
	lost := fmt.Sprintf("%d shared and %d local records lost", d.Shared, d.Local)
	if d.Unknown {
		lost = "an unknown number of records lost"
	}
	return fmt.Sprintf("segment %d offset %d to segment %d offset %d: %s, %s",
		d.From.Segment(), d.From.Offset(), d.To.Segment(), d.To.Offset(), d.Cause, lost)
}

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
