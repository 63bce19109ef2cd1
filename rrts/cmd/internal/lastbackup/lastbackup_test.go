package lastbackup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/config"
)

func TestMissing(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	b := &config.Backups{Target: "/mnt/backup", MaxAge: 26 * time.Hour}
	for name, tt := range map[string]struct {
		note *Note
		b    *config.Backups
		want string // empty: nothing is missing
	}{
		"no target":      {nil, &config.Backups{MaxAge: time.Hour}, ""},
		"none yet":       {nil, b, "no backup has been taken to /mnt/backup yet"},
		"one elsewhere":  {&Note{File: "/root/a.rrtsbackup", Taken: now}, b, "no backup has been taken to /mnt/backup yet"},
		"one of tonight": {&Note{File: "/mnt/backup/a.rrtsbackup", Taken: now.Add(-25 * time.Hour)}, b, ""},
		"an old one":     {&Note{File: "/mnt/backup/a.rrtsbackup", Taken: now.Add(-50 * time.Hour)}, b, "the last backup to /mnt/backup was taken 50h0m0s ago, on 2026-02-28 10:00 UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.note != nil {
				if err := Write(dir, tt.note); err != nil {
					t.Fatal(err)
				}
			}
			if got := Missing(dir, tt.b, now); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Missing(dir, b, now); !strings.Contains(got, "the next backup writes it anew") {
		t.Errorf("a note that is none: %q", got)
	}
}
