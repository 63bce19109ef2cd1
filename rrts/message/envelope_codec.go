package message

import (
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

// Tags of the Envelope's fields: number<<3 | wire type, as in envelope.proto.
// Append-only.
const (
	tagKind      = 1<<3 | WireVarint
	tagService   = 2<<3 | WireVarint
	tagMethod    = 3<<3 | WireVarint
	tagCall      = 4<<3 | WireVarint
	tagRemaining = 5<<3 | WireVarint
	tagCode      = 6<<3 | WireVarint
	tagDetail    = 7<<3 | WireBytes
	tagTrace     = 8<<3 | WireBytes
	tagFrom      = 9<<3 | WireVarint
	tagTo        = 10<<3 | WireVarint
	tagEpoch     = 11<<3 | WireVarint
	tagGroup     = 12<<3 | WireVarint
	tagPrincipal = 13<<3 | WireVarint
	tagRole      = 14<<3 | WireVarint
	tagBody      = 15<<3 | WireBytes
)

// Size returns the length of e on the wire, in bytes.
func (e *Envelope) Size() int { return e.HeaderSize(len(e.Body)) + len(e.Body) }

// HeaderSize returns the length of what AppendHeader appends, in bytes.
func (e *Envelope) HeaderSize(body int) int {
	n := sizeUint(uint64(e.Kind)) + sizeUint(uint64(e.Service)) + sizeUint(uint64(e.Method)) + sizeUint(e.Call) +
		sizeUint(uint64(e.RemainingMillis)) + sizeUint(uint64(e.Code)) + sizeUint(uint64(e.From)) + sizeUint(uint64(e.To)) +
		sizeUint(uint64(e.Epoch)) + sizeUint(uint64(e.Group)) + sizeUint(e.Principal) + sizeUint(uint64(e.Role))
	if len(e.Detail) > 0 {
		n += 1 + SizeBytes(len(e.Detail))
	}
	if e.Trace != ([16]byte{}) {
		n += 2 + len(e.Trace)
	}
	if body > 0 {
		n += 1 + SizeVarint(uint64(body))
	}
	return n
}

// AppendTo appends e to b.
func (e *Envelope) AppendTo(b []byte) []byte {
	return append(e.AppendHeader(b, len(e.Body)), e.Body...)
}

// AppendHeader appends everything but the body, which is body bytes long and must
// follow at once: the body is the last field, so that a header can be written in
// front of bytes that lie elsewhere. e.Body is not looked at.
func (e *Envelope) AppendHeader(b []byte, body int) []byte {
	b = appendUint(b, tagKind, uint64(e.Kind))
	b = appendUint(b, tagService, uint64(e.Service))
	b = appendUint(b, tagMethod, uint64(e.Method))
	b = appendUint(b, tagCall, e.Call)
	b = appendUint(b, tagRemaining, uint64(e.RemainingMillis))
	b = appendUint(b, tagCode, uint64(e.Code))
	if len(e.Detail) > 0 {
		b = AppendString(append(b, tagDetail), e.Detail)
	}
	if e.Trace != ([16]byte{}) {
		b = AppendBytes(append(b, tagTrace), e.Trace[:])
	}
	b = appendUint(b, tagFrom, uint64(e.From))
	b = appendUint(b, tagTo, uint64(e.To))
	b = appendUint(b, tagEpoch, uint64(e.Epoch))
	b = appendUint(b, tagGroup, uint64(e.Group))
	b = appendUint(b, tagPrincipal, e.Principal)
	b = appendUint(b, tagRole, uint64(e.Role))
	if body > 0 {
		b = AppendVarint(append(b, tagBody), uint64(body))
	}
	return b
}

// Parse replaces e by what b holds. Body aliases b; Detail is copied. Unknown
// fields are skipped. A number that does not fit its field is malformed, never
// truncated: a message is not delivered to 1 because it was sent to 65,537.
// The error is ErrMalformed.
func (e *Envelope) Parse(b []byte) error {
	*e = Envelope{}
	for i := 0; i < len(b); {
		var tag uint64
		if tag, i = Varint(b, i); i < 0 {
			return BadField("rrts.message.Envelope: tag")
		}
		var ok bool
		switch tag {
		case tagDetail, tagTrace, tagBody:
			var p []byte
			if p, i = Bytes(b, i); i < 0 {
				return BadField("rrts.message.Envelope: detail, trace or body: length")
			}
			ok = e.setBytes(tag, p)
		case tagKind, tagService, tagMethod, tagCall, tagRemaining, tagCode,
			tagFrom, tagTo, tagEpoch, tagGroup, tagPrincipal, tagRole:
			var v uint64
			if v, i = Varint(b, i); i < 0 {
				return BadField("rrts.message.Envelope: number")
			}
			ok = e.setUint(tag, v)
		default:
			if i = Skip(b, i, tag); i < 0 {
				return BadField("rrts.message.Envelope: unknown field")
			}
			ok = true
		}
		if !ok {
			return BadField("rrts.message.Envelope: a value is out of its field's range")
		}
	}
	return nil
}

func (e *Envelope) setBytes(tag uint64, p []byte) bool {
	switch tag {
	case tagDetail:
		e.Detail = string(p)
		return utf8.Valid(p)
	case tagTrace:
		e.Trace = [16]byte{}
		copy(e.Trace[:], p)
		return len(p) == len(e.Trace) || len(p) == 0
	default:
		e.Body = p
		return true
	}
}

func (e *Envelope) setUint(tag, v uint64) bool {
	switch tag {
	case tagKind:
		return narrow(&e.Kind, v)
	case tagService:
		return narrow(&e.Service, v)
	case tagMethod:
		return narrow(&e.Method, v)
	case tagCall:
		return narrow(&e.Call, v)
	case tagRemaining:
		return narrow(&e.RemainingMillis, v)
	case tagCode:
		return narrow(&e.Code, v) && v <= math.MaxInt32 // an enum is signed in protobuf
	case tagFrom:
		return narrow(&e.From, v)
	case tagTo:
		return narrow(&e.To, v)
	case tagEpoch:
		return narrow(&e.Epoch, v)
	case tagGroup:
		return narrow(&e.Group, v)
	case tagPrincipal:
		return narrow(&e.Principal, v)
	default:
		return narrow(&e.Role, v)
	}
}

// narrow sets *p to v and reports whether v fits.
func narrow[T ~uint8 | ~uint16 | ~uint32 | ~uint64](p *T, v uint64) bool {
	*p = T(v)
	return uint64(*p) == v
}

// sizeUint returns the length of a number with a tag of one byte; 0 takes none.
func sizeUint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + SizeVarint(v)
}

func appendUint(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return AppendVarint(append(b, tag), v)
}

// String returns e for a log: the header, and of the body only its length, since
// it may hold secrets.
func (e Envelope) String() string {
	t := NewText("Envelope")
	t.Add("kind", uint32(e.Kind))
	t.Add("service", uint32(e.Service))
	t.Add("method", uint32(e.Method))
	t.Add("call", e.Call)
	if e.RemainingMillis != 0 {
		t.Add("remaining_millis", e.RemainingMillis)
	}
	if e.Code != OK {
		t.Add("code", e.Code)
		t.Add("detail", e.Detail)
	}
	if e.Trace != ([16]byte{}) {
		t.Add("trace", e.Trace[:])
	}
	t.Add("from", uint32(e.From))
	t.Add("to", uint32(e.To))
	t.Add("epoch", e.Epoch)
	t.Add("group", uint32(e.Group))
	t.Add("principal", e.Principal)
	t.Add("role", uint32(e.Role))
	t.Add("body_bytes", uint64(len(e.Body)))
	return t.String()
}

// Format prints e as String does, whatever the verb.
func (e Envelope) Format(f fmt.State, _ rune) { io.WriteString(f, e.String()) }

// MarshalText returns String, so that no encoder of log attributes goes around it.
func (e Envelope) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

var _ Message = (*Envelope)(nil)

// PackedBody returns the body of an encoded Envelope of KindPacked, as package pack makes
// it: the kind, and then the body.
func PackedBody(b []byte) (body []byte, ok bool) {
	if len(b) < 3 || b[0] != tagKind || b[1] != byte(KindPacked) || b[2] != tagBody {
		return nil, false
	}
	body, end := Bytes(b, 3)
	return body, end == len(b)
}
