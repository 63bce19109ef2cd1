package quarantine

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Store keeps Records. It is safe for concurrent use.
type Store interface {
	// Put keeps r under id; when it returns, the Record is on disk.
	Put(id string, r *Record) error
	// Get returns the Record, or an error that is fs.ErrNotExist.
	Get(id string) (*Record, error)
	// List returns the ids of all Records in order.
	List() ([]string, error)
	// Delete removes a Record; to remove one that is not there is no error.
	Delete(id string) error
}

const (
	magic     = "RRQ1"
	suffix    = ".held"
	nonceSize = 12
	// maxFile bounds what is read: the longest request there can be (64 MiB, the
	// largest max_bytes) with everything around it.
	maxFile = 65 << 20
)

// ErrSealed says that a file is damaged, or sealed under another key or name.
var ErrSealed = errors.New("quarantine: cannot be opened")

// Dir is a Store in a directory.
type Dir struct {
	path string
	aead cipher.AEAD
	rand io.Reader
}

var _ Store = (*Dir)(nil)

// NewDir returns the Store in the directory at path, which it makes if need be. key
// is 32 bytes; rand gives the nonces: crypto/rand.Reader outside of tests.
func NewDir(path string, key []byte, rand io.Reader) (*Dir, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("quarantine: a key of %d bytes must be 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	return &Dir{path: path, aead: aead, rand: rand}, nil
}

func (d *Dir) file(id string) (string, error) {
	if !validID(id) {
		return "", fmt.Errorf("quarantine: %q is not an id: %w", id, fs.ErrNotExist)
	}
	return filepath.Join(d.path, id+suffix), nil
}

// Put implements Store.
func (d *Dir) Put(id string, r *Record) error {
	name, err := d.file(id)
	if err != nil {
		return err
	}
	b := make([]byte, len(magic)+nonceSize)
	copy(b, magic)
	nonce := b[len(magic):]
	if _, err := io.ReadFull(d.rand, nonce); err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	b = d.aead.Seal(b, nonce, r.AppendTo(nil), []byte(magic+id))
	if err := writeSynced(name, b); err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	return syncDir(d.path)
}

// writeSynced puts b under name whole or not at all.
func writeSynced(name string, b []byte) (err error) {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(name+".new"))
	}
	return os.Rename(name+".new", name)
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements Store.
func (d *Dir) Get(id string) (*Record, error) {
	name, err := d.file(id)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	if len(b) < len(magic)+nonceSize || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: %s", ErrSealed, name)
	}
	nonce, sealed := b[len(magic):len(magic)+nonceSize], b[len(magic)+nonceSize:]
	plain, err := d.aead.Open(nil, nonce, sealed, []byte(magic+id))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrSealed, name)
	}
	r := new(Record)
	return r, r.Parse(plain)
}

// List implements Store.
func (d *Dir) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, held := strings.CutSuffix(e.Name(), suffix); held && validID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil // ReadDir sorts
}

// Delete implements Store.
func (d *Dir) Delete(id string) error {
	name, err := d.file(id)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("quarantine: %w", err)
	}
	return syncDir(d.path)
}

// Memory is a Store that a restart of the process empties. The zero value is ready.
type Memory struct {
	mu   sync.Mutex
	held map[string][]byte
}

var _ Store = (*Memory)(nil)

// Put implements Store.
func (m *Memory) Put(id string, r *Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held == nil {
		m.held = make(map[string][]byte)
	}
	m.held[id] = r.AppendTo(nil)
	return nil
}

// Get implements Store.
func (m *Memory) Get(id string) (*Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.held[id]
	if !ok {
		return nil, fmt.Errorf("quarantine: %s: %w", id, fs.ErrNotExist)
	}
	r := new(Record)
	return r, r.Parse(bytes.Clone(b))
}

// List implements Store.
func (m *Memory) List() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := make([]string, 0, len(m.held))
	for id := range m.held {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// Delete implements Store.
func (m *Memory) Delete(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, id)
	return nil
}
