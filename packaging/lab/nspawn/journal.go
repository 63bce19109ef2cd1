package nspawn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Entry is one entry of a machine's journal.
type Entry struct {
	Time   time.Time
	Fields map[string]string // a value that is no text is left out
}

// Message is what people read.
func (e *Entry) Message() string { return e.Fields["MESSAGE"] }

// Journal reads the machine's journal from its disk: also when the machine is down.
// Matches are as journalctl takes them: FIELD=VALUE.
func (m *Machine) Journal(ctx context.Context, since time.Time, matches ...string) ([]Entry, error) {
	out, err := m.journalctl(ctx, append([]string{"--output=json", fmt.Sprintf("--since=@%.6f", float64(since.UnixMicro())/1e6)}, matches...)...)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var raw map[string]any
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("nspawn: the journal of %s: %w", m.spec.Name, err)
		}
		e := Entry{Fields: map[string]string{}}
		for k, v := range raw {
			if s, ok := v.(string); ok {
				e.Fields[k] = s
			}
		}
		us, err := strconv.ParseInt(e.Fields["__REALTIME_TIMESTAMP"], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("nspawn: the journal of %s: an entry without a time: %w", m.spec.Name, err)
		}
		e.Time = time.UnixMicro(us)
		all = append(all, e)
	}
}

// JournalText returns the whole journal as people read it.
func (m *Machine) JournalText(ctx context.Context) ([]byte, error) {
	return m.journalctl(ctx, "--output=short-precise")
}

func (m *Machine) journalctl(ctx context.Context, args ...string) ([]byte, error) {
	args = append([]string{"--directory=" + filepath.Join(m.Root(), "var/log/journal"), "--no-pager", "--quiet"}, args...)
	out, err := exec.CommandContext(ctx, "journalctl", args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return nil, fmt.Errorf("nspawn: the journal of %s: %w", m.spec.Name, err)
	}
	return out, nil
}
