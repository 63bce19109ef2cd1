// Package arena runs a throw-away cluster on this machine: real rrtsd processes
// with real disks, keys and sockets, for `rrts demo` and `rrts bench`.
//
// Without privileges the SFUs are carried by UDP on loopback; network A then runs
// through a relay in this process, so that it can be cut as a switch is unplugged:
// silently. With Namespaces, as root, each SFU has a network namespace with two
// NICs of its own, and frames are raw Ethernet over two bridges.
//
// Everything lies in one directory and goes with Close.
package arena

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/freeport"
)

// Config describes an arena.
type Config struct {
	// SFUs is how many there are, each on a machine of its own; 1 to 7.
	SFUs int
	// Founders is with how many of them the cluster begins; 0 means all. The others
	// may Join.
	Founders int
	// Rrtsd is the path of the engine's program.
	Rrtsd string
	// Dir is where everything lies; empty means a fresh directory below the
	// system's temporary one.
	Dir string
	// States is where the SFUs' state directories are; empty means below Dir.
	States string
	// Settings are the SFUs'; their state directories are set here.
	Settings config.SFU
	// Relay puts network A behind a relay, so that Cut works without namespaces.
	Relay bool
	// Namespaces, when not nil, are where the SFUs run; see Namespaces.
	Namespaces *Namespaces
	// Log gets what the SFUs say; nil means a file in Dir for each.
	Log io.Writer
}

// Arena is a running cluster.
type Arena struct {
	cfg      Config
	dir      string
	ownDir   bool
	material *genesis.Material
	sfus     []*sfu
	relay    *relay
}

// sfu is one SFU and its process, if it runs.
type sfu struct {
	name    string
	number  uint16 // 0 while it is not in the cluster
	config  string // directory
	state   string // directory
	control string // socket
	cmd     *exec.Cmd
	done    chan struct{}
	err     error // of the process, when done is closed
	log     io.WriteCloser
}

// names of the SFUs, in their order.
var names = []string{"alpha", "bravo", "carol", "delta", "echo", "fox", "golf"}

// New makes the cluster's keys and configuration. Start starts it.
func New(cfg Config) (*Arena, error) {
	if cfg.SFUs < 1 || cfg.SFUs > len(names) {
		return nil, fmt.Errorf("arena: %d SFUs, must be 1 to %d", cfg.SFUs, len(names))
	}
	a := &Arena{cfg: cfg, dir: cfg.Dir}
	if a.dir == "" {
		dir, err := os.MkdirTemp("", "rrts-arena-")
		if err != nil {
			return nil, fmt.Errorf("arena: %w", err)
		}
		a.dir, a.ownDir = dir, true
	}
	if err := a.create(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// create writes the configuration.
func (a *Arena) create() error {
	spec := genesis.Spec{Name: "arena", Carrier: config.UDP}
	if a.cfg.Namespaces != nil {
		spec.Carrier = config.Ethernet
	}
	states := a.cfg.States
	if states == "" {
		states = filepath.Join(a.dir, "state")
	}
	for i := range a.cfg.SFUs {
		s := &sfu{name: names[i]}
		if a.cfg.Founders == 0 || i < a.cfg.Founders {
			s.number = uint16(i + 1)
		}
		s.config = filepath.Join(a.dir, "machines", s.name)
		s.state = filepath.Join(states, s.name)
		run := filepath.Join(a.dir, "run", s.name)
		s.control = filepath.Join(run, s.name, "control.sock")
		machine := config.Machine{Name: s.name, RunDir: run}
		g := genesis.SFU{Name: s.name, Machine: s.name, Settings: a.cfg.Settings}
		g.Settings.StateDir = s.state
		if n := a.cfg.Namespaces; n != nil {
			machine.NetworkA.Name, machine.NetworkB.Name = nicA, nicB
			g.Gateways = []string{net.JoinHostPort(n.address(i), gatewayPort)}
		} else {
			three, err := takePorts()
			if err != nil {
				return err
			}
			loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
			g.UDPA, g.UDPB = netip.AddrPortFrom(loopback, three[0]), netip.AddrPortFrom(loopback, three[1])
			g.Gateways = []string{"127.0.0.1:" + strconv.Itoa(int(three[2]))}
		}
		spec.SFUs = append(spec.SFUs, g)
		spec.Machines = append(spec.Machines, machine)
		a.sfus = append(a.sfus, s)
		for _, dir := range []string{s.state, filepath.Join(run, s.name)} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fmt.Errorf("arena: %w", err)
			}
		}
		if err := genesis.Birth(s.state); err != nil {
			return err
		}
	}
	var err error
	if a.material, err = genesis.Create(spec); err != nil {
		return err
	}
	for _, s := range a.sfus {
		if err := a.material.WriteMachine(s.config, s.name, genesis.WriteOptions{}); err != nil {
			return err
		}
	}
	if n := a.cfg.Founders; n != 0 {
		founders := *a.material.Cluster
		founders.SFUs = founders.SFUs[:n]
		for _, s := range a.sfus[:n] {
			if err := s.writeCluster(&founders); err != nil {
				return err
			}
		}
	}
	if a.cfg.Relay && a.cfg.Namespaces == nil {
		return a.insertRelay()
	}
	return nil
}

// insertRelay makes every SFU believe that the others' network A is at the relay.
func (a *Arena) insertRelay() error {
	var real []netip.AddrPort
	for _, m := range a.material.Cluster.SFUs {
		real = append(real, m.UDPA)
	}
	var err error
	if a.relay, err = newRelay(real); err != nil {
		return err
	}
	for i, s := range a.sfus {
		view := *a.material.Cluster
		view.SFUs = append([]config.Member(nil), view.SFUs...)
		for j := range view.SFUs {
			if j != i {
				view.SFUs[j].UDPA = a.relay.address(j)
			}
		}
		if err := s.writeCluster(&view); err != nil {
			return err
		}
	}
	return nil
}

// writeCluster gives the SFU another cluster.toml.
func (s *sfu) writeCluster(c *config.Cluster) error {
	if err := os.WriteFile(filepath.Join(s.config, "cluster.toml"), c.Marshal(), 0o640); err != nil {
		return fmt.Errorf("arena: %w", err)
	}
	return nil
}

// takePorts returns three free ports: UDP, UDP, TCP.
func takePorts() (three [3]uint16, err error) {
	for i := range three {
		if three[i], err = freeport.Take(); err != nil {
			return three, fmt.Errorf("arena: %w", err)
		}
	}
	return three, nil
}

// SFUs is the number of SFUs.
func (a *Arena) SFUs() int { return len(a.sfus) }

// Name is the name of SFU i, counted from 0.
func (a *Arena) Name(i int) string { return a.sfus[i].name }

// Number is the number of SFU i, 0 while it is not in the cluster. A founder's is i+1.
func (a *Arena) Number(i int) uint16 { return a.sfus[i].number }

// ControlSocket is where SFU i answers operators.
func (a *Arena) ControlSocket(i int) string { return a.sfus[i].control }

// Rrtsd is the path of the engine's program.
func (a *Arena) Rrtsd() string { return a.cfg.Rrtsd }

// ConfigDir and StateDir are SFU i's.
func (a *Arena) ConfigDir(i int) string { return a.sfus[i].config }
func (a *Arena) StateDir(i int) string  { return a.sfus[i].state }

// Kit is what clients need.
func (a *Arena) Kit() *config.ClientKit { return a.material.Kit }

// Master is the secrets of the cluster.
func (a *Arena) Master() *genesis.Master { return a.material.Master }

// Pid is the process id of SFU i, 0 while it does not run.
func (a *Arena) Pid(i int) int {
	if s := a.sfus[i]; s.cmd != nil {
		return s.cmd.Process.Pid
	}
	return 0
}

// Start starts SFU i; it returns when the process runs, not when it is ready.
func (a *Arena) Start(i int) error {
	s := a.sfus[i]
	if s.cmd != nil {
		return fmt.Errorf("arena: %s runs already", s.name)
	}
	args := []string{a.cfg.Rrtsd, "--config", s.config, s.name}
	if n := a.cfg.Namespaces; n != nil {
		args = n.command(i, args)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=", "CREDENTIALS_DIRECTORY=")
	// When this process dies, so do they: nothing is left behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if a.cfg.Log != nil {
		cmd.Stdout, cmd.Stderr = a.cfg.Log, a.cfg.Log
	} else {
		f, err := os.OpenFile(a.LogFile(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("arena: %w", err)
		}
		cmd.Stdout, cmd.Stderr, s.log = f, f, f
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("arena: starting %s: %w", s.name, err)
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func() {
		s.err = cmd.Wait()
		close(s.done)
	}()
	return nil
}

// LogFile is where SFU i writes when Config.Log is nil.
func (a *Arena) LogFile(i int) string { return filepath.Join(a.dir, a.sfus[i].name+".log") }

// Exited is closed when SFU i's process has ended by itself or by Kill.
func (a *Arena) Exited(i int) <-chan struct{} { return a.sfus[i].done }

// Kill ends SFU i as a power failure ends a machine: SIGKILL.
func (a *Arena) Kill(i int) error { return a.end(i, syscall.SIGKILL) }

// Stop stops SFU i as systemd does, and waits for it.
func (a *Arena) Stop(i int) error { return a.end(i, syscall.SIGTERM) }

// stopWithin is how long a planned stop may take: drain, hand over, flush.
const stopWithin = 40 * time.Second

func (a *Arena) end(i int, sig syscall.Signal) error {
	s := a.sfus[i]
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("arena: %s: %w", s.name, err)
	}
	select {
	case <-s.done:
	case <-time.After(stopWithin):
		_ = s.cmd.Process.Kill() // it may have ended just now
		<-s.done
		return fmt.Errorf("arena: %s did not stop within %v; its log is %s", s.name, stopWithin, a.LogFile(i))
	}
	err := s.err
	if s.log != nil {
		s.log.Close()
	}
	s.cmd, s.log = nil, nil
	if sig == syscall.SIGTERM && err != nil {
		return fmt.Errorf("arena: %s stopped with %w; its log is %s", s.name, err, a.LogFile(i))
	}
	return nil
}

// CutA takes network A away, or gives it back. It needs a relay or namespaces.
func (a *Arena) CutA(cut bool) error {
	switch {
	case a.cfg.Namespaces != nil:
		return a.cfg.Namespaces.cutA(cut)
	case a.relay != nil:
		a.relay.cut.Store(cut)
		return nil
	}
	return errors.New("arena: network A cannot be cut without a relay or namespaces")
}

// WaitControl waits until SFU i answers operators, ctx ends or the process does.
func (a *Arena) WaitControl(ctx context.Context, i int) error {
	s := a.sfus[i]
	for {
		c, err := net.Dial("unix", s.control)
		if err == nil {
			return c.Close()
		}
		select {
		case <-s.done:
			return fmt.Errorf("arena: %s ended: %v; its log is %s", s.name, s.err, a.LogFile(i))
		case <-ctx.Done():
			return fmt.Errorf("arena: %s does not answer: %w; its log is %s", s.name, err, a.LogFile(i))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Close ends every process and removes the directory that New made.
func (a *Arena) Close() error {
	var errs []error
	for i := range a.sfus {
		errs = append(errs, a.Kill(i))
	}
	if a.relay != nil {
		a.relay.close()
	}
	if a.ownDir {
		errs = append(errs, os.RemoveAll(a.dir))
	}
	return errors.Join(errs...)
}

// Keep makes Close leave the directory, and returns it: for looking into a failure.
func (a *Arena) Keep() string {
	a.ownDir = false
	return a.dir
}
