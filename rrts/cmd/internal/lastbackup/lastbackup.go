// Package lastbackup is the note that rrts backup leaves on its machine when a backup
// to the machine's target has been taken and read back, and by which the SFUs of the
// machine know whether one is missing. They cannot look themselves: the target is
// often for root alone.
//
// The note is one object of JSON in a file that everybody may read:
//
//	{"file":"/mnt/backup/shop-….rrtsbackup","csn":71,"bytes":4096,"taken":"2026-03-01T02:30:04Z"}
package lastbackup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
)

// fileName is the note's.
const fileName = "last-backup.json"

// Note is a backup that was taken and read back.
type Note struct {
	File  string    `json:"file"`
	CSN   uint64    `json:"csn"`
	Bytes int64     `json:"bytes"`
	Taken time.Time `json:"taken"`
}

// path is where the note of the installation with a configuration is: in
// /var/lib/rrts, or beside a configuration that is not this machine's own.
func path(configDir string) string {
	if configDir == config.DefaultDir {
		return "/var/lib/rrts/" + fileName
	}
	return filepath.Join(configDir, fileName)
}

// Write replaces the note, completely or not at all.
func Write(configDir string, n *Note) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	p := path(configDir)
	if err := genesis.WriteFile(p, genesis.File{Mode: 0o644, Data: append(data, '\n')}, 0); err != nil {
		return fmt.Errorf("the note of the last backup, %s: %w", p, err)
	}
	return nil
}

// Read returns the note; nil if there is none.
func Read(configDir string) (*Note, error) {
	p := path(configDir)
	data, err := os.ReadFile(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	n := &Note{}
	if err == nil {
		err = json.Unmarshal(data, n)
	}
	if err != nil {
		return nil, fmt.Errorf("the note of the last backup, %s: %w; the next backup writes it anew", p, err)
	}
	return n, nil
}

// Missing says what is missing on a machine: a backup to its target that is not older
// than its max_age. Empty: nothing is, or it has no target.
func Missing(configDir string, b *config.Backups, now time.Time) string {
	if b.Target == "" {
		return ""
	}
	n, err := Read(configDir)
	switch {
	case err != nil:
		return err.Error()
	case n == nil || filepath.Dir(n.File) != b.Target:
		return "no backup has been taken to " + b.Target + " yet"
	case now.Sub(n.Taken) > b.MaxAge:
		return fmt.Sprintf("the last backup to %s was taken %v ago, on %s", b.Target, now.Sub(n.Taken).Round(time.Hour), n.Taken.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return ""
}
