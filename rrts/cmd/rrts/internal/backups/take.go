// Package backups takes backups from a running cluster into files, and finds them
// again.
//
// A file is complete or absent: it is written under a name of its own, read back,
// fsynced and renamed. Names end in Suffix and sort by time.
package backups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// Suffix is how a backup's name ends.
	Suffix = ".rrtsbackup"
	// partialPattern names a file that is being written.
	partialPattern = ".partial-*" + Suffix

	// partTimeout is how long an SFU may take for a part: for the first one it may
	// have to catch up, and to write rows that it keeps in memory.
	partTimeout = time.Minute
	// giveUpTimeout bounds the wait of somebody who has failed already.
	giveUpTimeout = time.Second

	modeDir fs.FileMode = 0o700
)

// Progress is how far a backup is.
type Progress struct {
	RowBytes uint64 // of the state
	Written  int64  // bytes of the file
}

// Taken is a backup that was taken.
type Taken struct {
	File string
	Info *backup.Info
}

// Take takes a backup of the state that an SFU has, at minCSN or later, to a file, or
// into a directory under a name by cluster, time and CSN. An existing file is never
// overwritten.
func Take(ctx context.Context, sfu message.Caller, minCSN uint64, to string, progress func(Progress)) (*Taken, error) {
	dir, name := filepath.Split(to)
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		dir, name = to, ""
	} else if err == nil {
		return nil, fmt.Errorf("%s exists: name another file, or a directory", to)
	}
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, partialPattern)
	if err != nil {
		return nil, fmt.Errorf("the backup's file: %w", err)
	}
	info, err := write(ctx, sfu, minCSN, f, progress)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		if name == "" {
			name = nameOf(&info.Header)
		}
		to = filepath.Join(dir, name)
		err = place(f.Name(), to)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the backup was not made: %w", err), remove(f.Name()))
	}
	return &Taken{File: to, Info: info}, nil
}

// remove takes away what was written.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// nameOf is the name of a backup by what its header says.
func nameOf(h *txnpb.BackupHeader) string {
	return fmt.Sprintf("%s-%s-csn%d%s", h.Cluster, TimeOf(h).UTC().Format("20060102T150405Z"), h.Csn, Suffix)
}

// TimeOf is when a backup was taken.
func TimeOf(h *txnpb.BackupHeader) time.Time { return time.Unix(0, int64(h.Taken)) }

// giveUp tells an SFU that nobody wants the rest of a backup. If it does not hear it,
// it gives the backup up by itself, later.
func giveUp(ctx context.Context, sfu message.Caller, backup uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpTimeout)
	defer cancel()
	_, _ = txnpb.BackupClient{Caller: sfu}.Read(ctx, &txnpb.BackupRequest{Backup: backup, GiveUp: true})
}

// write fills a file, makes it durable and reads it back.
func write(ctx context.Context, sfu message.Caller, minCSN uint64, f *os.File, progress func(Progress)) (info *backup.Info, err error) {
	in := txnpb.BackupRequest{Backup: rand.Uint64() | 1, MinCsn: minCSN}
	defer func() {
		if err != nil {
			giveUp(ctx, sfu, in.Backup)
		}
	}()
	var done Progress
	for last := false; !last; in.Part++ {
		part, err := readPart(ctx, sfu, &in)
		if err != nil {
			return nil, err
		}
		n, err := f.Write(part.Data)
		if err != nil {
			return nil, err
		}
		done.Written += int64(n)
		done.RowBytes, last = part.RowBytes, part.Last
		progress(done)
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return backup.Check(f)
}

func readPart(ctx context.Context, sfu message.Caller, in *txnpb.BackupRequest) (*txnpb.BackupPart, error) {
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	part, err := txnpb.BackupClient{Caller: sfu}.Read(ctx, in)
	if err == nil && (part.Backup != in.Backup || part.Part != in.Part) {
		err = fmt.Errorf("part %d of backup %x came instead of part %d of %x", part.Part, part.Backup, in.Part, in.Backup)
	}
	return part, err
}

// place gives a complete file its name, durably.
func place(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s exists: name another file, or a directory", to)
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Found is a backup in a directory.
type Found struct {
	File   string
	Bytes  int64
	Header *txnpb.BackupHeader
	Err    error // why the file is none
}

// List returns the backups in a directory, in the order of their names: for each
// cluster, the oldest first. It looks at their headers only.
func List(dir string) ([]Found, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Found
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != Suffix || e.Name()[0] == '.' {
			continue
		}
		b := Found{File: filepath.Join(dir, e.Name())}
		b.Header, b.Bytes, b.Err = headerOf(b.File)
		all = append(all, b)
	}
	return all, nil
}

func headerOf(path string) (*txnpb.BackupHeader, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	h, err := backup.ReadHeader(f)
	return h, info.Size(), err
}

// leastKept is how many backups of a cluster Prune leaves, however old they are: one
// may be found bad on the day that it is needed.
const leastKept = 3

// Prune deletes the backups of a cluster in a directory that were taken before a time,
// but not its newest ones, and what a machine that died left half written before then.
// It returns the files that it deleted.
func Prune(dir string, cluster []byte, before time.Time) ([]string, error) {
	all, err := List(dir)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(b Found) bool { return b.Err != nil || !bytes.Equal(b.Header.ClusterId, cluster) })
	slices.SortFunc(all, func(a, b Found) int { return TimeOf(a.Header).Compare(TimeOf(b.Header)) })
	var old []string
	for _, b := range all[:max(len(all)-leastKept, 0)] {
		if TimeOf(b.Header).Before(before) {
			old = append(old, b.File)
		}
	}
	partial, err := filepath.Glob(filepath.Join(dir, partialPattern))
	if err != nil {
		return nil, err
	}
	for _, path := range partial {
		if info, err := os.Lstat(path); err == nil && info.ModTime().Before(before) {
			old = append(old, path)
		}
	}
	for i, path := range old {
		if err := remove(path); err != nil {
			return old[:i], fmt.Errorf("deleting an old backup: %w", err)
		}
	}
	return old, nil
}

// MakeDir makes a directory for backups, which nobody else can look into.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, modeDir); err != nil {
		return fmt.Errorf("the directory of backups: %w", err)
	}
	return nil
}
