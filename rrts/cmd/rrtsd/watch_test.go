package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/internal/lastbackup"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/watchdog"
)

// TestBackupWatch: a target that an operator names, and a backup that is taken, count
// while the SFU runs.
func TestBackupWatch(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "machine.toml"), []byte("name = \"pc1\"\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	m, err := config.LoadMachine(filepath.Join(dir, "machine.toml"))
	if err != nil {
		t.Fatal(err)
	}
	watch := backupWatch(&config.Config{Dir: dir, Machine: m}, func() time.Time { return now })
	expect := func(when, want string) {
		t.Helper()
		now = now.Add(backupInterval)
		if got := watch(); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	expect("without a target", "")
	write("[backup]\ntarget = \"/mnt/usb\"\n")
	expect("with a target", "no backup has been taken to /mnt/usb yet")
	if err := lastbackup.Write(dir, &lastbackup.Note{File: "/mnt/usb/a.rrtsbackup", Taken: now}); err != nil {
		t.Fatal(err)
	}
	expect("with a backup", "")
	write("[backup\n")
	now = now.Add(27 * time.Hour)
	expect("a day without one, and a faulty file", "the last backup to /mnt/usb was taken 27h0m0s ago, on 2026-03-01 12:00 UTC")
}

// TestWatchdogStatus: what the Monitor tells is what the watchdog's files say.
func TestWatchdogStatus(t *testing.T) {
	root := t.TempDir()
	expect := func(when string, want monitorpb.WatchdogStatus) {
		t.Helper()
		if got := watchdogStatus(root); got == nil || *got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	for _, dir := range []string{watchdog.StateDir, watchdog.RunDir, "/sys/class/watchdog"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	expect("a machine without one", monitorpb.WatchdogStatus{State: watchdogAbsent})
	device := root + "/sys/class/watchdog/watchdog0"
	for name, text := range map[string]string{"identity": "i6300ESB timer", "state": "inactive", "timeout": "60", "nowayout": "0", "bootstatus": "0"} {
		if err := errors.Join(os.MkdirAll(device, 0o755), os.WriteFile(device+"/"+name, []byte(text+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	expect("not ordered", monitorpb.WatchdogStatus{State: "not armed"})
	noticed := time.UnixMilli(1_790_000_000_000)
	resets := []watchdog.Reset{{Noticed: noticed.Add(-time.Minute), Why: "a"}, {Noticed: noticed, Why: "b"}}
	order := &watchdog.Order{ID: "1", Device: "/dev/watchdog0", TimeoutS: 60}
	off := &watchdog.Record{Order: "1", Resets: resets, Off: &watchdog.Off{Why: "3 resets"}}
	if err := errors.Join(watchdog.WriteOrder(root+watchdog.StateDir, order), watchdog.WriteRecord(root+watchdog.StateDir, off)); err != nil {
		t.Fatal(err)
	}
	last := monitorpb.WatchdogStatus{State: "off", Why: "3 resets", Device: "/dev/watchdog0", TimeoutSeconds: 60, Resets: 2, LastReset: 1_790_000_000_000, LastResetWhy: "b"}
	expect("off", last)
	armed := &watchdog.Status{State: watchdog.ArmedState, Device: "/dev/watchdog0", Driver: "i6300ESB timer", TimeoutS: 60, Resets: resets}
	if err := watchdog.WriteStatus(root+watchdog.RunDir, armed); err != nil {
		t.Fatal(err)
	}
	last.State, last.Why, last.Driver = "armed", "", "i6300ESB timer"
	expect("armed", last)
	if err := os.WriteFile(root+watchdog.RunDir+"/status.json", []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := watchdogStatus(root); got != nil {
		t.Errorf("a faulty file is taken for %+v", got)
	}
}
