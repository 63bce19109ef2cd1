package watchdog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// StateDir holds what outlives a reset. No SFU's state is there: an SFU's name has
	// no dot.
	StateDir = "/var/lib/rrts/watchdog.d"
	// RunDir holds what the guard does now; it goes when the guard ends.
	RunDir = "/run/rrts-watchdog"

	orderFile  = "order.json"
	recordFile = "record.json"
	statusFile = "status.json"
)

// Status is what the guard does.
type Status struct {
	State    string    `json:"state"`     // one of the constants
	Device   string    `json:"device"`    // such as /dev/watchdog0
	Driver   string    `json:"driver"`    // its name for itself; "systemd" where that holds the hardware
	TimeoutS int       `json:"timeout_s"` // as the driver really set it
	Since    time.Time `json:"since"`
	Why      string    `json:"why,omitempty"` // it lets go, or is off
	Resets   []Reset   `json:"resets"`        // within ResetWindow
}

// States of Status.
const (
	ArmedState     = "armed"
	LettingGoState = "letting go"
	OffState       = "off"         // after three resets within an hour
	DeadState      = "not running" // ordered, and does not run
	UnarmedState   = "not armed"   // nobody ordered it
)

// Orders, records and status are read by people too.
const indent = "  "

// ReadOrder returns nil when there is none.
func ReadOrder(dir string) (*Order, error) { return read[Order](dir, orderFile) }

// WriteOrder arms the guard from its next start on.
func WriteOrder(dir string, o *Order) error { return write(dir, orderFile, o) }

// RemoveOrder is the end of it.
func RemoveOrder(dir string) error {
	if err := os.Remove(filepath.Join(dir, orderFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("watchdog: %w", err)
	}
	if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("watchdog: %w", err)
	}
	return nil
}

// ReadRecord returns an empty one when there is none.
func ReadRecord(dir string) (*Record, error) {
	r, err := read[Record](dir, recordFile)
	if r == nil && err == nil {
		r = &Record{}
	}
	return r, err
}

// WriteRecord returns once it is on disk.
func WriteRecord(dir string, r *Record) error { return write(dir, recordFile, r) }

// ReadStatus returns nil when no guard runs.
func ReadStatus(dir string) (*Status, error) { return read[Status](dir, statusFile) }

// WriteStatus shows what the guard does to whoever asks.
func WriteStatus(dir string, s *Status) error { return write(dir, statusFile, s) }

// Tell says what the watchdog does, whether a guard runs or not.
func Tell(stateDir, runDir string) (*Status, error) {
	order, err := ReadOrder(stateDir)
	if err != nil {
		return nil, err
	}
	record, err := ReadRecord(stateDir)
	if err != nil {
		return nil, err
	}
	s, err := ReadStatus(runDir)
	switch {
	case err != nil:
		return nil, err
	case order == nil:
		return &Status{State: UnarmedState, Resets: record.Resets}, nil
	case s != nil:
		return s, nil
	}
	s = &Status{State: DeadState, Device: order.Device, TimeoutS: order.TimeoutS, Since: order.At, Resets: record.Resets}
	if off := record.Off; off != nil && record.Order == order.ID {
		s.State, s.Since, s.Why = OffState, off.Since, off.Why
	}
	return s, nil
}

func read[T any](dir, name string) (*T, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	v := new(T)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return nil, fmt.Errorf("watchdog: %s: %w; remove the file, then run rrts watchdog arm", filepath.Join(dir, name), err)
	}
	return v, nil
}

// write replaces a file in one step that a crash cannot divide: there is the old
// content, or the new one on disk.
func write(dir, name string, v any) error {
	b, err := json.MarshalIndent(v, "", indent)
	if err == nil {
		err = replace(dir, name, append(b, '\n'))
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	return nil
}

func replace(dir, name string, b []byte) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
