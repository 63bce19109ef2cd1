package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tmpSuffix marks the file that Save writes before it takes its name, and copySuffix
// the second copy: without its keys all that a node holds is lost.
const (
	tmpSuffix  = ".tmp"
	copySuffix = ".copy"
)

// Save replaces the file at path by the sealed ring, and then its copy beside it: when
// it returns nil both are durable; when it fails or the machine does, the old or the
// new one stands in each whole.
func Save(files vfs.FS, path string, r *Ring, master []byte, rand io.Reader) error {
	sealed, err := r.Seal(master, rand)
	if err != nil {
		return err
	}
	for _, path := range [...]string{path, path + copySuffix} {
		if err := save(files, path, sealed); err != nil {
			return fmt.Errorf("keyring: save %s: %w", path, err)
		}
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

// Load reads what Save wrote. A copy that is missing, or has rotted, or is older, is
// written anew from the other one. It answers fs.ErrNotExist when there is no file.
func Load(files vfs.FS, path string, master []byte) (*Ring, error) {
	r, sealed, err := load(files, path, master)
	copied, other, copyErr := load(files, path+copySuffix, master)
	// What cannot be written now, on a full disk, is written by the next Load.
	switch {
	case err != nil && copyErr == nil:
		_ = save(files, path, other)
		return copied, nil
	case err != nil:
		return nil, err
	case !bytes.Equal(sealed, other):
		_ = save(files, path+copySuffix, sealed)
	}
	return r, nil
}

// load reads one copy, and returns its bytes, too.
func load(files vfs.FS, path string, master []byte) (*Ring, []byte, error) {
	f, err := files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("keyring: %s: %w", path, fs.ErrNotExist)
	} else if err != nil {
		return nil, nil, fmt.Errorf("keyring: %w", err)
	}
	defer f.Close()
	sealed, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("keyring: read %s: %w", path, err)
	}
	r, err := Open(master, sealed)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s", err, path)
	}
	return r, sealed, nil
}
