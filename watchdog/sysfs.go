package watchdog

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Found is a watchdog that the kernel has a driver for.
type Found struct {
	Device   string // such as /dev/watchdog0
	Identity string // the driver's name for itself
	NoWayOut bool   // the driver was loaded so that nothing stops it once it runs
	Evidence Evidence
}

// softdog is the driver's name for itself that is no hardware.
const softdog = "Software Watchdog"

// Software reports whether it dies with the kernel that it watches.
func (f *Found) Software() bool { return f.Identity == softdog }

// Find lists the watchdogs of this machine, those of hardware first. root stands before
// /sys; empty means the machine's own. None is opened: that would start it.
func Find(root string) ([]Found, error) {
	dirs, err := filepath.Glob(root + "/sys/class/watchdog/watchdog[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	var hard, soft []Found
	for _, dir := range dirs {
		f := Found{Device: "/dev/" + filepath.Base(dir), Identity: attribute(dir, "identity"), NoWayOut: attribute(dir, "nowayout") == "1"}
		// A kernel without these attributes has no evidence either.
		if status, err := strconv.ParseUint(attribute(dir, "bootstatus"), 0, 32); err == nil && status&unix.WDIOF_CARDRESET != 0 {
			f.Evidence = WasReset
		}
		if f.Software() {
			soft = append(soft, f)
		} else {
			hard = append(hard, f)
		}
	}
	return append(hard, soft...), nil
}

func attribute(dir, name string) string {
	b, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(b))
}
