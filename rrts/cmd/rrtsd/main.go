// Command rrtsd runs one SFU: a Message Engine with the Components of its type.
//
//	rrtsd [--config DIR] NAME
//	rrtsd --component
//
// NAME is an SFU of this machine in the cluster's configuration. systemd starts it
// as rrts@NAME.service; it can as well be started by hand. DIR is the directory of
// the configuration, /etc/rrts unless given; --version prints the version.
//
// It reports readiness once it has joined the others and recovered its state,
// answers the watchdog only while its loops make progress, and on SIGTERM drains:
// what it does is announced and handed over first. A second SIGTERM ends it at once.
// On SIGHUP it reads the certificate of its gateway again.
//
// With --component it runs one program of components.d for an SFU that cannot give it a
// user of its own: rrts-component@.service, started by rrts-component.socket.
//
// Exit status: 0 after a clean stop, 1 after a failure and where the machine lacks room
// to start, 78 (EX_CONFIG) for a fault in the command line or the configuration, which
// starting again does not cure, or for an SFU that was removed from the cluster or
// overruled by a forced recovery.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/child"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/sysd"
)

// version is set by the build.
var version = "devel"

const (
	exitFailure = 1
	exitConfig  = 78
)

func main() {
	child.Become() // does not return in a process that is to be a component
	dir := flag.String("config", config.DefaultDir, "directory of the configuration")
	show := flag.Bool("version", false, "print the version")
	component := flag.Bool("component", false, "run the program that an SFU orders on the standard input: rrts-component@.service")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: rrtsd [--config DIR] NAME") }
	flag.Parse()
	if *show {
		fmt.Println("rrtsd", version)
		return
	}
	if *component {
		os.Exit(runComponent())
	}
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(exitConfig)
	}
	os.Exit(run(*dir, flag.Arg(0)))
}

// run runs the SFU and returns the exit status.
func run(dir, name string) int {
	cfg, err := config.Load(dir, name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitConfig
	}
	log := sysd.NewLogger(cfg.SFU.LogLevel)
	slog.SetDefault(log)
	debug.SetMemoryLimit(cfg.SFU.Memory)
	s, err := assemble(cfg, log)
	if errors.Is(err, errOverruled) {
		log.Warn("stopped for good", "err", err)
		return exitConfig
	}
	if err != nil && scarce(err) {
		log.Error("cannot start yet; make room, systemd tries again", "err", err, "state_dir", cfg.SFU.StateDir)
		return exitFailure
	}
	if err != nil {
		log.Error("cannot start", "err", err)
		return exitConfig
	}
	err = s.serve(log)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errRemoved), errors.Is(err, errOverruled):
		log.Warn("stopped for good", "err", err)
		return exitConfig
	}
	log.Error("ended", "err", err)
	return exitFailure
}

// scarce tells that the machine lacks what an SFU needs to start: room on a disk,
// memory, descriptors. Unlike a faulty configuration that may pass by itself.
func scarce(err error) bool {
	for _, lack := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// serve runs the engine between READY and the end.
func (s *sfu) serve(log *slog.Logger) error {
	notifier, err := sysd.NewNotifier()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	done := make(chan error, 1)
	go func() { done <- s.engine.Run(ctx) }()
	go s.becomeReady(ctx, notifier, log)
	go s.keeper.run(ctx)
	go s.keeper.inquire(ctx)

	beat := time.NewTimer(timer.Next(beatInterval))
	defer beat.Stop()
	stopping := false
	var gone error // why there is nothing to come back to
	for alive := (pulse{progress: s.engine.Progress}); ; {
		select {
		case err := <-done:
			if errors.Is(gone, errOverruled) {
				err = errors.Join(err, s.overruled())
			}
			return errors.Join(gone, err, s.close())
		case gone = <-s.keeper.removed:
			stopping = true
			if err := s.engine.Shutdown(true); err != nil {
				return errors.Join(gone, err)
			}
		case sig := <-signals:
			if stopping {
				return fmt.Errorf("%v again: ended without draining", sig)
			}
			stopping = true
			log.Info("stopping", "signal", sig.String())
			if err := notifier.Stopping("draining"); err != nil {
				log.Warn("systemd was not told", "err", err)
			}
			var last *engine.LastError
			if err := s.engine.Shutdown(false); errors.As(err, &last) {
				log.Warn("stopping the last provider", "services", last.Services)
				if err := s.engine.Shutdown(true); err != nil {
					return err
				}
			}
		case <-hangups:
			s.reloadNow(notifier, log)
		case <-beat.C:
			beat.Reset(timer.Next(beatInterval))
			// The watchdog is answered, and a drain given more time, by real progress only.
			if !alive.beats() {
				continue
			}
			if err := notifier.Alive(s.clock()); err != nil {
				log.Warn("the watchdog was not answered", "err", err)
			}
			if stopping {
				if err := notifier.Extend(extendBy); err != nil {
					log.Warn("systemd was not told", "err", err)
				}
			}
		}
	}
}

// reloadNow reloads, and tells systemd from when to when.
func (s *sfu) reloadNow(n *sysd.Notifier, log *slog.Logger) {
	ready := s.ready.Load() // before READY a reload has nothing to say to systemd
	if ready {
		if err := n.Reloading(); err != nil {
			log.Warn("systemd was not told", "err", err)
		}
	}
	status := "ready"
	if err := s.reload(); err != nil {
		log.Error("nothing reloaded", "err", err)
		status = "ready; the last reload failed: " + err.Error()
	}
	if ready {
		if err := n.Ready(status); err != nil {
			log.Warn("systemd was not told", "err", err)
		}
	}
}

const (
	// beatInterval is how often progress is looked at: several times in the
	// watchdog's 10 s.
	beatInterval = time.Second
	// extendBy is what a drain that makes progress asks systemd for, again and again.
	extendBy = 15 * time.Second
)

// pulse tells whether the engine goes on.
type pulse struct {
	progress func() uint64
	last     uint64
}

// beats reports whether there was progress since it was asked last.
func (p *pulse) beats() bool {
	now := p.progress()
	moved := now != p.last
	p.last = now
	return moved
}

// becomeReady tells systemd when every Component is.
func (s *sfu) becomeReady(ctx context.Context, n *sysd.Notifier, log *slog.Logger) {
	if err := n.Status("recovering and joining the other SFUs"); err != nil {
		log.Warn("systemd was not told", "err", err)
	}
	extend := time.AfterFunc(0, func() {})
	defer extend.Stop()
	ready := make(chan error, 1)
	go func() { ready <- s.engine.WaitReady(ctx) }()
	for alive := (pulse{progress: s.engine.Progress}); ; {
		select {
		case err := <-ready:
			if err != nil {
				return // it ends, and serve says why
			}
			log.Info("ready", "name", s.name, "version", version)
			if err := n.Ready("ready"); err != nil {
				log.Warn("systemd was not told", "err", err)
			}
			s.ready.Store(true)
			return
		case <-time.After(extendBy / 3):
			if !alive.beats() {
				continue // its time is running out
			}
			if err := n.Extend(extendBy); err != nil {
				log.Warn("systemd was not told", "err", err)
			}
		}
	}
}
