package message

// FindBytes returns the last value of a length-delimited field in an encoded
// message without decoding the rest; nil when it is absent. The value aliases b.
// The error is ErrMalformed.
func FindBytes(b []byte, field uint64) ([]byte, error) {
	var found []byte
	for i := 0; i < len(b); {
		tag, next := Varint(b, i)
		if next < 0 {
			return nil, BadField("tag")
		}
		if tag == field<<3|WireBytes {
			found, i = Bytes(b, next)
		} else {
			i = Skip(b, next, tag)
		}
		if i < 0 {
			return nil, BadField("value")
		}
	}
	return found, nil
}
