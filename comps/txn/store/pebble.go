package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

const (
	// memTableBytes is what gathers in memory before it becomes a file: some
	// seconds of full load, and what a restart applies again at most.
	memTableBytes = 32 << 20
	// maxMemTables bounds the memory of a store whose disk cannot keep up: beyond
	// it Commit waits.
	maxMemTables = 4
	// gatheringBytes is what gathers at most while the disk keeps up: one table that fills
	// and one that is being written. Pebble takes what gathers out of its block cache: a
	// cache that is no larger than that holds nothing at all while there is work.
	gatheringBytes = 2 * memTableBytes
	// blockBytes is the unit of reading: a history block and its neighbours.
	blockBytes = 8 << 10
	// filterBits per key keep the search for an id that is new off the disk, all
	// but once in a hundred.
	filterBits = 10
	// tableBytes is the size of a file of rows. Its filter is read and kept as a
	// whole: of a larger file it would push out of the cache what it should save.
	tableBytes = 8 << 20
	// maxOpenFiles bounds open table files.
	maxOpenFiles = 500
)

// openPebble opens the Pebble store in dir.
func openPebble(cfg *Config, dir string, readOnly bool, flushed func()) (*pebble.DB, error) {
	opts := &pebble.Options{
		FS:                          cfg.FS,
		ReadOnly:                    readOnly,
		DisableWAL:                  true,
		CacheSize:                   cfg.CacheBytes + gatheringBytes,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: maxMemTables,
		MaxOpenFiles:                maxOpenFiles,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      logger{cfg.Log},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { cfg.Log.Error("store: in the background", "error", err) },
			// Whoever reads it hears of it: that ends no process.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				cfg.Log.Error("store: a file does not read back as it was written", "path", i.Path, "error", i.Details)
			},
			FlushEnd: func(pebble.FlushInfo) { flushed() },
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
				cfg.Log.Warn("store: the disk does not keep up, commits wait", "reason", i.Reason)
			},
		},
	}
	opts.Experimental.CompactionScheduler = &compactions{}
	for i := range opts.Levels {
		l := &opts.Levels[i]
		l.BlockSize = blockBytes
		l.FilterPolicy = bloom.FilterPolicy(filterBits)
		l.FilterType = pebble.TableFilter
		// Rows are mostly ids: compression saved a tenth of the disk and cost a tenth
		// of the processor.
		l.Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		opts.TargetFileSizes[i] = tableBytes
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, openError(dir, err)
	}
	return db, nil
}

// logger hands Pebble's own lines to slog.
type logger struct{ log *slog.Logger }

func (l logger) line(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "store: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

func (l logger) Infof(format string, args ...any)  { l.line(slog.LevelDebug, format, args) }
func (l logger) Errorf(format string, args ...any) { l.line(slog.LevelError, format, args) }

// Fatalf ends the process, as Pebble expects: its files are in doubt.
func (l logger) Fatalf(format string, args ...any) {
	l.line(slog.LevelError, format, args)
	panic(fmt.Sprintf("store: "+format, args...))
}
