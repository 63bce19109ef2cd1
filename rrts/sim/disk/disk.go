// Package disk is a simulated disk with a file system, for tests: memory that
// forgets like a disk does, from a seed.
//
//	d := disk.New(disk.Config{RNG: rand.New(rand.NewPCG(seed, 0))})
//	run(d)    // d is a vfs.FS
//	d.Crash() // the power fails: open handles are dead, what was not synced survives in parts
//	run(d)
//
// What it promises after a crash:
//
//   - A sector of 512 bytes that a sync covered, and that was not written since, holds what it held.
//   - Every other sector holds what it held at the last sync, or what was written
//     last, or the front of the one and the back of the other. Sectors decide
//     apart from each other.
//   - A file's growth that no sync covered may be lost, whole or in part.
//   - A directory is as at its last sync, with any subset of the later creations, removals
//     and renames on top, in their order. A rename inside of one directory is atomic.
//     Config.Ordered promises more.
//   - A failed sync has written nothing and cleaned its pages, as Linux does: a later sync that
//     succeeds does not cover them.
//
// It also rots: bits flip, ranges turn to noise, sectors answer EIO. It runs full
// at a set capacity, and Before makes any operation slow or failing.
//
// Equal seeds and equal operations give equal disks: nothing depends on map order,
// on the clock or on goroutines, as long as the caller's own operations come in one order.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// SectorBytes is the unit that survives or is lost as one, torn apart.
const SectorBytes = 512

// Config says how a disk behaves.
type Config struct {
	// RNG decides what survives a crash. Required.
	RNG *rand.Rand

	// CapacityBytes is how much the files may hold together; 0 means no bound.
	CapacityBytes int64

	// Ordered makes the changes of a directory survive in their order, and the sync of a
	// file its name too, as ext4, XFS and btrfs have it. POSIX promises neither, and the
	// journal needs neither; Pebble does: it makes a manifest, then the marker that names
	// it, then removes the former marker, and syncs the directory only then.
	Ordered bool
}

// OpKind is the kind of an operation that Before hears of.
type OpKind uint8

const (
	OpCreate OpKind = iota + 1
	OpOpen
	OpRemove
	OpRename
	OpRead
	OpWrite
	OpSync
	OpSyncDir
)

var opNames = [...]string{"", "create", "open", "remove", "rename", "read", "write", "sync", "syncdir"}

func (k OpKind) String() string { return opNames[k] }

// Op is one operation on the disk.
type Op struct {
	Kind   OpKind
	Name   string // path of the file or directory; of a rename, the new one
	Offset int64  // of reads and writes, in bytes
	Bytes  int    // length of reads and writes; for a sync, what is dirty
}

// Disk is a simulated disk. It implements vfs.FS and is safe for concurrent use.
type Disk struct {
	cfg Config

	mu       sync.Mutex
	root     *node
	used     int64
	capacity int64
	hook     func(Op) error
	life     int // rises with each crash; handles of an earlier life are dead
	locks    map[string]bool
}

var _ vfs.FS = (*Disk)(nil)

// ErrPower, returned by a Before function, says that the power is off: the
// operation has no effect, and what it should have made durable may still have been, or not.
// Crash comes next.
var ErrPower = errors.New("disk: the power is off")

// ErrDead answers every use of a handle from before a crash.
var ErrDead = errors.New("disk: handle is from before the crash")

// New returns an empty disk.
func New(cfg Config) *Disk {
	if cfg.RNG == nil {
		panic("disk: Config.RNG is required")
	}
	return &Disk{cfg: cfg, root: newDir(), capacity: cfg.CapacityBytes, locks: make(map[string]bool)}
}

// node is a file or a directory.
type node struct {
	links int // names in current directories, and living handles

	// Of a file: data is what a reader sees. For each sector written since the
	// last sync, dirty holds what the platter has; stuck likewise for sectors that a failed sync
	// forgot. platter is the length that the platter knows.
	data    []byte
	platter int64
	dirty   map[int64][]byte
	stuck   map[int64][]byte
	bad     map[int64]bool // sectors that answer EIO

	// Of a directory: children as seen, synced as on the platter, and what
	// happened since.
	children map[string]*node
	synced   map[string]*node
	pending  []dirOp
}

// dirOp is one change of a directory: a name given (from is empty), a name
// taken (to is empty), or both at once.
type dirOp struct {
	from, to string
	n        *node
}

func newDir() *node {
	return &node{children: make(map[string]*node), synced: make(map[string]*node)}
}

func newFile() *node {
	return &node{dirty: make(map[int64][]byte), stuck: make(map[int64][]byte), bad: make(map[int64]bool)}
}

func (n *node) isDir() bool { return n.children != nil }

func (n *node) change(op dirOp) {
	apply(n.children, op)
	n.pending = append(n.pending, op)
}

func apply(children map[string]*node, op dirOp) {
	if op.from != "" && children[op.from] == op.n {
		delete(children, op.from)
	}
	if op.to != "" {
		children[op.to] = op.n
	}
}

// Crash cuts the power. Handles and locks die; the disk is what survived.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
	d.locks = make(map[string]bool)
	// One crash in four each: nothing unsynced survived, all of it, most, half.
	odds := [...]float64{0, 1, 0.9, 0.5}[d.cfg.RNG.IntN(4)]
	d.crashNode(d.root, odds, make(map[*node]bool))
	d.used = 0
	d.recountLocked(d.root, make(map[*node]bool))
}

// recountLocked counts names and bytes anew, when no handle is alive.
func (d *Disk) recountLocked(n *node, seen map[*node]bool) {
	if !seen[n] {
		seen[n] = true
		n.links = 0
		d.used += int64(len(n.data))
		for _, child := range n.children {
			d.recountLocked(child, seen)
		}
	}
	n.links++
}

func (d *Disk) crashNode(n *node, odds float64, seen map[*node]bool) {
	if seen[n] {
		return // another name of the same file
	}
	seen[n] = true
	if !n.isDir() {
		d.crashFile(n, odds)
		return
	}
	for _, op := range n.pending {
		if d.cfg.RNG.Float64() < odds {
			apply(n.synced, op)
		} else if d.cfg.Ordered {
			break
		}
	}
	n.pending = nil
	n.children = make(map[string]*node, len(n.synced))
	for _, name := range sortedKeys(n.synced) {
		n.children[name] = n.synced[name]
		d.crashNode(n.synced[name], odds, seen)
	}
}

func (d *Disk) crashFile(n *node, odds float64) {
	for s, old := range n.stuck {
		now := n.data[s*SectorBytes : min((s+1)*SectorBytes, int64(len(n.data)))]
		clear(now[copy(now, old):])
	}
	size := int64(len(n.data))
	if size > n.platter && d.cfg.RNG.Float64() >= odds {
		size = n.platter + d.cfg.RNG.Int64N(size-n.platter)
	}
	for _, s := range sortedKeys(n.dirty) {
		old := n.dirty[s]
		now := n.data[s*SectorBytes : min((s+1)*SectorBytes, int64(len(n.data)))]
		old = append(old, make([]byte, len(now)-len(old))...)
		switch r := d.cfg.RNG.Float64(); {
		case r < odds: // it was written in time
		case d.cfg.RNG.IntN(8) == 0: // it was being written
			cut := d.cfg.RNG.IntN(len(now) + 1)
			copy(now[cut:], old[cut:])
		default:
			copy(now, old)
		}
	}
	n.data = n.data[:size:size]
	n.settle()
	clear(n.stuck)
}

// nameLocked makes the names of a file durable, with all that came before them in
// their directories.
func nameLocked(dir, file *node) {
	for i := len(dir.pending) - 1; i >= 0; i-- {
		if op := dir.pending[i]; op.n == file && op.to != "" {
			for _, op := range dir.pending[:i+1] {
				apply(dir.synced, op)
			}
			dir.pending = dir.pending[i+1:]
			break
		}
	}
	for _, child := range dir.children {
		if child.isDir() {
			nameLocked(child, file)
		}
	}
}

// settle makes what a reader sees what the platter holds.
func (n *node) settle() {
	clear(n.dirty)
	n.platter = int64(len(n.data))
}

// CrashClone returns disks that hold what these would if the power of all of them failed
// now, at one moment, as rng decides. These go on: who uses them need not end for what is
// left to be looked at.
func CrashClone(rng *rand.Rand, disks ...*Disk) []*Disk {
	for _, d := range disks {
		d.mu.Lock()
	}
	var left []*Disk
	for _, d := range disks {
		c := New(Config{RNG: rng, CapacityBytes: d.capacity, Ordered: d.cfg.Ordered})
		c.root = d.root.clone(make(map[*node]*node))
		left = append(left, c)
	}
	for _, d := range disks {
		d.mu.Unlock()
	}
	for _, c := range left {
		c.Crash()
		c.cfg.RNG = rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())) // each may have its own users
	}
	return left
}

// clone copies a file or a directory with what is below it; copies has what was copied
// under another name.
func (n *node) clone(copies map[*node]*node) *node {
	if c := copies[n]; c != nil {
		return c
	}
	if !n.isDir() {
		c := newFile()
		copies[n] = c
		c.data, c.platter = slices.Clone(n.data), n.platter
		for s, old := range n.dirty {
			c.dirty[s] = slices.Clone(old)
		}
		for s, old := range n.stuck {
			c.stuck[s] = slices.Clone(old)
		}
		maps.Copy(c.bad, n.bad)
		return c
	}
	c := newDir()
	copies[n] = c
	for name, child := range n.children {
		c.children[name] = child.clone(copies)
	}
	for name, child := range n.synced {
		c.synced[name] = child.clone(copies)
	}
	for _, op := range n.pending {
		op.n = op.n.clone(copies)
		c.pending = append(c.pending, op)
	}
	return c
}

// Kill ends the process that used the disk, and not the power: handles and locks
// die, and everything written stays, synced or not.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
	d.locks = make(map[string]bool)
	d.used = 0
	d.recountLocked(d.root, make(map[*node]bool))
}

// Before makes f run before each operation, outside of the disk's lock; nil ends
// it. f may wait on a virtual clock, and an error it returns becomes the
// operation's: a failing write leaves a part of its bytes, a failing sync forgets
// what it should have made durable.
func (d *Disk) Before(f func(Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = f
}

// SetCapacity changes the capacity in bytes; 0 means no bound.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Used is how much the files hold together, in bytes.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used
}

// Rot xors noise into n bytes of the file from off on, on the platter as well as for
// readers: each byte changes.
func (d *Disk) Rot(name string, off int64, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rotLocked(name, off, n, func(b byte) byte { return b ^ byte(1+d.cfg.RNG.IntN(255)) })
}

// Zero overwrites n bytes of the file from off on with zeros, as Rot does with noise.
func (d *Disk) Zero(name string, off int64, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rotLocked(name, off, n, func(byte) byte { return 0 })
}

// FlipBit flips one bit of the file, likewise.
func (d *Disk) FlipBit(name string, off int64, bit uint) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rotLocked(name, off, 1, func(b byte) byte { return b ^ 1<<(bit&7) })
}

func (d *Disk) rotLocked(name string, off int64, n int, f func(byte) byte) error {
	file, err := d.fileLocked("rot", name)
	if err != nil {
		return err
	}
	if off < 0 || off+int64(n) > int64(len(file.data)) {
		return fmt.Errorf("disk: rot of %s at %d+%d: file has %d bytes", name, off, n, len(file.data))
	}
	for i := off; i < off+int64(n); i++ {
		file.data[i] = f(file.data[i])
		// The platter rots where it already holds what a reader sees.
		delete(file.dirty, i/SectorBytes)
		delete(file.stuck, i/SectorBytes)
	}
	return nil
}

// Unreadable makes the sector that holds off answer EIO to reads, until it is written.
func (d *Disk) Unreadable(name string, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	file, err := d.fileLocked("unreadable", name)
	if err != nil {
		return err
	}
	file.bad[off/SectorBytes] = true
	return nil
}

// Truncate cuts the file to size, durably: what a careless hand does to a disk.
func (d *Disk) Truncate(name string, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	file, err := d.fileLocked("truncate", name)
	if err != nil {
		return err
	}
	if size > int64(len(file.data)) {
		return fmt.Errorf("disk: truncate of %s to %d: file has %d bytes", name, size, len(file.data))
	}
	d.used -= int64(len(file.data)) - size
	file.data = file.data[:size:size]
	file.settle()
	return nil
}

func (d *Disk) before(op Op) error {
	d.mu.Lock()
	hook := d.hook
	d.mu.Unlock()
	if hook == nil {
		return nil
	}
	if err := hook(op); err != nil {
		return fmt.Errorf("disk: %s %s: %w", op.Kind, op.Name, err)
	}
	return nil
}

// walkLocked finds the directory of name and the last element of name, which
// is empty for the root.
func (d *Disk) walkLocked(op, name string) (*node, string, error) {
	dir := d.root
	clean := strings.Trim(path.Clean("/"+name), "/")
	for {
		elem, rest, more := strings.Cut(clean, "/")
		if !more {
			return dir, elem, nil
		}
		next := dir.children[elem]
		if next == nil || !next.isDir() {
			return nil, "", notExist(op, name)
		}
		dir, clean = next, rest
	}
}

func (d *Disk) findLocked(op, name string) (*node, error) {
	dir, elem, err := d.walkLocked(op, name)
	if err != nil {
		return nil, err
	}
	if elem == "" {
		return dir, nil
	}
	if n := dir.children[elem]; n != nil {
		return n, nil
	}
	return nil, notExist(op, name)
}

func (d *Disk) fileLocked(op, name string) (*node, error) {
	n, err := d.findLocked(op, name)
	if err == nil && n.isDir() {
		err = pathError(op, name, syscall.EISDIR)
	}
	return n, err
}

func (d *Disk) unlinkLocked(n *node) {
	if n.links--; n.links == 0 {
		d.used -= int64(len(n.data))
	}
}

func sortedKeys[K ~int64 | ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func notExist(op, name string) error { return pathError(op, name, fs.ErrNotExist) }
