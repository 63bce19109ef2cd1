package store

import (
	"encoding/binary"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Events stand in blocks: one row costs about as much to write as fifty events.
// A block's key holds the timestamp of its first event.
//
//	events   one after another, by ascending timestamp:
//	  varint   timestamp, less that of the event before (of the first: less the key's)
//	  byte     ledgerpb.ChangeEventType
//	  numbers  id, debit account, credit account, amount, pending id, user_data_128,
//	           debit account after: debits pending and posted, credits pending and posted,
//	           credit account after: the same
//	  varints  user_data_64, user_data_32, timeout, ledger, code, flags,
//	           flags of the debit and of the credit account after
//	  unless the type is single_phase or two_phase_pending:
//	  varints  timestamp less that of the pending transfer, and the pending
//	           transfer's expiry less its timestamp, or 0
//
// The transfer of an expiry is the pending transfer with its own timestamp; any
// other has the event's.
//
// maxBlockEvents bounds a block: reading one event decodes half of its block, a
// few microseconds.
const maxBlockEvents = 64

// appendEvent appends an event whose predecessor in the block has timestamp last.
func appendEvent(b []byte, e *ledger.Event, last uint64) []byte {
	t := &e.Transfer
	b = binary.AppendUvarint(b, e.Timestamp-last)
	b = append(b, byte(e.Type))
	b = appendNumbers(b, t.Id, t.DebitAccountId, t.CreditAccountId, t.Amount, t.PendingId, t.UserData128,
		e.Debit.DebitsPending, e.Debit.DebitsPosted, e.Debit.CreditsPending, e.Debit.CreditsPosted,
		e.Credit.DebitsPending, e.Credit.DebitsPosted, e.Credit.CreditsPending, e.Credit.CreditsPosted)
	b = binary.AppendUvarint(b, t.UserData64)
	b = binary.AppendUvarint(b, uint64(t.UserData32))
	b = binary.AppendUvarint(b, uint64(t.Timeout))
	b = binary.AppendUvarint(b, uint64(t.Ledger))
	b = binary.AppendUvarint(b, uint64(t.Code))
	b = binary.AppendUvarint(b, uint64(t.Flags))
	b = binary.AppendUvarint(b, uint64(e.Debit.Flags))
	b = binary.AppendUvarint(b, uint64(e.Credit.Flags))
	if e.Resolves() != ledger.StatusNone {
		b = binary.AppendUvarint(b, e.Timestamp-e.PendingTimestamp)
		if e.PendingExpiry == 0 {
			b = append(b, 0)
		} else {
			b = binary.AppendUvarint(b, e.PendingExpiry-e.PendingTimestamp)
		}
	}
	return b
}

// event reads an event whose predecessor in the block has timestamp last.
func (r *rowReader) event(e *ledger.Event, last uint64) {
	t := &e.Transfer
	e.Timestamp = last + r.uint()
	if head := r.bytes(1); head != nil {
		e.Type = ledgerpb.ChangeEventType(head[0])
	}
	if e.Type > ledgerpb.ChangeEventTypeTwoPhaseExpired {
		r.failed, r.b = true, nil
	}
	r.numbers(&t.Id, &t.DebitAccountId, &t.CreditAccountId, &t.Amount, &t.PendingId, &t.UserData128,
		&e.Debit.DebitsPending, &e.Debit.DebitsPosted, &e.Debit.CreditsPending, &e.Debit.CreditsPosted,
		&e.Credit.DebitsPending, &e.Credit.DebitsPosted, &e.Credit.CreditsPending, &e.Credit.CreditsPosted)
	t.UserData64 = r.uint()
	t.UserData32 = r.uint32()
	t.Timeout = r.uint32()
	t.Ledger = r.uint32()
	t.Code = r.uint32()
	t.Flags = r.uint32()
	e.Debit.Flags = r.uint32()
	e.Credit.Flags = r.uint32()
	t.Timestamp, e.PendingTimestamp, e.PendingExpiry = e.Timestamp, 0, 0
	if e.Resolves() != ledger.StatusNone {
		e.PendingTimestamp = e.Timestamp - r.uint()
		if after := r.uint(); after != 0 {
			e.PendingExpiry = e.PendingTimestamp + after
		}
		if !e.IsTransfer() {
			t.Timestamp = e.PendingTimestamp
		}
	}
}

// eachEvent calls f for the events of a block, in order, until f returns false.
// The error is ErrCorrupt.
func eachEvent(first uint64, block []byte, e *ledger.Event, f func() bool) error {
	r := rowReader{b: block}
	last := first
	for len(r.b) > 0 {
		r.event(e, last)
		if r.failed || e.Timestamp < last {
			break
		}
		if !f() {
			return nil
		}
		last = e.Timestamp
	}
	return r.end("history")
}
