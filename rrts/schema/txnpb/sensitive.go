package txnpb

import "virtualservicesinc.com/rrts/message"

// Plain reports whether no sensitive field stands in an encoded Transaction: neither a
// user's secrets nor the arguments of effects. What this software does not know may be
// sensitive, and so may what is malformed. It looks at tags only.
func Plain(transaction []byte) bool {
	for i := 0; i < len(transaction); {
		tag, next := message.Varint(transaction, i)
		if next < 0 || tag >= uint64(len(plainFields)) || !plainFields[tag] {
			return false
		}
		if i = message.Skip(transaction, next, tag); i < 0 {
			return false
		}
	}
	return true
}

// plainFields are the tags of Transaction's fields below which nothing is sensitive.
var plainFields = [13<<3 + 8]bool{
	1<<3 | message.WireBytes:   true, // id
	2<<3 | message.WireVarint:  true, // mode
	3<<3 | message.WireBytes:   true, // accounts
	4<<3 | message.WireBytes:   true, // transfers
	7<<3 | message.WireBytes:   true, // preconditions
	8<<3 | message.WireBytes:   true, // access
	9<<3 | message.WireBytes:   true, // memo
	10<<3 | message.WireBytes:  true, // metadata
	11<<3 | message.WireVarint: true, // derive_transfer_ids
	13<<3 | message.WireBytes:  true, // effect_changes
}
