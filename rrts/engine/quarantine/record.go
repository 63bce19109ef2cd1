package quarantine

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"virtualservicesinc.com/rrts/message"
)

const (
	// idBytes of a digest tell requests apart; an ID is twice as many hex digits.
	idBytes = 16
	// maxReason bounds what is kept of a crash: enough for the innermost frames of a
	// stack.
	maxReason = 4096
	// maxName bounds a Component's name.
	maxName = 255
)

// ErrBadRecord is what Parse's errors are, for errors.Is.
var ErrBadRecord = errors.New("quarantine: bad record")

// Record is one request in quarantine.
type Record struct {
	// Time at which it was put there, nanoseconds since 1970.
	Time int64
	// Crashes in which it took part.
	Crashes uint16
	// Component that crashed, and how, the last time.
	Component, Reason string
	// Request as it came.
	Request message.Envelope
}

// ID names a request by its content: 32 hex digits.
func ID(e *message.Envelope) string {
	var head [12]byte
	binary.BigEndian.PutUint16(head[0:], e.Service)
	binary.BigEndian.PutUint16(head[2:], e.Method)
	binary.BigEndian.PutUint64(head[4:], e.Principal)
	h := sha256.New()
	h.Write(head[:])
	h.Write(e.Body)
	return hex.EncodeToString(h.Sum(nil)[:idBytes])
}

func validID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == idBytes && hex.EncodeToString(b) == id
}

// AppendTo appends r to b; a reason or name that is too long is cut.
func (r *Record) AppendTo(b []byte) []byte {
	component, reason := r.Component[:min(len(r.Component), maxName)], r.Reason[:min(len(r.Reason), maxReason)]
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time))
	b = binary.BigEndian.AppendUint16(b, r.Crashes)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(component))), component...)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(reason))), reason...)
	return r.Request.AppendTo(b)
}

// Parse replaces r by what b holds. The request's body aliases b.
func (r *Record) Parse(b []byte) error {
	*r = Record{}
	if len(b) < 10 {
		return fmt.Errorf("%w: %d bytes are less than 10", ErrBadRecord, len(b))
	}
	r.Time, r.Crashes = int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint16(b[8:])
	b = b[10:]
	var ok bool
	if r.Component, b, ok = cutString(b, maxName); !ok {
		return fmt.Errorf("%w: component", ErrBadRecord)
	}
	if r.Reason, b, ok = cutString(b, maxReason); !ok {
		return fmt.Errorf("%w: reason", ErrBadRecord)
	}
	if err := r.Request.Parse(b); err != nil {
		return fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	return nil
}

func cutString(b []byte, limit int) (string, []byte, bool) {
	if len(b) < 2 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > limit || len(b) < 2+n {
		return "", nil, false
	}
	return string(b[2 : 2+n]), b[2+n:], true
}
