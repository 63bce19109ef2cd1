package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

const (
	// maxEnded bounds the alarms that a Book remembers after their end: weeks of a sick
	// machine, and years of a sound one.
	maxEnded = 256
	// carryFor is how long after a start an alarm that stood at the end of the last life
	// may take to come back: longer than every hold time. Then it is lost: nobody saw how
	// it ended.
	carryFor = 10 * time.Minute
	// writeAfter is how long a change waits for others before the book is written.
	writeAfter = time.Second
	// maxBookBytes bounds the file that is read.
	maxBookBytes = 4 << 20
)

// Book is the SFU's memory of its alarms: when they were raised and ended by the clock
// on the wall, and who looks after them. It outlives the process in a file, a list of
// JSON objects. An alarm that stands when the process ends is the same when it is
// raised again soon after the next start.
type Book struct {
	path  string
	wall  func() time.Time
	opens time.Time
	dirty chan struct{} // there is something to write
	news  chan struct{} // there may be something to say by mail

	mu       sync.Mutex
	standing map[string]*record
	ended    []*record // the newest last
}

// record is one alarm. Times are milliseconds since 1970.
type record struct {
	Name           string `json:"name"`
	Severity       string `json:"severity"`
	Detail         string `json:"detail"`
	Raised         int64  `json:"raised"`
	Cleared        int64  `json:"cleared,omitempty"`
	Count          uint32 `json:"count"`
	Flapping       bool   `json:"flapping,omitempty"`
	Acknowledged   int64  `json:"acknowledged,omitempty"`
	AcknowledgedBy string `json:"acknowledged_by,omitempty"`
	Lost           bool   `json:"lost,omitempty"`
	// Mailed is the severity that was told by mail, empty when none was; MailedEnd says
	// that nothing more is to be told.
	Mailed    string `json:"mailed,omitempty"`
	MailedEnd bool   `json:"mailed_end,omitempty"`

	carried bool // from the last life, and not raised in this one
}

// OpenBook returns the book in a file, which need not be there; an empty path is a
// book without a file. With an error the book is usable, and empty.
func OpenBook(path string, wall func() time.Time) (*Book, error) {
	b := &Book{path: path, wall: wall, opens: wall(), dirty: make(chan struct{}, 1), news: make(chan struct{}, 1), standing: map[string]*record{}}
	if path == "" {
		return b, nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil && info.Size() > maxBookBytes {
		err = fmt.Errorf("%d bytes are no book of alarms", info.Size())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	var all []*record
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return b, fmt.Errorf("monitor: the alarms of earlier lives are not known: %s: %w", path, err)
	}
	for _, r := range all {
		switch {
		case r == nil:
		case r.Cleared != 0:
			b.endLocked(r)
		default:
			r.carried = true
			b.standing[r.Name] = r
		}
	}
	return b, nil
}

// Note takes in a change. It is engine.Config.OnAlarm.
func (b *Book) Note(e engine.AlarmEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, now := b.standing[e.Name], b.wall().UnixMilli()
	if r == nil {
		if e.Cleared {
			return
		}
		r = &record{Name: e.Name, Raised: now}
		b.standing[e.Name] = r
	}
	r.carried = false
	r.Severity, r.Detail, r.Count, r.Flapping = e.Severity.String(), e.Detail, e.Count, e.Flapping
	if e.Cleared {
		delete(b.standing, e.Name)
		r.Cleared = now
		b.endLocked(r)
	}
	b.touch()
	select {
	case b.news <- struct{}{}:
	default:
	}
}

func (b *Book) endLocked(r *record) {
	b.ended = append(b.ended, r)
	if n := len(b.ended) - maxEnded; n > 0 {
		b.ended = slices.Delete(b.ended, 0, n)
	}
}

// touch has the book written soon.
func (b *Book) touch() {
	select {
	case b.dirty <- struct{}{}:
	default:
	}
}

// settleLocked gives up what did not come back after the start.
func (b *Book) settleLocked() {
	if b.wall().Sub(b.opens) < carryFor {
		return
	}
	for name, r := range b.standing {
		if r.carried {
			delete(b.standing, name)
			r.Cleared, r.Lost = b.opens.UnixMilli(), true
			b.endLocked(r)
			b.touch()
		}
	}
}

// acknowledge notes who looks after an alarm; an empty name takes it back. It reports
// whether the alarm stands.
func (b *Book) acknowledge(name, by string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settleLocked()
	r := b.standing[name]
	if r == nil || r.carried {
		return false
	}
	if r.AcknowledgedBy, r.Acknowledged = by, 0; by != "" {
		r.Acknowledged = b.wall().UnixMilli()
	}
	b.touch()
	return true
}

// list returns the alarms that stand, as the engine has them, with what the book knows,
// and the newest of those that ended.
func (b *Book) list(alarms []engine.Alarm, now time.Duration, ended int) (answer monitorpb.AlarmsAnswer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settleLocked()
	for _, a := range alarms {
		m := monitorpb.Alarm{Name: a.Name, Severity: a.Severity.String(), Detail: a.Detail, Count: a.Count, Flapping: a.Flapping,
			AgeMillis: uint64(max(now-a.Raised, 0) / time.Millisecond)}
		if r := b.standing[a.Name]; r != nil {
			m.Raised, m.Acknowledged, m.AcknowledgedBy = uint64(r.Raised), uint64(r.Acknowledged), r.AcknowledgedBy
			m.AgeMillis = max(m.AgeMillis, uint64(max(b.wall().UnixMilli()-r.Raised, 0))) // it may have stood before the start
		}
		answer.Standing = append(answer.Standing, m)
	}
	for _, r := range slices.Backward(b.ended) {
		if len(answer.Ended) == ended {
			break
		}
		answer.Ended = append(answer.Ended, monitorpb.Alarm{Name: r.Name, Severity: r.Severity, Detail: r.Detail, Count: r.Count, Flapping: r.Flapping,
			Raised: uint64(r.Raised), Cleared: uint64(r.Cleared), Acknowledged: uint64(r.Acknowledged), AcknowledgedBy: r.AcknowledgedBy, Lost: r.Lost})
	}
	return answer
}

// run writes the book after changes, until ctx ends. tell is told what the writing came
// to, once at a time.
func (b *Book) run(ctx context.Context, tell func(error)) {
	if b.path == "" {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.dirty:
		}
		select {
		case <-ctx.Done(): // the last changes too
		case <-time.After(writeAfter):
		}
		select {
		case <-b.dirty: // what changed meanwhile is written with it
		default:
		}
		tell(b.write())
	}
}

// write puts the book in the place of the last one. It is not synced: what a power cut
// takes are the last seconds of a list that people read.
func (b *Book) write() error {
	b.mu.Lock()
	all := slices.Clone(b.ended)
	for _, r := range b.standing {
		all = append(all, r)
	}
	text, err := json.MarshalIndent(all, "", " ")
	b.mu.Unlock()
	if err == nil {
		err = os.WriteFile(b.path+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(b.path+".new", b.path)
	}
	if err != nil {
		return fmt.Errorf("monitor: the alarms will not be known after a restart: %w", err)
	}
	return nil
}
