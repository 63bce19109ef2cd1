package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/internal/lastbackup"
	"virtualservicesinc.com/rrts/config"
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
