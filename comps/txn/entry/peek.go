package entry

import (
	"fmt"

	"virtualservicesinc.com/rrts/message"
)

// The numbers of Entry.apply_version and Entry.change.
const (
	versionField = 1
	changeField  = 7
)

// Peek returns the apply version of an encoded entry and its encoded change of the
// roster, nil where it has none, without decoding what else it holds. The change
// aliases b. The error is message.ErrMalformed.
func Peek(b []byte) (version uint32, change []byte, err error) {
	for i := 0; i < len(b); {
		tag, next := message.Varint(b, i)
		if next < 0 {
			return 0, nil, message.BadField("tag")
		}
		switch tag {
		case versionField<<3 | message.WireVarint:
			var v uint64
			v, i = message.Varint(b, next)
			version = uint32(v)
		case changeField<<3 | message.WireBytes:
			change, i = message.Bytes(b, next)
		default:
			i = message.Skip(b, next, tag)
		}
		if i < 0 {
			return 0, nil, message.BadField(fmt.Sprintf("entry, field %d", tag>>3))
		}
	}
	return version, change, nil
}
