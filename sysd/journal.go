package sysd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// AlarmKey is the attribute under which an alarm's record carries the alarm's name:
// its kind, or kind@subject. The journal gets it as RRTS_ALARM, and the kind's
// MessageID as MESSAGE_ID, by which `journalctl -x` finds the explanation in the
// catalog.
const AlarmKey = "alarm"

// EventKey is the attribute under which a line that is no alarm carries the name that
// its explanation has in the catalog. The journal gets its MessageID too.
const EventKey = "event"

// MessageID returns the MESSAGE_ID of a kind of alarm: 32 hexadecimal
// digits. It follows from the name alone, so that a Component needs no table of
// numbers and the catalog can be checked. The derivation never changes: operators'
// filters hold the numbers.
func MessageID(name string) string {
	sum := sha256.Sum256([]byte("virtualservicesinc.com/rrts/message/" + name))
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x40 // a valid UUID of version 4, as journald expects of a 128-bit id
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id)
}

// NewLogger returns a logger for the process's stderr: to the journal, with fields,
// when systemd connected stderr to it; as one plain line a record otherwise.
func NewLogger(level slog.Leveler) *slog.Logger {
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		return slog.New(newHandler(level, journal.Send, os.Stderr))
	}
	return slog.New(newHandler(level, nil, os.Stderr))
}

// handler formats a record as
//
//	12:04:05.123 WARN  network is down network=A peer=bravo
//
// for people, and for the journal as the message without time and level, which are
// fields there, and each attribute as a field: RRTS_NETWORK=A, RRTS_PEER=bravo.
type handler struct {
	level slog.Leveler
	send  func(message string, p journal.Priority, fields map[string]string) error // nil: no journal
	plain io.Writer

	mu   *sync.Mutex
	line *bytes.Buffer // what attrs writes to
	text slog.Handler  // formats attributes into line, with those of WithAttrs

	fields map[string]string // of WithAttrs
	prefix string            // of WithGroup, for fields
}

func newHandler(level slog.Leveler, send func(string, journal.Priority, map[string]string) error, plain io.Writer) *handler {
	line := &bytes.Buffer{}
	return &handler{
		level: level, send: send, plain: plain, mu: &sync.Mutex{}, line: line,
		text: slog.NewTextHandler(line, &slog.HandlerOptions{
			Level: level,
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
					return slog.Attr{}
				}
				return a
			},
		}),
	}
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line.Reset()
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	message := r.Message
	if attrs := strings.TrimSpace(h.line.String()); attrs != "" {
		message += " " + attrs
	}
	if h.send != nil {
		fields := make(map[string]string, len(h.fields)+r.NumAttrs())
		for k, v := range h.fields {
			fields[k] = v
		}
		r.Attrs(func(a slog.Attr) bool { addField(fields, h.prefix, a); return true })
		for _, key := range []string{EventKey, AlarmKey} {
			if name, ok := fields[fieldName(key)]; ok {
				kind, _, _ := strings.Cut(name, "@")
				fields["MESSAGE_ID"] = MessageID(kind)
			}
		}
		if h.send(message, priority(r.Level), fields) == nil {
			return nil
		}
		// The journal is away: stderr is the next best.
	}
	_, err := fmt.Fprintf(h.plain, "%s %-5s %s\n", r.Time.Format("15:04:05.000"), r.Level, strings.ReplaceAll(message, "\n", " "))
	return err
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.text = h.text.WithAttrs(attrs)
	with.fields = make(map[string]string, len(h.fields)+len(attrs))
	for k, v := range h.fields {
		with.fields[k] = v
	}
	for _, a := range attrs {
		addField(with.fields, h.prefix, a)
	}
	return &with
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.text = h.text.WithGroup(name)
	with.prefix += name + "_"
	return &with
}

// addField adds an attribute as journal fields; a group is flattened.
func addField(fields map[string]string, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "_"
		}
		for _, inner := range v.Group() {
			addField(fields, prefix, inner)
		}
		return
	}
	if a.Key == "" {
		return
	}
	text := v.String()
	if v.Kind() == slog.KindTime {
		text = v.Time().Format(time.RFC3339Nano)
	}
	fields[fieldName(prefix+a.Key)] = text
}

// maxFieldName is journald's bound on a field's name, in bytes.
const maxFieldName = 64

// fieldName makes a valid field name, under RRTS_ so that none meets one of
// journald's own.
func fieldName(key string) string {
	b := append(make([]byte, 0, len(key)+5), "RRTS_"...)
	for _, c := range []byte(strings.ToUpper(key)) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			c = '_'
		}
		b = append(b, c)
	}
	return string(b[:min(len(b), maxFieldName)])
}

// priority is syslog's name for a level.
func priority(l slog.Level) journal.Priority {
	switch {
	case l < slog.LevelInfo:
		return journal.PriDebug
	case l < slog.LevelInfo+2:
		return journal.PriInfo
	case l < slog.LevelWarn:
		return journal.PriNotice
	case l < slog.LevelError:
		return journal.PriWarning
	case l < slog.LevelError+4:
		return journal.PriErr
	}
	return journal.PriCrit
}
