package nspawn

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Config describes a site.
type Config struct {
	Name string // short: names of namespaces and control groups are made of it
	Root string // root file system that all machines share; nothing writes to it
	Dir  string // below it the site has a directory of its name
	// Bridges are the site's switches, by name, with an address of their own in the
	// site's namespace, CIDR, or none.
	Bridges map[string]string
	// Stay leaves the machines up when this process ends: for looking around.
	Stay bool
}

// Site is a set of machines and the bridges between them.
type Site struct {
	cfg Config
	dir string

	mu       sync.Mutex
	machines []*Machine
}

// stateFile in a site's directory says what it is made of, for other processes.
const stateFile = "site.json"

// state is what stateFile holds.
type state struct {
	Pid      int            `json:"pid"` // of the process that made it
	Start    uint64         `json:"start"`
	Stay     bool           `json:"stay"`
	Machines map[string]int `json:"machines"` // the process ids of their inits, 0 when down
}

// New makes a site without machines. The caller closes it.
func New(cfg Config) (*Site, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("nspawn: machines need root: run it with sudo")
	}
	s := &Site{cfg: cfg, dir: filepath.Join(cfg.Dir, cfg.Name)}
	if _, err := os.Stat(s.dir); err == nil {
		return nil, fmt.Errorf("nspawn: the site %s is there already: wait for its run to end, or remove it with `labctl down %s`", cfg.Name, cfg.Name)
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("nspawn: %w", err)
	}
	err := s.save()
	if err == nil {
		err = s.addBridges()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Dir is the site's directory.
func (s *Site) Dir() string { return s.dir }

// Namespace is the name of the network namespace that holds the bridges.
func (s *Site) Namespace() string { return namespaceOf(s.cfg.Name) }

func namespaceOf(site string) string { return "rrts-lab-" + site }

// Machines returns the site's machines in the order in which they were made.
func (s *Site) Machines() []*Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.machines)
}

// save writes the state file: complete, or not at all.
func (s *Site) save() error {
	st := state{Pid: os.Getpid(), Start: startTime(os.Getpid()), Stay: s.cfg.Stay, Machines: map[string]int{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.machines {
		st.Machines[m.spec.Name] = m.Leader()
	}
	data, err := json.Marshal(st)
	if err == nil {
		path := filepath.Join(s.dir, stateFile)
		if err = os.WriteFile(path+".new", data, 0o644); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		return fmt.Errorf("nspawn: %w", err)
	}
	return nil
}

// Close ends every machine as a power cut does and removes the site. It may be
// called more than once.
func (s *Site) Close() error {
	var errs []error
	for _, m := range s.Machines() {
		errs = append(errs, m.Kill())
	}
	return errors.Join(append(errs, remove(s.dir, s.cfg.Name))...)
}

// remove removes what a site without running machines is made of.
func remove(dir, name string) error {
	var errs []error
	mounts, err := mountsBelow(dir)
	errs = append(errs, err)
	for _, path := range mounts {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("nspawn: unmounting %s: %w", path, err))
		}
	}
	errs = append(errs, removeGroups(name))
	if _, err := os.Stat("/run/netns/" + namespaceOf(name)); err == nil {
		errs = append(errs, ip("netns del "+namespaceOf(name)))
	}
	if err := errors.Join(errs...); err != nil {
		return err // what is still mounted must not be deleted through the mount
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("nspawn: %w", err)
	}
	return nil
}

// mountsBelow lists the mount points in dir, the deepest first.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("nspawn: %w", err)
	}
	var paths []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			paths = append(paths, f[1])
		}
	}
	slices.Sort(paths)
	slices.Reverse(paths)
	return paths, nil
}

// Found is a site that another process made.
type Found struct {
	Name     string
	Dir      string
	Owner    int            // the process that made it, 0 when it has ended
	Stay     bool           // it was to stay after that
	Machines map[string]int // the process ids of their inits, 0 when down
}

// Find lists the sites below dir.
func Find(dir string) ([]Found, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nspawn: %w", err)
	}
	var all []Found
	for _, e := range entries {
		f := Found{Name: e.Name(), Dir: filepath.Join(dir, e.Name()), Machines: map[string]int{}}
		data, err := os.ReadFile(filepath.Join(f.Dir, stateFile))
		var st state
		if err == nil && json.Unmarshal(data, &st) == nil {
			f.Stay, f.Machines = st.Stay, st.Machines
			if startTime(st.Pid) == st.Start {
				f.Owner = st.Pid
			}
		}
		all = append(all, f)
	}
	return all, nil
}

// Remove ends the machines of a site whose owner has ended, and removes it.
func (f *Found) Remove() error {
	if f.Owner != 0 && f.Owner != os.Getpid() {
		return fmt.Errorf("nspawn: the site %s belongs to process %d, which runs: interrupt that one", f.Name, f.Owner)
	}
	for _, pid := range f.Machines {
		if pid != 0 && isInitBelow(pid, f.Dir) {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("nspawn: %w", err)
			}
			if err := waitGone(pid); err != nil {
				return err
			}
		}
	}
	return remove(f.Dir, f.Name)
}

// Sweep removes the sites below dir whose owners were killed and that were not to
// stay.
func Sweep(dir string) error {
	all, err := Find(dir)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.Owner == 0 && !f.Stay {
			if err := f.Remove(); err != nil {
				return err
			}
		}
	}
	return nil
}
