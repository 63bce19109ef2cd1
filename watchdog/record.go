package watchdog

import (
	"fmt"
	"time"
)

const (
	// MaxResets within ResetWindow is where hardware resets have been shown not to
	// help.
	MaxResets   = 3
	ResetWindow = time.Hour
)

// Order is what an operator ordered with `rrts watchdog arm`.
type Order struct {
	ID       string    `json:"id"`        // resets under an earlier order do not count
	Device   string    `json:"device"`    // such as /dev/watchdog0
	TimeoutS int       `json:"timeout_s"` // at least MinTimeout
	At       time.Time `json:"at"`
}

// Timeout is what the hardware is asked for.
func (o *Order) Timeout() time.Duration { return time.Duration(o.TimeoutS) * time.Second }

// Evidence is what the hardware says of why the machine was started.
type Evidence int

const (
	NoEvidence Evidence = iota // it does not say: most drivers cannot, or do not after a power cut
	WasReset                   // the watchdog did it
)

// Record is what must outlive a reset. One owner changes it, and has it on disk before
// the next thing happens that it speaks of.
type Record struct {
	Order  string  `json:"order"`           // the ID of the order under which the rest was
	Armed  *Armed  `json:"armed,omitempty"` // nil after a clean stop
	Resets []Reset `json:"resets"`          // within ResetWindow, the oldest first
	Off    *Off    `json:"off,omitempty"`   // why it stays off; nil when it may be armed
}

// Armed is the boot in which the watchdog was armed and not stopped since.
type Armed struct {
	Boot  string    `json:"boot"` // the kernel's boot id
	Since time.Time `json:"since"`
	LetGo *LetGo    `json:"let_go,omitempty"` // nil while the hardware is fed
}

// LetGo is the decision not to feed the hardware any more.
type LetGo struct {
	At  time.Time `json:"at"`
	Why string    `json:"why"`
}

// Reset is an end of the machine that its watchdog made, or may have made.
type Reset struct {
	Noticed time.Time `json:"noticed"` // by the boot after it
	Why     string    `json:"why"`
}

// Off is why the watchdog stays off until the next order.
type Off struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
}

// Begin takes in that the guard starts in a boot, under an order. It returns the reset
// that ended the boot before it, if one did; afterwards r.Off says whether the watchdog
// may be armed.
//
// A boot in which it was armed and that ended without a word counts as reset: a machine
// that stood still could not say more, and few drivers tell a reset from a power cut.
// Three power cuts within an hour switch it off as well, which does no harm.
func (r *Record) Begin(now time.Time, boot string, order string, evidence Evidence) *Reset {
	if r.Order != order {
		*r = Record{Order: order, Armed: r.Armed}
	}
	var reset *Reset
	if a := r.Armed; a != nil && a.Boot != boot {
		reset = &Reset{Noticed: now, Why: a.ended(evidence)}
		r.Resets = append(r.Resets, *reset)
		r.Armed = nil
	}
	r.Resets = recent(now, r.Resets)
	if len(r.Resets) >= MaxResets && r.Off == nil {
		r.Off = &Off{Since: now, Why: fmt.Sprintf("%d resets within %s", len(r.Resets), ResetWindow)}
	}
	return reset
}

// ended says why the boot ended.
func (a *Armed) ended(evidence Evidence) string {
	switch {
	case a.LetGo != nil:
		return a.LetGo.Why
	case evidence == WasReset:
		return "the machine stood still, or its disk did: nothing could be written before the hardware fired"
	}
	return "the machine ended without a word: it stood still, or lost its power"
}

// recent keeps the resets within the window before now. A clock that was set back is no
// excuse, and one that a dead battery set to another year must not count for ever.
func recent(now time.Time, resets []Reset) []Reset {
	var kept []Reset
	for _, r := range resets {
		if age := now.Sub(r.Noticed); age < ResetWindow && age > -ResetWindow {
			kept = append(kept, r)
		}
	}
	return kept
}

// Arm takes in that the hardware runs from now on. A guard that was started again
// within the boot goes on where it was.
func (r *Record) Arm(now time.Time, boot string) {
	if r.Armed == nil {
		r.Armed = &Armed{Boot: boot, Since: now}
	}
	r.Armed.LetGo = nil
}

// Release takes in that the hardware is not fed any more; Feed that it is again.
func (r *Record) Release(now time.Time, why string) { r.Armed.LetGo = &LetGo{At: now, Why: why} }

// Feed takes Release back.
func (r *Record) Feed() { r.Armed.LetGo = nil }

// Stop takes in a clean stop: the hardware does not run any more.
func (r *Record) Stop() { r.Armed = nil }
