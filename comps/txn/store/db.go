package store

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/idmap"
	"virtualservicesinc.com/comps/ledger/recent"
)

// Config describes a store.
type Config struct {
	// Dir holds the store and nothing else; it is made if need be.
	Dir string
	// FS is the file system that Dir is on; nil means the machine's own.
	FS vfs.FS
	// Group is the transaction group's number; 0 means 1.
	Group uint16
	// CacheBytes bounds the memory for rows that were read; 0 means 64 MiB.
	CacheBytes int64
	// Log takes the store's lines; nil means none.
	Log *slog.Logger

	settleEvents int // set by tests; see defaultSettleEvents
}

const (
	defaultCacheBytes = 64 << 20
	// defaultSettleEvents is how many events the overlay gathers before it is
	// settled: enough that a busy account is written once for hundreds of its
	// transfers; a restart reads twice as many in a tenth of a second.
	defaultSettleEvents = 65_536
	// maxUnsettled bounds the overlay, in multiples of settleEvents, when settling
	// does not keep up: beyond it Commit waits.
	maxUnsettled = 4
	// recentTxns is how many ids of transactions are known without reading, twice
	// as many at other times: every new transaction asks whether its id was used.
	recentTxns = 32_768
)

func (c *Config) validate() error {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Group == 0 {
		c.Group = 1
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = defaultCacheBytes
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.settleEvents == 0 {
		c.settleEvents = defaultSettleEvents
	}
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("store: Dir is missing"))
	}
	if c.CacheBytes < 0 {
		faults = append(faults, fmt.Errorf("store: CacheBytes is %d, must not be negative", c.CacheBytes))
	}
	return errors.Join(faults...)
}

// DB is the Store on disk.
type DB struct {
	keys
	cfg     Config
	lock    *pebble.Lock
	marker  *atomicfs.Marker
	current string // name of the directory that counts
	restore *restore
	damage  string // why the rows in it are not open; see OpenDamaged

	// Of the apply thread alone.
	batch     commitBatch
	lifetimes map[uint64]uint64 // hour of ids → hour after which they may go
	swept     uint64            // hour at which lifetimes were looked through
	sums      sums              // but for its part settled
	due       uint64            // no pending transfer expires before it
	cached    blockCache

	// Of the background alone, as sums.settled is.
	hashes    hashes
	transfers []idmap.Entry[uint64] // reused

	// swap is held for reading by what uses db beside the apply thread without a
	// view or snapshot, and for writing while Switch replaces it.
	swap sync.RWMutex
	// stale says that a flush has ended since durable was read.
	stale   atomic.Bool
	durable atomic.Uint64

	indexing sync.Mutex // guards writing the index, and indexed
	indexed  [2]uint64  // by ledger.Set: timestamp up to which its index reaches

	// unindexed counts the events since Open less those that were indexed since.
	unindexed atomic.Int64

	wake    chan struct{} // capacity 1: there is something to settle
	stop    chan struct{}
	stopped sync.WaitGroup

	// gate is held by a Commit from its first visible row to its last, and while a
	// consistent state is taken. It comes before mu.
	gate sync.Mutex

	mu         sync.RWMutex // guards what is below
	settled    sync.Cond    // of mu: old has become nil
	db         *pebble.DB
	young, old *overlay // old is being settled; nil when none is
	spare      *overlay
	applied    uint64
	txns       recent.Window[struct{}] // transactions that have a row
	commits    uint64                  // counts Commits since Open: tells an idle store
	lastEvent  uint64                  // timestamps of the newest event and account
	lastBorn   uint64
}

var _ Store = (*DB)(nil)

// markerName is the name of the marker that names the directory that counts.
const markerName = "rows"

// Open opens the store in cfg.Dir, making it if there is none. One process at a
// time may have it open.
func Open(cfg Config) (*DB, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := newDB(cfg)
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.release())
	}
	d.stopped.Go(d.background)
	return d, nil
}

func newDB(cfg Config) *DB {
	d := &DB{
		keys: keys{cfg.Group}, cfg: cfg,
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	d.settled.L = &d.mu
	return d
}

// open does all of Open but start the background.
func (d *DB) open() error {
	if err := d.locate(); err != nil {
		return err
	}
	if d.current == "" {
		d.current = dirName(1)
		if err := d.make(d.current); err != nil {
			return err
		}
		if err := d.marker.Move(d.current); err != nil {
			return fmt.Errorf("store: %s: %w", d.cfg.Dir, err)
		}
	}
	if err := d.sweepDirs(); err != nil {
		return err
	}
	return d.load()
}

// locate takes the lock and finds the directory that counts.
func (d *DB) locate() (err error) {
	fs, dir := d.cfg.FS, d.cfg.Dir
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := syncDir(fs, fs.PathDir(dir)); err != nil {
		return err
	}
	if d.lock, err = pebble.LockDirectory(dir, fs); err != nil {
		return fmt.Errorf("store: %s is in use: %w", dir, err)
	}
	if d.marker, d.current, err = atomicfs.LocateMarker(fs, dir, markerName); err != nil {
		return fmt.Errorf("store: %s: %w", dir, err)
	}
	return nil
}

// load opens the rows of d.current and reads what is kept in memory.
func (d *DB) load() error {
	db, err := openPebble(&d.cfg, path.Join(d.cfg.Dir, d.current), false, func() { d.stale.Store(true) })
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.db = db
	d.young, d.old, d.spare = &overlay{}, nil, nil
	d.cached = blockCache{}
	d.batch = commitBatch{key: make([]byte, 0, maxKeyLen), value: make([]byte, 0, blockBytes)}
	d.due, d.swept = 0, 0
	d.hashes = hashes{}
	var fault error
	err = caught(func() {
		r := d.rows()
		fault = d.loadSums(r)
		d.applied = r.applied()
		d.lastBorn, d.lastEvent = r.last(tableBirths), r.lastEvent()
		d.lifetimes = r.lifetimes()
		d.txns.Load(r.txnIDs, recentTxns)
		d.indexed = [2]uint64{r.indexed(ledger.Accounts), r.indexed(ledger.Transfers)}
		d.unsettled(r)
		d.unindexed.Store(0)
		d.durable.Store(d.applied) // nothing but files was there to read
	})
	return errors.Join(err, fault)
}

// rows reads what is settled now.
func (d *DB) rows() rows { return rows{d.keys, d.db} }

// Close releases the store's files. It does not flush: what was not flushed is
// gone, as after a crash. Views and snapshots must have been closed. A second
// Close does nothing.
func (d *DB) Close() error {
	select {
	case <-d.stop: // a failed switch has stopped it
	default:
		close(d.stop)
	}
	d.stopped.Wait()
	var err error
	if d.restore != nil {
		err = d.restore.Abandon()
	}
	return errors.Join(err, d.release())
}

func (d *DB) release() error {
	var faults []error
	if d.db != nil {
		faults = append(faults, d.db.Close())
		d.db = nil
	}
	if d.marker != nil {
		faults = append(faults, d.marker.Close())
		d.marker = nil
	}
	if d.lock != nil {
		faults = append(faults, d.lock.Close())
		d.lock = nil
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("store: closing: %w", err)
	}
	return nil
}

// Applied implements State.
func (d *DB) Applied() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.applied
}

// Flush implements State.
func (d *DB) Flush() error {
	d.swap.RLock()
	defer d.swap.RUnlock()
	if d.damage != "" {
		return nil
	}
	if err := d.db.Flush(); err != nil {
		return fmt.Errorf("store: flush: %w", err)
	}
	d.stale.Store(true)
	return nil
}

// Flushed implements State.
func (d *DB) Flushed() uint64 {
	d.swap.RLock()
	defer d.swap.RUnlock()
	if d.stale.CompareAndSwap(true, false) {
		from := d.table(nil, tableState)
		it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: append(from, 0), OnlyReadGuaranteedDurable: true})
		if err != nil {
			fail("the durable state row", err)
		}
		defer finish("the durable state row", it)
		if it.First() {
			applied, err := parseState(valueOf("the durable state row", it))
			if err != nil {
				fail("the durable state row", err)
			}
			d.durable.Store(applied)
		}
	}
	return d.durable.Load()
}

// Metrics are figures of the store.
type Metrics struct {
	DiskBytes     uint64 // of all its files
	MemTableBytes uint64 // gathered and not flushed
	CacheBytes    int64
	CacheHits     int64
	CacheMisses   int64
	Compacting    int64 // compactions under way
	Unsettled     int   // rows that the overlay stands for
	ReadAmp       int   // files that a read may have to look at
}

// Metrics returns the store's figures.
func (d *DB) Metrics() Metrics {
	d.swap.RLock()
	defer d.swap.RUnlock()
	m := d.db.Metrics()
	d.mu.RLock()
	defer d.mu.RUnlock()
	unsettled := d.young.size()
	if d.old != nil {
		unsettled += d.old.size()
	}
	return Metrics{
		DiskBytes: m.DiskSpaceUsage(), MemTableBytes: m.MemTable.Size,
		CacheBytes: m.BlockCache.Size, CacheHits: m.BlockCache.Hits, CacheMisses: m.BlockCache.Misses,
		Compacting: m.Compact.NumInProgress, Unsettled: unsettled, ReadAmp: m.ReadAmp(),
	}
}
