package ledger

import (
	"errors"
	"fmt"

	"virtualservicesinc.com/comps/ledger/recent"
	"virtualservicesinc.com/rrts/message/u128"
)

// MaxEvents is the greatest number of events in one request.
const MaxEvents = 8192

// Config bounds the ledger's memory.
type Config struct {
	// MaxCachedAccounts is the number of accounts kept in memory between Resets,
	// at some 140 bytes each. 0 means 1,000,000; memory is taken as accounts are
	// used. At least 1,000 and at most 60,000,000.
	MaxCachedAccounts int
	// MaxCachedPendings is the number of pending transfers kept in memory between
	// Resets, at some 170 bytes each. 0 means 65,536. At least 1,000.
	MaxCachedPendings int
	// MaxCachedIDs is half the number of recent transfer ids kept in memory, at
	// 31 to 62 bytes each, by how full its table is. 0 means 32,768. At least 1,000.
	MaxCachedIDs int
}

const (
	defaultCachedAccounts = 1_000_000
	defaultCachedPendings = 65_536
	// Ids above the window cost nothing, ids below it a read of the store: this much
	// lets clients' clocks lag by a third of a second at 100,000 transfers a second.
	defaultCachedIDs  = 32_768
	maxCachedAccounts = 60_000_000 // the slots that an index can name, less what one batch touches
	minCached         = 1_000      // fewer would evict within a request what it needs again
)

func (c *Config) validate() error {
	var faults []error
	check := func(name string, v *int, def int) {
		if *v == 0 {
			*v = def
		}
		if *v < minCached {
			faults = append(faults, fmt.Errorf("ledger: %s is %d, must be at least %d", name, *v, minCached))
		}
	}
	check("MaxCachedAccounts", &c.MaxCachedAccounts, defaultCachedAccounts)
	check("MaxCachedPendings", &c.MaxCachedPendings, defaultCachedPendings)
	check("MaxCachedIDs", &c.MaxCachedIDs, defaultCachedIDs)
	if c.MaxCachedAccounts > maxCachedAccounts {
		faults = append(faults, fmt.Errorf("ledger: MaxCachedAccounts is %d, must be at most %d", c.MaxCachedAccounts, maxCachedAccounts))
	}
	return errors.Join(faults...)
}

// Result is what became of one event.
type Result struct {
	// Status is a ledgerpb.CreateAccountStatus or CreateTransferStatus, by the
	// request; 0 is created in both.
	Status uint32
	// Timestamp is that of the account or transfer when it was created or exists,
	// else the event's stamp.
	Timestamp uint64
}

// Ledger is the state machine. One goroutine owns it.
type Ledger struct {
	cfg   Config
	state State

	accounts accounts
	pendings pendings
	ids      recent.Window[uint64] // transfer id → timestamp of the transfer, or failedID

	events      []Event     // since the last Reset
	failed      []u128.Int  // since the last Reset
	newAccounts []uint64    // timestamps of the accounts created since the last Reset, ascending
	expiring    []dueAt     // pending transfers with a time-out created since the last Reset
	undo        []change    // what the open scopes changed
	scopes      []scopeMark // the open scopes, innermost last
	queue       []dueAt     // of one Expire

	lastAccount, lastEvent uint64 // greatest timestamps
	nextExpiry             uint64 // what NextExpiry returns, if nextKnown
	nextKnown              bool
	changes                Changes
}

// failedID stands for the timestamp of an id whose transfer was refused.
const failedID = 0

// findID returns the timestamp that belongs to a transfer's id.
func (l *Ledger) findID(id u128.Int) (ts uint64, known bool) {
	ts, known, certain := l.ids.Find(id)
	if !certain {
		return l.state.TransferID(id)
	}
	return ts, known
}

var (
	errNoTransfer = errors.New("a timestamp in the index has no transfer")
	errNoAccount  = errors.New("a transfer has no account")
)

// New returns a ledger over state.
func New(state State, cfg Config) (*Ledger, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	l := &Ledger{
		cfg:         cfg,
		state:       state,
		lastAccount: state.LastAccount(),
		lastEvent:   state.LastEvent(),
	}
	l.accounts.index, l.accounts.top = newIndex(), state.TopAccount()
	l.pendings.index = make(map[uint64]uint32)
	l.ids.Load(state.TransferIDs, cfg.MaxCachedIDs)
	l.changes.ledger = l
	return l, nil
}

// Changes returns what has changed since the last Reset.
func (l *Ledger) Changes() *Changes {
	l.changes.Events, l.changes.Failed = l.events, l.failed
	return &l.changes
}

// Reset forgets the changes, which State has from now on, and evicts what the
// caches hold beyond their bounds. No scope may be open.
func (l *Ledger) Reset() {
	if len(l.scopes) != 0 {
		panic("ledger: Reset within a scope")
	}
	l.accounts.clean()
	l.accounts.trim(l.cfg.MaxCachedAccounts)
	l.pendings.trim(l.cfg.MaxCachedPendings)
	l.ids.Trim()
	l.events, l.failed, l.newAccounts, l.expiring = l.events[:0], l.failed[:0], l.newAccounts[:0], l.expiring[:0]
}
