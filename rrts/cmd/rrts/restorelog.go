package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/statedir"
)

// logFlags name the journal of an SFU, and its key.
type logFlags struct{ dir, key string }

// copyInto copies the journal, which stays as it is, into a directory that is there. The
// SFU must not run.
func (f *logFlags) copyInto(dir string) (l *txn.RestoreLog, err error) {
	lock, err := vfs.Default.Lock(filepath.Join(f.dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("%s is in use: stop its SFU first, or name a copy of the directory: %w", f.dir, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	text, err := os.ReadFile(f.key)
	if err != nil {
		return nil, fmt.Errorf("the key of %s: %w", f.dir, err)
	}
	secret, err := config.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", f.key, err)
	}
	keys, err := statedir.LoadKeys(f.dir, secret)
	if err != nil {
		return nil, err
	}
	segments, err := filepath.Glob(filepath.Join(statedir.Journal(f.dir), "*.seg"))
	if err != nil || len(segments) == 0 {
		return nil, fmt.Errorf("%s holds no journal: name the state directory of an SFU, /var/lib/rrts/NAME, or a copy of it", f.dir)
	}
	for _, path := range segments {
		if err := copyFile(filepath.Join(dir, filepath.Base(path)), path); err != nil {
			return nil, err
		}
	}
	return &txn.RestoreLog{FS: vfs.Default, Dir: dir, Keys: keys}, nil
}

func copyFile(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
