package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong in one file.
type Fault struct {
	File    string
	Line    int    // 1 is the first line; 0 when the fault has no place in the file
	Column  int    // 1 is the first byte
	Key     string // as "sfu[2].number"; empty when the fault is not at a key
	Problem string // what is wrong
	Cure    string // what to do
}

func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Key != "" {
		b.WriteString("key " + f.Key + ": ")
	}
	b.WriteString(f.Problem)
	if f.Cure != "" {
		b.WriteString("; " + f.Cure)
	}
	return b.String()
}

// Error is everything that is wrong in the files that were read, in the order of
// the files and of their lines.
type Error struct {
	Faults []Fault
}

// Error returns one line for each fault.
func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// faults collects what is wrong.
type faults []Fault

func (fs *faults) add(f Fault) { *fs = append(*fs, f) }

// err returns an *Error, or nil when nothing is wrong. Faults of one file are put
// in the order of their lines; the files stay in the order in which they were read.
func (fs faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	files := map[string]int{}
	for _, f := range fs {
		if _, ok := files[f.File]; !ok {
			files[f.File] = len(files)
		}
	}
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(files[a.File], files[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{Faults: fs}
}

// unplaced takes the places out of faults that were found in a file which nobody
// has written yet.
func unplaced(err error) error {
	var e *Error
	if errors.As(err, &e) {
		for i := range e.Faults {
			e.Faults[i].Line, e.Faults[i].Column = 0, 0
		}
	}
	return err
}
