package statedir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/comps/txn/store/sealfs"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/journal/keyring"
)

// Keys are the keys of an SFU's journal and store, which may change while both are in
// use: a fresh one is made and becomes current (Begin), what is sealed under older ones is
// sealed anew (Reseal, and the journal's own), and then these are destroyed (Finish). A
// crash anywhere leaves keys that open everything, and a rotation that can go on. Begin,
// Reseal and Finish belong to one goroutine.
type Keys struct {
	keyring.Live
	stateDir string
	secret   config.Key

	disk  vfs.FS // on which the sealed files are; nil: none were opened
	files *sealfs.FS
	dir   string
}

// seal returns the file system of the sealed files in dir, which is on disk.
func (k *Keys) seal(disk vfs.FS, dir string) vfs.FS {
	k.disk, k.dir, k.files = disk, dir, sealfs.New(disk, &k.Live, rand.Reader)
	return k.files
}

// IDs are the current key's id, and those of older ones.
func (k *Keys) IDs() (current uint32, older []uint32) {
	ring := k.Ring()
	current, _ = ring.Current()
	ids := ring.IDs()
	return current, ids[:len(ids)-1] // the current key is the newest
}

// Begin adds a fresh key, durably, under which everything new is sealed from then on.
func (k *Keys) Begin() error {
	next, err := k.Ring().Rotate(rand.Reader)
	if err != nil {
		return err
	}
	return k.replace(next)
}

// Finish destroys all keys but the current one. What is sealed under them is lost.
func (k *Keys) Finish() error {
	_, older := k.IDs()
	return k.replace(k.Ring().Without(older...))
}

func (k *Keys) replace(ring *keyring.Ring) error {
	if err := keyring.Save(vfs.Default, keysFile(k.stateDir), ring, k.secret[:], rand.Reader); err != nil {
		return err
	}
	k.Set(ring)
	return nil
}

// Reseal seals all files of the store under the current key, and says of how many that
// was so. It may work meanwhile.
func (k *Keys) Reseal() (files int, err error) {
	if k.files == nil {
		return 0, errors.New("statedir: no store was opened under these keys")
	}
	for {
		n, err := k.reseal(k.dir)
		files += n
		// A file that was renamed under the walk may have been missed: once more.
		if n == 0 || err != nil {
			return files, err
		}
	}
}

// reseal does it in dir and below.
func (k *Keys) reseal(dir string) (files int, err error) {
	files, err = k.files.Rewrap(dir)
	if err == nil {
		err = k.below(dir, func(sub string) error {
			n, err := k.reseal(sub)
			files += n
			return err
		})
	}
	if errors.Is(err, fs.ErrNotExist) { // the store removes what it has replaced
		err = nil
	}
	return files, err
}

// below calls f for the directories in dir.
func (k *Keys) below(dir string, f func(string) error) error {
	names, err := k.disk.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, store.DamagedPrefix) {
			continue // it may not open, and is not needed
		}
		path := filepath.Join(dir, name)
		info, err := k.disk.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && info.IsDir() {
			err = f(path)
		}
		if err != nil {
			return fmt.Errorf("statedir: %w", err)
		}
	}
	return nil
}
