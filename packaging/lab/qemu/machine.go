package qemu

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config describes a machine.
type Config struct {
	Root  string   // directory with the kernel and the initrd of Disks[0]
	Disks []string // /dev/vda, /dev/vdb, …
	Dir   string   // for sockets and the console
	Mem   int      // MiB
}

// Machine is a machine that is switched on. Its methods are for one goroutine.
type Machine struct {
	cfg   Config
	cmd   *exec.Cmd
	dead  chan struct{} // closed when QEMU has ended
	port  net.Conn
	qmp   net.Conn
	lines chan string // from the port
	id    int

	mu    sync.Mutex
	fired int // resets by the watchdog
	// answers of the monitor to its commands
	answers chan map[string]json.RawMessage
}

// startWithin bounds the start of QEMU itself.
const startWithin = 10 * time.Second

// Start switches a machine on. It ends with the process that called Start.
func Start(cfg Config) (*Machine, error) {
	kernel, err := one(cfg.Root + "/boot/vmlinuz-*")
	if err != nil {
		return nil, err
	}
	initrd, err := one(cfg.Root + "/boot/initrd.img-*")
	if err != nil {
		return nil, err
	}
	args := []string{
		"-accel", "tcg", "-cpu", "Westmere", "-smp", "1", "-m", strconv.Itoa(cfg.Mem),
		"-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
		"-kernel", kernel, "-initrd", initrd, "-append", "root=/dev/vda rw console=ttyS0 quiet mitigations=off",
		"-serial", "file:" + filepath.Join(cfg.Dir, "console"),
		"-device", "i6300esb", "-action", "watchdog=reset",
		"-object", "rng-random,filename=/dev/urandom,id=rng", "-device", "virtio-rng-pci,rng=rng",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=port,server=on,wait=off,path=" + filepath.Join(cfg.Dir, "port"),
		"-device", "virtserialport,chardev=port,name=" + port,
		"-qmp", "unix:" + filepath.Join(cfg.Dir, "qmp") + ",server=on,wait=off",
	}
	for i, d := range cfg.Disks {
		args = append(args, "-drive", fmt.Sprintf("file=%s,format=raw,if=none,id=disk%d", d, i), "-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	said, err := os.Create(filepath.Join(cfg.Dir, "qemu.log"))
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	defer said.Close()
	m := &Machine{cfg: cfg, dead: make(chan struct{}), lines: make(chan string, 16), answers: make(chan map[string]json.RawMessage, 1)}
	m.cmd = exec.Command("qemu-system-x86_64", args...)
	m.cmd.Stdout, m.cmd.Stderr = said, said
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	go func() { _ = m.cmd.Wait(); close(m.dead) }() // how it ended stands in its log
	if err := m.connect(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// one returns the one file of a pattern.
func one(pattern string) (string, error) {
	names, err := filepath.Glob(pattern)
	if err == nil && len(names) != 1 {
		err = fmt.Errorf("there are %d files %s, one is wanted", len(names), pattern)
	}
	if err != nil {
		return "", fmt.Errorf("qemu: %w", err)
	}
	return names[0], nil
}

func (m *Machine) connect() error {
	end := time.Now().Add(startWithin)
	for _, c := range []struct {
		name string
		conn *net.Conn
	}{{"port", &m.port}, {"qmp", &m.qmp}} {
		for {
			var err error
			if *c.conn, err = net.Dial("unix", filepath.Join(m.cfg.Dir, c.name)); err == nil {
				break
			}
			select {
			case <-m.dead:
				return fmt.Errorf("qemu: it ended at once: see %s", filepath.Join(m.cfg.Dir, "qemu.log"))
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(end) {
				return fmt.Errorf("qemu: %w", err)
			}
		}
	}
	go func() {
		defer close(m.lines)
		// An output of a few MiB at most: journals.
		for s := bufio.NewReaderSize(m.port, 1<<16); ; {
			line, err := s.ReadString('\n')
			if err != nil {
				return
			}
			m.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	go m.listen()
	_, err := m.command("qmp_capabilities", nil)
	return err
}

// listen takes what the monitor says.
func (m *Machine) listen() {
	for d := json.NewDecoder(m.qmp); ; {
		var said map[string]json.RawMessage
		if d.Decode(&said) != nil {
			return
		}
		switch {
		case string(said["event"]) == `"WATCHDOG"`:
			m.mu.Lock()
			m.fired++
			m.mu.Unlock()
		case said["return"] != nil || said["error"] != nil:
			m.answers <- said
		}
	}
}

// command tells the monitor something.
func (m *Machine) command(name string, arguments any) (json.RawMessage, error) {
	call := map[string]any{"execute": name}
	if arguments != nil {
		call["arguments"] = arguments
	}
	if err := json.NewEncoder(m.qmp).Encode(call); err != nil {
		return nil, fmt.Errorf("qemu: %s: %w", name, err)
	}
	select {
	case said := <-m.answers:
		if said["error"] != nil {
			return nil, fmt.Errorf("qemu: %s: %s", name, said["error"])
		}
		return said["return"], nil
	case <-m.dead:
		return nil, fmt.Errorf("qemu: %s: it has ended", name)
	}
}

// Fired is how often the watchdog has reset the machine.
func (m *Machine) Fired() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fired
}

// Hang makes a disk answer no more, or answer again: one byte a second is as good as
// nothing.
func (m *Machine) Hang(disk int, hung bool) error {
	limit := 0
	if hung {
		limit = 1
	}
	_, err := m.command("block_set_io_throttle", map[string]any{
		"device": fmt.Sprintf("disk%d", disk), "bps": limit, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0,
	})
	return err
}

// Run runs a script in the machine and returns what it printed. An error that is a
// StatusError says that it ran, and failed.
func (m *Machine) Run(ctx context.Context, script string) (string, error) {
	m.id++
	id := strconv.Itoa(m.id)
	if _, err := fmt.Fprintf(m.port, "%s %s\n", id, base64.StdEncoding.EncodeToString([]byte(script))); err != nil {
		return "", fmt.Errorf("qemu: %w", err)
	}
	status, out, err := m.hear(ctx, id)
	if err == nil && status != "0" {
		err = &StatusError{Script: script, Status: status, Output: out}
	}
	return out, err
}

// hear waits for what the machine says under an id.
func (m *Machine) hear(ctx context.Context, id string) (status, said string, err error) {
	for {
		select {
		case line, more := <-m.lines:
			if !more {
				return "", "", errors.New("qemu: the machine is switched off")
			}
			f := strings.SplitN(line, " ", 3)
			if len(f) < 3 || f[0] != id {
				continue // of an earlier command, or cut off by a reset
			}
			out, err := base64.StdEncoding.DecodeString(f[2])
			return f[1], string(out), err
		case <-ctx.Done():
			return "", "", fmt.Errorf("qemu: the machine says nothing: %w; its console is %s", ctx.Err(), filepath.Join(m.cfg.Dir, "console"))
		}
	}
}

// StatusError is a script's failure.
type StatusError struct{ Script, Status, Output string }

func (e *StatusError) Error() string {
	return fmt.Sprintf("qemu: %s: exit status %s: %s", e.Script, e.Status, strings.TrimSpace(e.Output))
}

// Up waits until the machine is up, after its start or a reset, and returns the kernel's
// id of the boot.
func (m *Machine) Up(ctx context.Context) (boot string, err error) {
	_, boot, err = m.hear(ctx, "up")
	return strings.TrimSpace(boot), err
}

// Close switches the machine off, as pulling the plug does.
func (m *Machine) Close() error {
	for _, c := range []net.Conn{m.port, m.qmp} {
		if c != nil {
			c.Close()
		}
	}
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("qemu: %w", err)
	}
	<-m.dead
	return nil
}
