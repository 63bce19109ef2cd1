package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// ErrCorrupt is returned for a row that does not have the form of its table.
var ErrCorrupt = errors.New("store: malformed row")

// A number of 128 bits is stored without its leading zero bytes, under a length
// of four bits: 0 to 14 bytes, or 15 for all sixteen.
//
//	n lengths, two to a byte, the first in the high half
//	the n numbers, big-endian
const fullLength = 15

// appendNumbers appends numbers in that form.
func appendNumbers(b []byte, numbers ...u128.Int) []byte {
	at := len(b)
	for i := 0; i < len(numbers); i += 2 {
		b = append(b, 0)
	}
	for i, x := range numbers {
		n := x.WireSize()
		if n >= fullLength {
			b = x.AppendKey(b)
			n = fullLength
		} else {
			b = x.AppendWire(b)
		}
		b[at+i/2] |= byte(n << (4 * (1 - i%2)))
	}
	return b
}

// rowReader reads a row front to back. Once it fails everything it returns is 0.
type rowReader struct {
	b      []byte
	failed bool
}

// numbers reads what appendNumbers wrote.
func (r *rowReader) numbers(out ...*u128.Int) {
	heads := r.bytes((len(out) + 1) / 2)
	if r.failed {
		return
	}
	for i, x := range out {
		n := int(heads[i/2]>>(4*(1-i%2))) & 0xf
		if n == fullLength {
			n = u128.Size
		}
		v := r.bytes(n)
		*x, _ = u128.ParseWire(v)
	}
}

// bytes reads the next n bytes.
func (r *rowReader) bytes(n int) []byte {
	if n > len(r.b) {
		r.failed, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// uint reads a varint.
func (r *rowReader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// uint32 reads a varint that must fit in 32 bits.
func (r *rowReader) uint32() uint32 {
	v := r.uint()
	if v > 1<<32-1 {
		r.failed, r.b = true, nil
	}
	return uint32(v)
}

// end returns ErrCorrupt unless the row was read to its end.
func (r *rowReader) end(what string) error {
	if r.failed || len(r.b) > 0 {
		return fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	return nil
}

// appendAccount appends the row of an account; its id is the key.
//
//	numbers   debits pending and posted, credits pending and posted, user_data_128
//	varints   user_data_64, user_data_32, ledger, code, flags, timestamp
func appendAccount(b []byte, a *ledgerpb.Account) []byte {
	b = appendNumbers(b, a.DebitsPending, a.DebitsPosted, a.CreditsPending, a.CreditsPosted, a.UserData128)
	b = binary.AppendUvarint(b, a.UserData64)
	b = binary.AppendUvarint(b, uint64(a.UserData32))
	b = binary.AppendUvarint(b, uint64(a.Ledger))
	b = binary.AppendUvarint(b, uint64(a.Code))
	b = binary.AppendUvarint(b, uint64(a.Flags))
	return binary.AppendUvarint(b, a.Timestamp)
}

// parseAccount sets all of a but its id from a row.
func parseAccount(row []byte, a *ledgerpb.Account) error {
	r := rowReader{b: row}
	r.numbers(&a.DebitsPending, &a.DebitsPosted, &a.CreditsPending, &a.CreditsPosted, &a.UserData128)
	a.UserData64 = r.uint()
	a.UserData32 = r.uint32()
	a.Ledger = r.uint32()
	a.Code = r.uint32()
	a.Flags = r.uint32()
	a.Timestamp = r.uint()
	return r.end("account")
}

// appendBirth appends the row of an account's birth: what never changes of it.
//
//	numbers   id, user_data_128
//	varints   user_data_64, user_data_32, ledger, code
func appendBirth(b []byte, a *ledgerpb.Account) []byte {
	b = appendNumbers(b, a.Id, a.UserData128)
	b = binary.AppendUvarint(b, a.UserData64)
	b = binary.AppendUvarint(b, uint64(a.UserData32))
	b = binary.AppendUvarint(b, uint64(a.Ledger))
	return binary.AppendUvarint(b, uint64(a.Code))
}

// parseBirth sets these fields of a from a row.
func parseBirth(row []byte, a *ledgerpb.Account) error {
	r := rowReader{b: row}
	r.numbers(&a.Id, &a.UserData128)
	a.UserData64 = r.uint()
	a.UserData32 = r.uint32()
	a.Ledger = r.uint32()
	a.Code = r.uint32()
	return r.end("birth")
}
