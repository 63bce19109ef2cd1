// Command rrts-watchdog resets a machine whose engines can be neither killed nor
// restarted, and lets the hardware reset one that stands still.
//
//	rrts-watchdog
//
// systemd runs it as rrts-watchdog.service once `rrts watchdog arm` has ordered it;
// --version prints the version. It is a process of its own, small and locked in memory,
// so that nothing that happens to an engine happens to it. What it does is in package
// watchdog, and for operators in packaging/doc/watchdog.md.
//
// Exit status: 0 after a clean stop, 1 after a failure, 78 (EX_CONFIG) when it is off or
// cannot use the hardware, which starting again does not cure.
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
	"slices"
	"strings"
	"syscall"
	"time"

	"virtualservicesinc.com/sysd"
	"virtualservicesinc.com/watchdog"
)

// version is set by the build.
var version = "devel"

const (
	exitFailure = 1
	exitConfig  = 78
)

func main() {
	show := flag.Bool("version", false, "print the version")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: rrts-watchdog") }
	flag.Parse()
	if *show {
		fmt.Println("rrts-watchdog", version)
		return
	}
	if flag.NArg() != 0 {
		flag.Usage()
		os.Exit(exitConfig)
	}
	log := sysd.NewLogger(slog.LevelInfo)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, log)
	switch {
	case err == nil:
	case errors.Is(err, watchdog.ErrOff), errors.Is(err, watchdog.ErrUnusable):
		log.Error("not armed", "err", err)
		os.Exit(exitConfig)
	default:
		log.Error("ended", "err", err)
		os.Exit(exitFailure)
	}
}

// garbage is how much the heap may grow, in percent, before it is collected: it holds a
// few answers of systemd, and every page of it is locked.
const garbage = 25

func run(ctx context.Context, log *slog.Logger) error {
	// A machine that pages like mad is judged by whether systemd answers, not by
	// whether this process gets its own pages back in time.
	debug.SetGCPercent(garbage)
	if err := lockMemory(); err != nil {
		return err
	}
	order, err := watchdog.ReadOrder(watchdog.StateDir)
	if err != nil {
		return err
	}
	if order == nil {
		return errors.New("rrts-watchdog: nobody ordered it: run rrts watchdog arm")
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("rrts-watchdog: %w", err)
	}
	notifier, err := sysd.NewNotifier()
	if err != nil {
		return err
	}
	found, err := appear(ctx, order.Device)
	if err != nil {
		return err
	}
	held, err := new(watchdog.Systemd).Holds(ctx)
	if err != nil {
		return err
	}
	engines := &watchdog.Systemd{}
	g := &watchdog.Guard{
		Order: order, Boot: strings.TrimSpace(string(boot)), Dir: watchdog.StateDir, RunDir: watchdog.RunDir, Log: log,
		Ready: func(status string) {
			if err := notifier.Ready(status); err != nil {
				log.Warn("systemd was not told", "err", err)
			}
		},
		Alive: func(now time.Duration) {
			if err := notifier.Alive(now); err != nil {
				log.Warn("systemd was not told", "err", err)
			}
		},
		Engines: engines.Engines,
		Open: func(o *watchdog.Order) (watchdog.Device, error) {
			return watchdog.OpenOrder(o, found, held, new(watchdog.Systemd).Reset, log)
		},
	}
	for _, f := range found {
		if f.Device == order.Device {
			g.Evidence = f.Evidence
		}
	}
	return g.Run(ctx)
}

const (
	// appearWithin is how long after the start of the machine a driver may come.
	appearWithin = 20 * time.Second
	appearEvery  = 500 * time.Millisecond
)

// appear returns what watchdogs there are, once the ordered one is among them or its
// time is over. A process that began before the driver came has not been allowed to use
// it: it ends, and the next one is.
func appear(ctx context.Context, device string) ([]watchdog.Found, error) {
	for begin, first := time.Now(), true; ; first = false {
		found, err := watchdog.Find("")
		if err != nil {
			return nil, err
		}
		there := slices.ContainsFunc(found, func(f watchdog.Found) bool { return f.Device == device })
		switch {
		case there && !first:
			return nil, fmt.Errorf("rrts-watchdog: %s has come: once more", device)
		case there || time.Since(begin) > appearWithin:
			return found, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(appearEvery):
		}
	}
}
