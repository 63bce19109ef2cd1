package store

import (
	"fmt"
	"path"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const dirPrefix = "rows-"

// dirName returns the name of the n'th directory of rows.
func dirName(n int) string { return fmt.Sprintf("%s%06d", dirPrefix, n) }

// nextDir returns a name that follows name.
func nextDir(name string) (string, error) {
	var n int
	if _, err := fmt.Sscanf(name, dirPrefix+"%06d", &n); err != nil {
		return "", fmt.Errorf("store: the marker names %q: %w", name, err)
	}
	return dirName(n + 1), nil
}

// make makes an empty directory of rows that a crash does not lose.
func (d *DB) make(name string) error {
	fs := d.cfg.FS
	full := path.Join(d.cfg.Dir, name)
	if err := fs.RemoveAll(full); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := fs.MkdirAll(full, 0o700); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return syncDir(fs, d.cfg.Dir)
}

// syncDir makes the entries of a directory durable.
func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("store: %s: %w", dir, err)
	}
	return nil
}

// sweepDirs removes directories of rows that do not count: left over from a
// restore that a crash interrupted before or after its switch.
func (d *DB) sweepDirs() error {
	names, err := d.cfg.FS.List(d.cfg.Dir)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, dirPrefix) && name != d.current {
			if err := d.cfg.FS.RemoveAll(path.Join(d.cfg.Dir, name)); err != nil {
				return fmt.Errorf("store: %w", err)
			}
		}
	}
	return nil
}
