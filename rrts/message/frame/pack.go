package frame

import (
	"encoding/binary"

	"virtualservicesinc.com/rrts/message/pack"
)

// packed returns frames with those that follow each other packed together, and takes b,
// which is a buffer of the pool as the result is. The frames at the places in plain stay
// as they are.
func packed(b []byte, plain []int, methods uint32) []byte {
	out, sequence, body := takeBuffer(), takeBuffer(), takeBuffer()
	for at := 0; at < len(b); {
		if len(plain) > 0 && plain[0] == at {
			end := at + frameLen(b[at:])
			out = append(out, b[at:end]...)
			at, plain = end, plain[1:]
			continue
		}
		end := len(b)
		if len(plain) > 0 {
			end = plain[0]
		}
		run := b[at : at+runLen(b[at:end])]
		sequence = pack.Sequence(sequence[:0], run)
		ok := false
		if body, ok = pack.Append(body[:0], sequence, methods); ok {
			out = pack.Frame(out, body)
		} else {
			out = append(out, run...)
		}
		at += len(run)
	}
	giveBuffer(b)
	giveBuffer(sequence)
	giveBuffer(body)
	return out
}

// runLen is the length of the frames that b begins with and that are packed together: at
// least one.
func runLen(b []byte) (n int) {
	for n < len(b) {
		next := frameLen(b[n:])
		if n > 0 && n+next > pack.MaxRun {
			break
		}
		n += next
	}
	return n
}

func frameLen(b []byte) int { return HeaderSize + int(binary.BigEndian.Uint32(b)) }
