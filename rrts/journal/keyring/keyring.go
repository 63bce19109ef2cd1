// Package keyring holds the node keys: 256-bit keys with ids, of which one is
// current. New files are sealed under the current one, older ones open what was
// sealed before. The ring lies on the disk sealed under a master secret, which the
// service manager hands to the process and which never touches the disk in clear.
package keyring

import (
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Ring is an immutable set of keys. Rotation makes a new ring.
type Ring struct{}

// New returns a ring of one fresh key with id 1.
func New(rand io.Reader) (*Ring, error) { return nil, errors.ErrUnsupported }

// Rotate returns a ring with one fresh key more, which is current in it.
func (r *Ring) Rotate(rand io.Reader) (*Ring, error) { return nil, errors.ErrUnsupported }

// Without returns a ring without the keys of these ids. The current key stays
// whatever ids says.
func (r *Ring) Without(ids ...uint32) *Ring { return nil }

// Current is the key that new files are sealed under.
func (r *Ring) Current() (id uint32, key [32]byte) { return 0, key }

// Key is the key of that id.
func (r *Ring) Key(id uint32) (key [32]byte, ok bool) { return key, false }

// IDs lists the ids of the keys in rising order.
func (r *Ring) IDs() []uint32 { return nil }

// Seal returns the ring's file form, sealed under the master secret.
func (r *Ring) Seal(master []byte, rand io.Reader) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Open opens what Seal made. It answers ErrSealed for a wrong secret and for a
// changed file alike.
func Open(master, sealed []byte) (*Ring, error) { return nil, errors.ErrUnsupported }

// Save replaces the file at path by the sealed ring: it stands there whole and
// durable, or the old one does.
func Save(fs vfs.FS, path string, r *Ring, master []byte, rand io.Reader) error {
	return errors.ErrUnsupported
}

// Load reads what Save wrote.
func Load(fs vfs.FS, path string, master []byte) (*Ring, error) {
	return nil, errors.ErrUnsupported
}

// ErrSealed says that a ring's file does not open: it is not one, it was
// changed, or the master secret is another.
var ErrSealed = errors.New("keyring: file does not open under this master secret")
