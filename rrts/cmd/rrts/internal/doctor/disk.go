package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"virtualservicesinc.com/rrts/config"
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
	if len(e.sfus) == 0 {
		e.disk("/var/lib")
	}
	for _, c := range e.sfus {
		if d := e.disk(c.SFU.StateDir); d != nil && c.Self.Type == config.TypeWitness {
			e.witnessRoom(c, d)
		}
	}
}

// witnessRoom holds that a witness can keep as much of the log as it is told to. It is
// not reserved: it fills while another SFU is away, which is when it matters.
func (e *examination) witnessRoom(c *config.Config, d *Disk) {
	var kept uint64
	err := filepath.WalkDir(e.Root+c.SFU.StateDir, func(_ string, f fs.DirEntry, err error) error {
		if err != nil || !f.Type().IsRegular() {
			return err
		}
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) { // a segment that was cut meanwhile
			return nil
		}
		if err == nil {
			kept += uint64(info.Size())
		}
		return err
	})
	check, want := "log of "+c.Self.Name, uint64(c.SFU.Txn.WitnessLog)
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.add(Warn, check, "run this as root", "what it keeps could not be measured: %v", err)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		e.add(Fail, check, "see dmesg", "what it keeps cannot be read: %v", err)
	case d.Free+kept < want:
		e.add(Warn, check, "free space, move state_dir, or lower witness_log in sfu/"+c.Self.Name+".toml",
			"this witness keeps up to %s of the log for SFUs that are away (witness_log), and has room for %s: when that is full it votes no more", bytes(want), bytes(d.Free+kept))
	default:
		e.add(OK, check, "", "up to %s for SFUs that are away, with room for %s", bytes(want), bytes(d.Free+kept))
	}
}

// disk measures the disk of a directory; it returns nil if that cannot be done.
func (e *examination) disk(dir string) *Disk {
	check := "disk " + dir
	d, err := e.Fsync(dir)
	if errors.Is(err, os.ErrPermission) {
		e.add(Warn, check, "run this as root", "it could not be measured: %v", err)
		return nil
	}
	if err != nil {
		e.add(Fail, check, "see dmesg; the SFU cannot write there either", "it cannot be written: %v", err)
		return nil
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
	return &d
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
