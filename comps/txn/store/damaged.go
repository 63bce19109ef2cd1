package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/comps/txn/store/sealfs"
)

// IsDamage reports whether err says that the store's files do not hold what was written
// to them, or cannot be read.
func IsDamage(err error) bool {
	return errors.Is(err, sealfs.ErrCorrupt) || errors.Is(err, ErrCorrupt) || errors.Is(err, syscall.EIO) || pebble.IsCorruptionError(err)
}

// openError is the error of opening rows that were made before. A file that is not there,
// or ends early because its last page is rotten, is damage, for which Pebble has no error of
// its own.
func openError(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "object size mismatch") {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("store: %s: %w", dir, err)
}

// OpenDamaged opens the store in cfg.Dir without its rows, which Open refused: why says for
// what damage. It is Fenced, holds nothing, and takes another member's rows by Restore; until
// they are there the damaged ones lie where they did, and Open finds them as good or bad as
// they are then. When they are, the damaged ones lie beside them, under DamagedPrefix.
func OpenDamaged(cfg Config, why string) (*DB, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := newDB(cfg)
	d.damage = why
	err := d.locate()
	if err == nil && d.current == "" {
		err = fmt.Errorf("store: %s holds no rows", cfg.Dir)
	}
	if err == nil {
		err = d.sweepDirs()
	}
	if err != nil {
		return nil, errors.Join(err, d.release())
	}
	return d, nil
}

// DamagedPrefix begins the names of directories of rows that were damaged. Nothing reads
// them: their keys are not kept.
const DamagedPrefix = "damaged-"

// setAside keeps the rows that count no more, damaged as they are, for whoever wants to know
// what happened to them. Those that an earlier damage left go: they may be large.
func (d *DB) setAside() error {
	fs := d.cfg.FS
	names, err := fs.List(d.cfg.Dir)
	for _, name := range names {
		if strings.HasPrefix(name, DamagedPrefix) {
			err = errors.Join(err, fs.RemoveAll(path.Join(d.cfg.Dir, name)))
		}
	}
	if err == nil {
		err = fs.Rename(path.Join(d.cfg.Dir, d.current), path.Join(d.cfg.Dir, DamagedPrefix+d.current))
	}
	if err == nil {
		err = syncDir(fs, d.cfg.Dir)
	}
	if err != nil {
		return fmt.Errorf("store: setting the damaged rows aside: %w", err)
	}
	d.damage = ""
	d.cfg.Log.Warn("store: the damaged rows were set aside; remove them when nobody wants to look at them", "path", path.Join(d.cfg.Dir, DamagedPrefix+d.current))
	return nil
}
