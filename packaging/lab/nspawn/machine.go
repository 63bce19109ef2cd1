package nspawn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec describes a machine.
type Spec struct {
	Name string // its host name
	NICs []NIC
}

// NIC is a network card and where its cable ends.
type NIC struct {
	Name    string // in the machine
	Bridge  string // of the site
	Address string // CIDR, set by the machine's own systemd-networkd; empty: none at all
}

// Machine is one machine. Its methods are for one goroutine, but for Output and
// Command.
type Machine struct {
	site *Site
	spec Spec
	dir  string

	mu     sync.Mutex
	leader int           // process id of the machine's init, 0 when it is down
	off    chan struct{} // closed when the machine is down; nil when it never was up
	boots  int           // how often it came up
	killed bool
	err    error // why it is down, when off is closed and it should not be
}

const (
	// maxPort is the kernel's bound on an interface's name, in bytes.
	maxPort = 15
	// exitReboot is how systemd-nspawn says that the machine wants to boot again.
	exitReboot = 133
	// lookInterval is how often what has no event is looked at.
	lookInterval = 10 * time.Millisecond
)

// Machine makes a machine, which is down. Its disk is empty but for its name.
func (s *Site) Machine(spec Spec) (*Machine, error) {
	m := &Machine{site: s, spec: spec, dir: filepath.Join(s.dir, spec.Name)}
	for _, n := range spec.NICs {
		if port := m.port(n); len(port) > maxPort {
			return nil, fmt.Errorf("nspawn: %s is longer than %d bytes: shorten the machine's or the NIC's name", port, maxPort)
		}
	}
	if err := m.format(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.machines = append(s.machines, m)
	s.mu.Unlock()
	return m, nil
}

// format gives the machine an empty disk.
func (m *Machine) format() error {
	for _, dir := range []string{"root", "disk", "work"} {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o755); err != nil {
			return fmt.Errorf("nspawn: %w", err)
		}
	}
	options := "lowerdir=" + m.site.cfg.Root + ",upperdir=" + m.dir + "/disk,workdir=" + m.dir + "/work"
	if err := unix.Mount("overlay", m.Root(), "overlay", 0, options); err != nil {
		return fmt.Errorf("nspawn: the root of %s: mount: %w", m.spec.Name, err)
	}
	return m.furnish()
}

// Wipe replaces the disk of a machine that is down by an empty one: all that it held
// is gone.
func (m *Machine) Wipe() error {
	if m.Leader() != 0 {
		return fmt.Errorf("nspawn: %s is up: kill it before its disk is taken", m.spec.Name)
	}
	if err := unix.Unmount(m.Root(), unix.MNT_DETACH); err != nil {
		return fmt.Errorf("nspawn: the root of %s: unmount: %w", m.spec.Name, err)
	}
	for _, dir := range []string{"disk", "work"} {
		if err := os.RemoveAll(filepath.Join(m.dir, dir)); err != nil {
			return fmt.Errorf("nspawn: %w", err)
		}
	}
	return m.format()
}

// furnish writes what makes the shared root this machine's.
func (m *Machine) furnish() error {
	id := sha256.Sum256([]byte(m.site.cfg.Name + "/" + m.spec.Name))
	files := map[string]string{
		"etc/hostname":   m.spec.Name + "\n",
		"etc/machine-id": fmt.Sprintf("%x\n", id[:16]),
		"etc/hosts":      "127.0.0.1 localhost\n127.0.1.1 " + m.spec.Name + "\n",
		// What happened before a crash is read after it.
		"var/log/journal/.keep": "",
	}
	for _, n := range m.spec.NICs {
		if n.Address != "" {
			files["etc/systemd/network/"+n.Name+".network"] = "[Match]\nName=" + n.Name + "\n[Network]\nAddress=" + n.Address + "\n"
		}
	}
	for path, content := range files {
		if err := m.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	wants := filepath.Join(m.Root(), "etc/systemd/system/multi-user.target.wants")
	err := os.MkdirAll(wants, 0o755)
	if err == nil {
		err = os.Symlink("/lib/systemd/system/systemd-networkd.service", filepath.Join(wants, "systemd-networkd.service"))
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("nspawn: %w", err)
	}
	return nil
}

// Name is the machine's host name.
func (m *Machine) Name() string { return m.spec.Name }

// Root is the machine's root directory as this machine sees it.
func (m *Machine) Root() string { return filepath.Join(m.dir, "root") }

// Console is the file with what the machine printed.
func (m *Machine) Console() string { return filepath.Join(m.dir, "console") }

// Leader is the process id of the machine's init as this machine counts, 0 when the
// machine is down.
func (m *Machine) Leader() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leader
}

// WriteFile writes a file of the machine, root's own, with the directories above it.
func (m *Machine) WriteFile(path string, data []byte, mode os.FileMode) error {
	path = filepath.Join(m.Root(), path)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, data, mode)
	}
	if err != nil {
		return fmt.Errorf("nspawn: %s: %w", m.spec.Name, err)
	}
	return nil
}

// port is the name of the other end of a NIC's cable, in the site's namespace.
func (m *Machine) port(n NIC) string { return m.spec.Name + "-" + n.Name }

// SetCable plugs the cable of one NIC in, or pulls it: the NIC loses its carrier.
// A machine that boots has all cables in.
func (m *Machine) SetCable(nic string, in bool) error {
	return m.site.setLink(m.port(NIC{Name: nic}), in)
}

// Boot switches the machine on and returns when its systemd says that it is up. What
// failed on the way up is an error that names it.
func (m *Machine) Boot(ctx context.Context) error {
	if m.Leader() != 0 {
		return fmt.Errorf("nspawn: %s is up already", m.spec.Name)
	}
	m.mu.Lock()
	m.off, m.killed, m.err = make(chan struct{}), false, nil
	m.mu.Unlock()
	cmd, err := m.launch()
	if err != nil {
		return err
	}
	go m.live(cmd)
	return m.waitUp(ctx, 1)
}

// FailedUnitsError says that a machine is up, and which of its units are not.
type FailedUnitsError struct {
	Machine string
	Units   string // one line each, as systemctl prints them
}

func (e *FailedUnitsError) Error() string {
	return fmt.Sprintf("nspawn: %s came up with failed units: %s", e.Machine, e.Units)
}

// Only reports whether nothing but this unit has failed.
func (e *FailedUnitsError) Only(unit string) bool {
	return strings.HasPrefix(e.Units, unit+" ") && !strings.Contains(e.Units, "\n")
}

// launch starts systemd-nspawn in the machine's control groups and the site's
// namespace.
func (m *Machine) launch() (*exec.Cmd, error) {
	groups, err := makeGroups(m.site.cfg.Name, m.spec.Name)
	if err != nil {
		return nil, err
	}
	// Written to by the process itself, so that it is in them before it begins.
	const enter = `for g in $1; do echo $$ >"$g/cgroup.procs" || exit 1; done; shift; exec "$@"`
	args := []string{"-c", enter, "sh", strings.Join(groups, " "), "nsenter", "--net=/run/netns/" + m.site.Namespace(),
		"systemd-nspawn", "--quiet", "--boot", "--directory=" + m.Root(), "--machine=" + m.spec.Name,
		// systemd of this machine, if it is one, need not know of it.
		"--register=no", "--keep-unit", "--console=read-only",
		"--private-network", "--resolv-conf=off", "--timezone=off", "--link-journal=no"}
	for _, n := range m.spec.NICs {
		// A machine that died takes its cables with it, but not at once.
		if _, err := os.Stat("/run/netns/" + m.site.Namespace()); err == nil {
			_ = ip("-n " + m.site.Namespace() + " link del dev " + m.port(n))
		}
		args = append(args, "--network-veth-extra="+m.port(n)+":"+n.Name)
	}
	console, err := os.OpenFile(m.Console(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("nspawn: %w", err)
	}
	defer console.Close()
	cmd := exec.Command("/bin/sh", args...)
	cmd.Stdout, cmd.Stderr = console, console
	// A session of its own: an interrupt at the terminal is for the caller, who stops
	// its machines in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !m.site.cfg.Stay {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("nspawn: %s: %w", m.spec.Name, err)
	}
	return cmd, nil
}

// live goes with the machine until it is down: it boots it again when it asks for
// that.
func (m *Machine) live(cmd *exec.Cmd) {
	for {
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		err := m.plug(cmd.Process.Pid, ended)
		if err == nil {
			err = <-ended
		} else {
			_ = cmd.Process.Kill() // it may have ended by itself
		}
		m.mu.Lock()
		m.leader = 0
		again := !m.killed && cmd.ProcessState.ExitCode() == exitReboot
		m.mu.Unlock()
		if again {
			if cmd, err = m.launch(); err == nil {
				continue
			}
		}
		m.mu.Lock()
		if !m.killed {
			m.err = err
		}
		close(m.off)
		m.mu.Unlock()
		return
	}
}

// plug waits for the machine's init and puts its cables into the bridges. It returns
// what came through ended, if that was first.
func (m *Machine) plug(pid int, ended <-chan error) error {
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("it went down")
			}
			return fmt.Errorf("nspawn: %s did not come up: %w; its console is %s", m.spec.Name, err, m.Console())
		case <-time.After(lookInterval):
		}
		leader := initOf(pid)
		if leader == 0 {
			continue
		}
		for _, n := range m.spec.NICs {
			if err := ip("-n " + m.site.Namespace() + " link set dev " + m.port(n) + " master " + n.Bridge + " up"); err != nil {
				return err
			}
		}
		m.mu.Lock()
		m.leader = leader
		m.boots++
		m.mu.Unlock()
		return m.site.save()
	}
}

// waitUp waits until the machine has come up at least so many times and its systemd
// says that everything runs.
func (m *Machine) waitUp(ctx context.Context, boots int) error {
	for {
		m.mu.Lock()
		leader, off, n, why := m.leader, m.off, m.boots, m.err
		m.mu.Unlock()
		select {
		case <-off:
			return errors.Join(fmt.Errorf("nspawn: %s is down; its console is %s", m.spec.Name, m.Console()), why)
		case <-ctx.Done():
			return fmt.Errorf("nspawn: %s does not come up: %w; its console is %s", m.spec.Name, ctx.Err(), m.Console())
		default:
		}
		if leader != 0 && n >= boots {
			out, _ := m.Command(ctx, "systemctl", "is-system-running", "--wait").Output() // its status only repeats it
			switch strings.TrimSpace(string(out)) {
			case "running":
				return nil
			case "degraded":
				failed, err := m.Output(ctx, "systemctl", "--failed", "--plain", "--no-legend")
				return errors.Join(&FailedUnitsError{Machine: m.spec.Name, Units: strings.TrimSpace(failed)}, err)
			}
		}
		time.Sleep(lookInterval)
	}
}

// Kill pulls the plug: every process of the machine is gone at once. A machine that
// is down stays so.
func (m *Machine) Kill() error {
	m.mu.Lock()
	off, leader := m.off, m.leader
	m.killed = true
	m.mu.Unlock()
	if off == nil {
		return nil
	}
	if leader != 0 {
		if err := unix.Kill(leader, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("nspawn: %s: %w", m.spec.Name, err)
		}
	}
	select {
	case <-off:
		return nil
	case <-time.After(killWithin):
		return fmt.Errorf("nspawn: %s was killed and is not down after %v", m.spec.Name, killWithin)
	}
}

// killWithin is patience with the kernel: it tears namespaces down in the background.
const killWithin = 20 * time.Second

// Reboot asks the machine to reboot, as an operator does, and returns when it is up
// again.
func (m *Machine) Reboot(ctx context.Context) error {
	m.mu.Lock()
	boots := m.boots
	m.mu.Unlock()
	if _, err := m.Output(ctx, "systemctl", "reboot"); err != nil {
		return err
	}
	return m.waitUp(ctx, boots+1)
}

// Command is a command of root in the machine, in an environment like that of a login.
func (m *Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	return enter(ctx, m.Leader(), args...)
}

// enter is a command in the namespaces of the machine whose init is leader.
func enter(ctx context.Context, leader int, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", fmt.Sprint(leader), "--all", "env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}, args...)...)
	cmd.WaitDelay = time.Second // what it left behind may hold its output
	return cmd
}

// Output runs a command in the machine and returns what it printed on its standard
// output. The error holds what it said on the other.
func (m *Machine) Output(ctx context.Context, args ...string) (string, error) {
	out, err := m.Command(ctx, args...).Output()
	if err != nil {
		said := ""
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			said = strings.TrimSpace(string(exit.Stderr)) + ": "
		}
		return string(out), fmt.Errorf("%s: %s: %s%w", m.spec.Name, strings.Join(args, " "), said, err)
	}
	return string(out), nil
}

// Shell is an interactive shell in the machine of a site that may be another process's.
func (f *Found) Shell(ctx context.Context, machine string, args ...string) (*exec.Cmd, error) {
	pid := f.Machines[machine]
	if pid == 0 || !isInitBelow(pid, f.Dir) {
		return nil, fmt.Errorf("nspawn: the machine %s of the site %s is not up", machine, f.Name)
	}
	if len(args) == 0 {
		args = []string{"TERM=" + os.Getenv("TERM"), "bash", "-l"}
	}
	cmd := enter(ctx, pid, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd, nil
}
