package message

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Redacted stands in a message's text for a sensitive value.
const Redacted = "[redacted]"

// Bounds of a message's text. A log line must stay readable, and a batch of
// thousands of transfers must not fill the log.
const (
	textItems  = 8    // elements shown of a repeated field
	textString = 256  // bytes shown of a string
	textBytes  = 32   // bytes shown of a bytes field
	textMax    = 4096 // bytes of one message's whole text, about; then it is cut
)

// Text builds the text form of a message for people and logs. It is the one way
// from a message to a log, and generated code gives it sensitive fields by name
// only.
type Text struct {
	b     []byte
	first int // length of b when it still has no field
	cut   bool
}

// NewText starts the text of a message of the given type.
func NewText(name string) Text {
	b := append(append(make([]byte, 0, 256), name...), '{')
	return Text{b: b, first: len(b)}
}

// Redact adds a field without its value.
func (t *Text) Redact(name string) {
	if t.name(name) {
		t.b = append(t.b, Redacted...)
	}
}

// Add adds a field. The value is a number, a bool, a string, []byte or a
// fmt.Stringer.
func (t *Text) Add(name string, v any) {
	if t.name(name) {
		t.value(v)
	}
}

// AddList adds a repeated field: its first elements, and how many there are.
func AddList[T any](t *Text, name string, list []T) {
	if !t.name(name) {
		return
	}
	t.b = append(t.b, '[')
	for i := range list {
		if i == textItems || len(t.b) > textMax {
			t.b = fmt.Appendf(t.b, " … %d in all", len(list))
			break
		}
		if i > 0 {
			t.b = append(t.b, ' ')
		}
		t.value(list[i])
	}
	t.b = append(t.b, ']')
}

// String returns the finished text.
func (t *Text) String() string {
	if t.cut {
		t.b = append(t.b, " …"...)
	}
	return string(append(t.b, '}'))
}

// name begins a field; it reports false when the text is long enough.
func (t *Text) name(name string) bool {
	if len(t.b) > textMax {
		t.cut = true
		return false
	}
	if len(t.b) > t.first {
		t.b = append(t.b, ' ')
	}
	t.b = append(append(t.b, name...), ':')
	return true
}

func (t *Text) value(v any) {
	switch v := v.(type) {
	case fmt.Stringer:
		t.b = append(t.b, v.String()...)
	case uint64:
		t.b = strconv.AppendUint(t.b, v, 10)
	case uint32:
		t.b = strconv.AppendUint(t.b, uint64(v), 10)
	case int64:
		t.b = strconv.AppendInt(t.b, v, 10)
	case int32:
		t.b = strconv.AppendInt(t.b, int64(v), 10)
	case bool:
		t.b = strconv.AppendBool(t.b, v)
	case float64:
		t.b = strconv.AppendFloat(t.b, v, 'g', -1, 64)
	case float32:
		t.b = strconv.AppendFloat(t.b, float64(v), 'g', -1, 32)
	case string:
		t.quote(v)
	case []byte:
		t.hex(v)
	default:
		panic(fmt.Sprintf("message: no text form of %T", v))
	}
}

func (t *Text) quote(s string) {
	if len(s) <= textString {
		t.b = strconv.AppendQuote(t.b, s)
		return
	}
	n := textString
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	t.b = fmt.Appendf(strconv.AppendQuote(t.b, s[:n]), "… (%d bytes)", len(s))
}

func (t *Text) hex(p []byte) {
	if len(p) <= textBytes {
		t.b = hex.AppendEncode(t.b, p)
		return
	}
	t.b = fmt.Appendf(hex.AppendEncode(t.b, p[:textBytes]), "… (%d bytes)", len(p))
}
