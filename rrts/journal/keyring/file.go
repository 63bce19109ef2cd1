package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tmpSuffix marks the file that Save writes before it takes its name.
const tmpSuffix = ".tmp"

// Save replaces the file at path by the sealed ring: when it returns nil the
// new file is durable; when it fails or the machine does, the old or the new one
// stands there whole.
func Save(files vfs.FS, path string, r *Ring, master []byte, rand io.Reader) error {
	sealed, err := r.Seal(master, rand)
	if err != nil {
		return err
	}
	if err := save(files, path, sealed); err != nil {
		return fmt.Errorf("keyring: save %s: %w", path, err)
	}
	return nil
}

func save(files vfs.FS, path string, sealed []byte) error {
	tmp := path + tmpSuffix
	f, err := files.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(sealed); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, files.Remove(tmp))
	}
	if err := files.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := files.OpenDir(files.PathDir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Load reads what Save wrote. It answers fs.ErrNotExist when there is no file.
func Load(files vfs.FS, path string, master []byte) (*Ring, error) {
	f, err := files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keyring: %s: %w", path, fs.ErrNotExist)
	} else if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	defer f.Close()
	sealed, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("keyring: read %s: %w", path, err)
	}
	r, err := Open(master, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	return r, nil
}
