package watchdog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
)

// TestRecord replays testdata/record.txt: boots of a machine, and what the record says
// of each. Commands, at=MINUTES since the first:
//
//	boot NAME at=M [order=ID] [evidence]   the guard starts, and arms if it may
//	letgo at=M why=WORD                    it lets go
//	fed                                    it feeds again
//	stop                                   a clean stop
func TestRecord(t *testing.T) {
	begin := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	order := "first"
	var r Record
	datadriven.RunTest(t, "testdata/record.txt", func(t *testing.T, d *datadriven.TestData) string {
		var minutes int
		if d.HasArg("at") {
			d.ScanArgs(t, "at", &minutes)
		}
		now := begin.Add(time.Duration(minutes) * time.Minute)
		var b strings.Builder
		switch d.Cmd {
		case "new":
			r, order = Record{}, "first"
			return ""
		case "boot":
			if d.HasArg("order") {
				d.ScanArgs(t, "order", &order)
			}
			evidence := NoEvidence
			if d.HasArg("evidence") {
				evidence = WasReset
			}
			boot := d.CmdArgs[0].Key
			if reset := r.Begin(now, boot, order, evidence); reset != nil {
				fmt.Fprintf(&b, "reset: %s\n", reset.Why)
			}
			if r.Off != nil {
				fmt.Fprintf(&b, "off: %s\n", r.Off.Why)
				break
			}
			r.Arm(now, boot)
			fmt.Fprintf(&b, "armed, %d resets\n", len(r.Resets))
		case "letgo":
			var why string
			d.ScanArgs(t, "why", &why)
			r.Release(now, why)
		case "fed":
			r.Feed()
		case "stop":
			r.Stop()
		default:
			t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
		}
		// What is read back is what was written.
		dir := t.TempDir()
		if err := WriteRecord(dir, &r); err != nil {
			t.Fatal(err)
		}
		again, err := ReadRecord(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&r, again); diff != "" {
			t.Fatalf("%s: read back: %s", d.Pos, diff)
		}
		r = *again
		return b.String()
	})
}

// TestTell: what `rrts watchdog status` shows, from what there is of files.
func TestTell(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	order := &Order{ID: "1", Device: "/dev/watchdog0", TimeoutS: 60, At: at}
	reset := []Reset{{Noticed: at, Why: "it hung"}}
	off := &Record{Order: "1", Resets: reset, Off: &Off{Since: at, Why: "3 resets"}}
	running := &Status{State: ArmedState, Device: "/dev/watchdog0", Driver: "iTCO_wdt", TimeoutS: 60, Since: at, Resets: reset}
	dead := Status{State: DeadState, Device: "/dev/watchdog0", TimeoutS: 60, Since: at}
	for _, tc := range []struct {
		name   string
		order  *Order
		record *Record
		status *Status
		want   Status
	}{
		{"nothing", nil, nil, nil, Status{State: UnarmedState}},
		{"disarmed", nil, &Record{Order: "1", Resets: reset}, nil, Status{State: UnarmedState, Resets: reset}},
		{"ordered", order, nil, nil, dead},
		{"running", order, &Record{Order: "1"}, running, *running},
		{"off", order, off, nil, Status{State: OffState, Device: "/dev/watchdog0", TimeoutS: 60, Since: at, Why: "3 resets", Resets: reset}},
		{"off under another order", &Order{ID: "2", Device: "/dev/watchdog0", TimeoutS: 60, At: at}, &Record{Order: "1", Off: off.Off}, nil, dead},
	} {
		dir, run := t.TempDir(), t.TempDir()
		err := error(nil)
		if tc.order != nil {
			err = WriteOrder(dir, tc.order)
		}
		if tc.record != nil && err == nil {
			err = WriteRecord(dir, tc.record)
		}
		if tc.status != nil && err == nil {
			err = WriteStatus(run, tc.status)
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := Tell(dir, run)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if diff := cmp.Diff(&tc.want, got); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}

// TestFiles: a crash while a file is written leaves the old one, and removing what is
// not there is no fault.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if err := RemoveOrder(dir); err != nil {
		t.Error(err)
	}
	if err := RemoveOrder(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
	want := &Order{ID: "1", Device: "/dev/watchdog1", TimeoutS: 90}
	if err := WriteOrder(dir, want); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "order.json.new"), []byte(`{"id":`), 0o644); err != nil { // cut short
		t.Fatal(err)
	}
	got, err := ReadOrder(dir)
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "record.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(dir); err == nil || !strings.Contains(err.Error(), "record.json: unexpected end of JSON input; remove the file, then run rrts watchdog arm") {
		t.Error(err)
	}
	if err := RemoveOrder(dir); err != nil {
		t.Error(err)
	}
	if got, err := ReadOrder(dir); got != nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}
