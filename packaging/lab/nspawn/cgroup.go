package nspawn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hierarchies returns where control groups of the hierarchies that systemd manages
// are made: the unified one, and on a machine that still has version 1, systemd's.
func hierarchies() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("nspawn: %w", err)
	}
	var paths []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[1], "/sys/fs/cgroup") {
			continue
		}
		if f[2] == "cgroup2" || f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), "name=systemd") {
			paths = append(paths, f[1])
		}
	}
	if len(paths) == 0 {
		return nil, errors.New("nspawn: no control groups below /sys/fs/cgroup: machines need them")
	}
	return paths, nil
}

func groupOf(site string) string { return "rrts-lab-" + site }

// makeGroups makes a machine's control groups and returns their directories.
func makeGroups(site, machine string) ([]string, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for i, h := range all {
		all[i] = filepath.Join(h, groupOf(site), machine)
		if err := os.MkdirAll(all[i], 0o755); err != nil {
			return nil, fmt.Errorf("nspawn: %w", err)
		}
	}
	return all, nil
}

// removeGroups removes the control groups of a site, which hold no process any more.
func removeGroups(site string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		var dirs []string
		err := filepath.WalkDir(filepath.Join(h, groupOf(site)), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("nspawn: %w", err)
		}
		for _, d := range slices.Backward(dirs) {
			if err := os.Remove(d); err != nil {
				return fmt.Errorf("nspawn: %w", err)
			}
		}
	}
	return nil
}
