// Package statedir knows what lies in an SFU's state directory, and under which keys.
//
//	node.keys   the keys of this SFU's journal and store, under its store.key; node.keys.copy
//	            is the same again
//	journal/    rrts/journal, with the raft log
//	store/      comps/txn/store, on sealed pages
//	marker/     of a witness in the place of store/: comps/txn/marker, likewise
//
// rrtsd runs on it; rrts restores into an empty one and audits one whose SFU is
// stopped.
package statedir

import (
	"crypto/rand"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/marker"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/journal/keyring"
)

// Journal is the directory of the journal.
func Journal(stateDir string) string { return filepath.Join(stateDir, "journal") }

func keysFile(stateDir string) string { return filepath.Join(stateDir, "node.keys") }

// LoadKeys returns the keys of journal and store. The error wraps fs.ErrNotExist where
// there are none.
func LoadKeys(stateDir string, secret config.Key) (*Keys, error) {
	ring, err := keyring.Load(vfs.Default, keysFile(stateDir), secret[:])
	return keysOf(stateDir, secret, ring, err)
}

// NewKeys makes the keys of journal and store, once in an SFU's life: what was sealed
// under lost keys is lost.
func NewKeys(stateDir string, secret config.Key) (*Keys, error) {
	ring, err := keyring.New(rand.Reader)
	if err == nil {
		err = keyring.Save(vfs.Default, keysFile(stateDir), ring, secret[:], rand.Reader)
	}
	return keysOf(stateDir, secret, ring, err)
}

func keysOf(stateDir string, secret config.Key, ring *keyring.Ring, err error) (*Keys, error) {
	if err != nil {
		return nil, fmt.Errorf("the keys of journal and store: %w", err)
	}
	k := &Keys{stateDir: stateDir, secret: secret}
	k.Set(ring)
	return k, nil
}

// Store says where the store is: on disk, under keys.
func Store(stateDir string, disk vfs.FS, keys *Keys) store.Config {
	dir := filepath.Join(stateDir, "store")
	return store.Config{Dir: dir, FS: keys.seal(disk, dir)}
}

// Marker opens what a witness keeps, on disk, under keys.
func Marker(stateDir string, disk vfs.FS, keys *Keys) (*marker.File, error) {
	dir := filepath.Join(stateDir, "marker")
	return marker.Open(keys.seal(disk, dir), dir)
}
