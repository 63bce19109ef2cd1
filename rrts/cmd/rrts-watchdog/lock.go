package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockMemory keeps the process in memory: what it uses from now on as it comes to use
// it, and its program at once, because what it runs when a disk hangs cannot be read from
// one. Go reserves much more memory than it uses; locked all at once that would be 80 MB.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("rrts-watchdog: it cannot be locked in memory: %w; the unit sets LimitMEMLOCK=infinity", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("rrts-watchdog: %w", err)
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// start-end permissions offset device inode path
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[4] == "0" || !strings.HasPrefix(f[1], "r") {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("rrts-watchdog: /proc/self/maps has the line %q", lines.Text())
		}
		if _, _, errno := unix.Syscall(unix.SYS_MLOCK, uintptr(start), uintptr(end-start), 0); errno != 0 {
			return fmt.Errorf("rrts-watchdog: its program cannot be locked in memory: %w", errno)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("rrts-watchdog: %w", err)
	}
	return nil
}
