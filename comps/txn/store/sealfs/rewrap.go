package sealfs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Rewrap seals the keys of the files in dir, but not below it, under the ring's
// current key, and says of how many. When it returns nil no file there needs any other
// key, and an older one may leave the ring. The store may work meanwhile.
//
// One of a file's two headers is good at any moment, also of a crash.
func (f *FS) Rewrap(dir string) (files int, err error) {
	// Files that are being created under the former key have their header when this is passed.
	f.creating.Lock()
	current, _ := f.keys.Current()
	f.creating.Unlock()

	names, err := f.inner.List(dir)
	if err != nil {
		return 0, err
	}
	slices.Sort(names)
	for _, name := range names {
		done, err := f.rewrapFile(f.inner.PathJoin(dir, name), current)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have been removed
			return files, fmt.Errorf("sealfs: rewrap %s: %w", name, err)
		}
		if done {
			files++
		}
	}
	return files, nil
}

func (f *FS) rewrapFile(path string, current uint32) (done bool, err error) {
	info, err := f.inner.Stat(path)
	if err != nil || info.IsDir() || info.Size() < dataStart {
		return false, err // a lock, or a file that never came to its header
	}
	b, err := f.headers(path)
	if err != nil {
		return false, err
	}
	first, key, err1 := f.unwrap(b[:pageBytes])
	second, key2, err2 := f.unwrap(b[pageBytes:])
	switch {
	case err1 != nil && err2 != nil:
		if errors.Is(err1, ErrCorrupt) && info.Size() <= dataStart {
			return false, nil
		}
		return false, err1
	case err1 == nil && err2 == nil && first == current && second == current:
		return false, nil
	}
	order := []int64{pageBytes, 0}
	if err1 != nil { // the good copy goes last
		order, key = []int64{0, pageBytes}, key2
	}
	header, err := f.wrap(key)
	if err != nil {
		return false, err
	}
	file, err := f.inner.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return false, err
	}
	for _, off := range order {
		if _, err = file.WriteAt(slices.Clone(header), off); err == nil {
			err = file.SyncData()
		}
		if err != nil {
			break
		}
	}
	return err == nil, errors.Join(err, file.Close())
}

// headers reads both copies of a file's header.
func (f *FS) headers(path string) ([]byte, error) {
	file, err := f.inner.Open(path)
	if err != nil {
		return nil, err
	}
	b := readHeaders(file)
	return b, file.Close()
}
