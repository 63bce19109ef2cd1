package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// slowFsync is a disk that every commit waits for noticeably; badFsync one with
	// which the cluster's promises of time are empty.
	slowFsync = 10 * time.Millisecond
	badFsync  = 100 * time.Millisecond
	// A journal keeps a few segments of 64 MiB, a store what the shop makes.
	littleSpace = 10 << 30
	noSpace     = 1 << 30
	// fsyncs is how many writes are measured: half a second on a slow disk.
	fsyncs     = 32
	writeBytes = 4096
)

func (e *examination) disks() {
	dirs := []string{"/var/lib"}
	if len(e.sfus) > 0 {
		dirs = nil
		for _, c := range e.sfus {
			dirs = append(dirs, c.SFU.StateDir)
		}
	}
	for _, dir := range dirs {
		e.disk(dir)
	}
}

func (e *examination) disk(dir string) {
	check := "disk " + dir
	d, err := e.Fsync(dir)
	if errors.Is(err, os.ErrPermission) {
		e.add(Warn, check, "run this as root", "it could not be measured: %v", err)
		return
	}
	if err != nil {
		e.add(Fail, check, "see dmesg; the SFU cannot write there either", "it cannot be written: %v", err)
		return
	}
	measured := fmt.Sprintf("a durable write takes %v, at worst %v; %s free of %s", d.Median.Round(10*time.Microsecond), d.Worst.Round(10*time.Microsecond), bytes(d.Free), bytes(d.Size))
	switch {
	case d.Memory:
		e.add(Fail, check, "put state_dir of sfu/NAME.toml on a disk", "it is in memory: a power cut loses it; %s", measured)
	case d.Free < noSpace:
		e.add(Fail, check, "free space, or move state_dir", "%s", measured)
	case d.Median > badFsync:
		e.add(Fail, check, "the disk is too slow for transactions: use an SSD, best one with power-loss protection", "%s", measured)
	case d.Median > slowFsync:
		e.add(Warn, check, "every commit waits for it: an SSD, best one with power-loss protection, is ten times faster", "%s", measured)
	case d.Free < littleSpace:
		e.add(Warn, check, "free space, or move state_dir", "%s", measured)
	default:
		e.add(OK, check, "", "%s", measured)
	}
}

// bytes shows a size.
func bytes(n uint64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
}

// measureDisk writes as a journal does: into a file whose space is there already.
func measureDisk(dir string) (d Disk, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return d, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	d.Free, d.Size = st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	d.Memory = st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(filepath.Clean(f.Name()))) }()
	block := make([]byte, writeBytes)
	if _, err := f.Write(make([]byte, fsyncs*writeBytes)); err != nil {
		return d, err
	}
	if err := f.Sync(); err != nil {
		return d, err
	}
	times := make([]time.Duration, fsyncs)
	for i := range times {
		block[0]++
		start := time.Now()
		if _, err := f.WriteAt(block, int64(i*writeBytes)); err != nil {
			return d, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return d, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	d.Median, d.Worst = times[len(times)/2], times[len(times)-1]
	return d, nil
}
