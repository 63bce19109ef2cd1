package entry

import (
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// The tags of Entry.submissions and Submission.transaction.
const (
	tagSubmission  = 4<<3 | message.WireBytes
	tagTransaction = 1<<3 | message.WireBytes
)

// Plain reports whether no sensitive field stands in an encoded entry. What its parts that
// are no submissions hold is known to everybody in the cluster. What is malformed may be
// sensitive.
func Plain(b []byte) bool {
	return each(b, tagSubmission, func(submission []byte) bool {
		return each(submission, tagTransaction, txnpb.Plain)
	})
}

// each reports whether ok is true of all fields with a tag; it is false of what is malformed.
func each(b []byte, tag uint64, ok func([]byte) bool) bool {
	for i := 0; i < len(b); {
		t, next := message.Varint(b, i)
		if next < 0 {
			return false
		}
		if t != tag {
			if i = message.Skip(b, next, t); i < 0 {
				return false
			}
			continue
		}
		var v []byte
		if v, i = message.Bytes(b, next); i < 0 || !ok(v) {
			return false
		}
	}
	return true
}
