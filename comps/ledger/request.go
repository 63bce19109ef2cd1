package ledger

import (
	"fmt"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Statuses that accounts and transfers share, under the same numbers.
const (
	created           = uint32(ledgerpb.CreateTransferStatusCreated)
	linkedEventFailed = uint32(ledgerpb.CreateTransferStatusLinkedEventFailed)
	chainOpen         = uint32(ledgerpb.CreateTransferStatusLinkedEventChainOpen)
	timestampNotZero  = uint32(ledgerpb.CreateTransferStatusTimestampMustBeZero)
)

// importStatuses are those of the common statuses whose numbers differ.
type importStatuses struct{ expected, notExpected, outOfRange, mustNotAdvance uint32 }

var (
	accountImports = importStatuses{
		expected:       uint32(ledgerpb.CreateAccountStatusImportedEventExpected),
		notExpected:    uint32(ledgerpb.CreateAccountStatusImportedEventNotExpected),
		outOfRange:     uint32(ledgerpb.CreateAccountStatusImportedEventTimestampOutOfRange),
		mustNotAdvance: uint32(ledgerpb.CreateAccountStatusImportedEventTimestampMustNotAdvance),
	}
	transferImports = importStatuses{
		expected:       uint32(ledgerpb.CreateTransferStatusImportedEventExpected),
		notExpected:    uint32(ledgerpb.CreateTransferStatusImportedEventNotExpected),
		outOfRange:     uint32(ledgerpb.CreateTransferStatusImportedEventTimestampOutOfRange),
		mustNotAdvance: uint32(ledgerpb.CreateTransferStatusImportedEventTimestampMustNotAdvance),
	}
)

// CreateAccounts creates accounts and appends one Result for each to out. The
// i'th takes the stamp ts+i. in is not kept. At most MaxEvents at once.
func (l *Ledger) CreateAccounts(ts uint64, in []ledgerpb.Account, out []Result) []Result {
	if len(in) == 0 {
		return out
	}
	l.checkStamps(ts, len(in))
	imported := in[0].Flags&accountImported != 0
	r := request{ledger: l, count: len(in), first: ts, imported: imported, statuses: &accountImports, base: len(out), out: out}
	for i := range in {
		a := &in[i]
		status, at := r.admit(a.Flags&accountLinked != 0, a.Flags&accountImported != 0, a.Timestamp)
		if status == created {
			status, at = l.createAccount(at, a)
		}
		r.settle(status, at)
	}
	return r.out
}

// CreateTransfers creates transfers and appends one Result for each to out. The
// i'th takes the stamp ts+i. in is not kept. At most MaxEvents at once.
func (l *Ledger) CreateTransfers(ts uint64, in []ledgerpb.Transfer, out []Result) []Result {
	if len(in) == 0 {
		return out
	}
	l.checkStamps(ts, len(in))
	imported := in[0].Flags&transferImported != 0
	r := request{ledger: l, count: len(in), first: ts, imported: imported, statuses: &transferImports, base: len(out), out: out}
	for i := range in {
		t := &in[i]
		status, at := r.admit(t.Flags&transferLinked != 0, t.Flags&transferImported != 0, t.Timestamp)
		if status == created {
			status, at = l.createTransfer(at, t)
		}
		r.settle(status, at)
		if transient(ledgerpb.CreateTransferStatus(status)) {
			// After settle: a chain that broke is undone, its failure is remembered.
			l.ids.Add(t.Id, failedID)
			l.failed = append(l.failed, t.Id)
		}
	}
	return r.out
}

// checkStamps panics when the caller breaks the contract on stamps.
func (l *Ledger) checkStamps(ts uint64, n int) {
	if n > MaxEvents {
		panic(fmt.Sprintf("ledger: %d events at once, the bound is %d", n, MaxEvents))
	}
	if ts <= max(l.lastAccount, l.lastEvent) || ts+uint64(n)-1 > MaxTimestamp {
		panic(fmt.Sprintf("ledger: %d stamps from %d on, they must be after %d and at most %d",
			n, ts, max(l.lastAccount, l.lastEvent), uint64(MaxTimestamp)))
	}
}

// request runs the events of one request: the rules that are the same for
// accounts and transfers, and the chains of linked events.
type request struct {
	ledger   *Ledger
	count    int    // of events
	first    uint64 // stamp of the first event
	imported bool   // the first event is, so all must be
	statuses *importStatuses

	i      int  // the event's index
	linked bool // the event is linked to the next
	open   bool // a chain is open, from event start on
	broken bool // an event of the open chain failed
	start  int
	base   int // index of the first event's result
	out    []Result
}

// admit begins an event. It returns the status that already follows from the
// event's place in the request, else created, and the event's stamp.
func (r *request) admit(linked, imported bool, timestamp uint64) (status uint32, stamp uint64) {
	stamp = r.first + uint64(r.i)
	r.linked = linked
	if linked {
		if !r.open {
			r.open, r.start = true, r.i
			r.ledger.Begin()
		}
		if r.i == r.count-1 {
			return chainOpen, stamp
		}
	}
	switch {
	case r.broken:
		return linkedEventFailed, stamp
	case imported != r.imported && imported:
		return r.statuses.notExpected, stamp
	case imported != r.imported:
		return r.statuses.expected, stamp
	case !imported && timestamp != 0:
		return timestampNotZero, stamp
	case !imported:
		return created, stamp
	case !validTimestamp(timestamp):
		return r.statuses.outOfRange, stamp
	case timestamp >= r.first+uint64(r.count)-1:
		return r.statuses.mustNotAdvance, stamp
	}
	return created, stamp
}

// settle ends the event with its result.
func (r *request) settle(status uint32, at uint64) {
	r.out = append(r.out, Result{Status: status, Timestamp: at})
	if r.open {
		if status != created && !r.broken {
			r.broken = true
			r.ledger.Rollback()
			for i := r.start; i < r.i; i++ {
				r.out[r.base+i].Status = linkedEventFailed
			}
		}
		if !r.linked || status == chainOpen {
			if !r.broken {
				r.ledger.Commit()
			}
			r.open, r.broken = false, false
		}
	}
	r.i++
}
