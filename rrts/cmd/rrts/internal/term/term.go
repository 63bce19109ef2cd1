// Package term is how the rrts command speaks: tables and progress for people,
// one JSON object per line for programs.
package term

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// Out is where a command says what it does.
type Out struct {
	// JSON asks for one object per line on Std, and nothing else there.
	JSON bool
	// Std gets results, Err progress and remarks.
	Std, Err io.Writer

	mu       sync.Mutex
	tty      bool
	line     string // the progress line that stands
	lastTime time.Time
}

// New returns the Out of this process.
func New(asJSON bool) *Out {
	o := &Out{JSON: asJSON, Std: os.Stdout, Err: os.Stderr}
	if info, err := os.Stderr.Stat(); err == nil {
		o.tty = info.Mode()&os.ModeCharDevice != 0
	}
	return o
}

// Object prints v as one line of JSON.
func (o *Out) Object(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clearLocked()
	_, err = fmt.Fprintf(o.Std, "%s\n", b)
	return err
}

// Table prints rows under a header, in columns.
func (o *Out) Table(header []string, rows [][]string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clearLocked()
	w := tabwriter.NewWriter(o.Std, 0, 0, 2, ' ', 0)
	if len(header) > 0 {
		fmt.Fprintln(w, strings.Join(header, "\t"))
	}
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// Text prints what is laid out already.
func (o *Out) Text(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clearLocked()
	_, err := io.WriteString(o.Std, text)
	return err
}

// Say prints one remark for people; it goes to Err, so that results stay alone.
func (o *Out) Say(format string, a ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clearLocked()
	fmt.Fprintf(o.Err, format+"\n", a...)
	if o.line != "" {
		fmt.Fprint(o.Err, o.line)
	}
}

// quietInterval is how often progress is repeated where it cannot replace itself.
const quietInterval = 2 * time.Second

// Progress replaces the progress line; an empty one ends it.
func (o *Out) Progress(format string, a ...any) {
	line := fmt.Sprintf(format, a...)
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.tty {
		if line != "" && time.Since(o.lastTime) >= quietInterval {
			o.lastTime = time.Now()
			fmt.Fprintln(o.Err, line)
		}
		return
	}
	o.clearLocked()
	o.line = line
	fmt.Fprint(o.Err, line)
}

// clearLocked takes the progress line away.
func (o *Out) clearLocked() {
	if o.line != "" {
		fmt.Fprint(o.Err, "\r\x1b[K")
	}
}
