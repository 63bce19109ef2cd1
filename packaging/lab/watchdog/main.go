// Command lab-watchdog puts the hardware watchdog to the proof on a machine that has
// one: Debian in QEMU, with an i6300esb that really resets it. The package is installed
// in its root file system, an operator makes a cluster of two SFUs and arms the watchdog,
// and then what it is for happens.
//
//	lab-watchdog [--dir DIR] [STEP...]
//
// Without a STEP all of them, in their order; --list names them. With --dir the disks
// stay in DIR and the next call goes on with them, so that steps can be run one by one.
//
// `make lab-watchdog` builds what it needs and runs it; packaging/doc/watchdog.md says
// what is shown.
//
// Exit status: 0 every step went as it should, 1 one did not, 2 a fault in the command
// line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"virtualservicesinc.com/packaging/lab/qemu"
)

// cacheDir holds what is made once.
const cacheDir = "/var/cache/rrts-lab"

type options struct {
	packages, makeRoot, suite, dir, logs string
}

func main() {
	var o options
	list := flag.Bool("list", false, "name the steps")
	flag.StringVar(&o.packages, "packages", "build", "directory with the Debian package of `make deb`")
	flag.StringVar(&o.makeRoot, "make-root", "packaging/lab/make-root", "what makes the machine's root file system")
	flag.StringVar(&o.suite, "suite", "bookworm", "Debian release of the machine")
	flag.StringVar(&o.dir, "dir", "", "directory in which the disks stay (default: none does)")
	flag.StringVar(&o.logs, "logs", "build/lab/watchdog", "directory for what a failed run leaves to read")
	flag.Parse()
	if *list {
		for _, s := range steps {
			fmt.Printf("%-12s %s\n", s.Name, s.About)
		}
		return
	}
	chosen, err := choose(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab-watchdog:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err = run(ctx, o, chosen)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab-watchdog:", err)
		os.Exit(1)
	}
}

// choose returns the steps of those names, in their own order.
func choose(names []string) ([]step, error) {
	if len(names) == 0 {
		return steps, nil
	}
	var chosen []step
	for _, s := range steps {
		if slices.Contains(names, s.Name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) != len(names) {
		return nil, fmt.Errorf("not all of %q are steps; --list names them", names)
	}
	return chosen, nil
}

const (
	diskSize, stateSize = "3G", "4G" // doctor wants room
	memory              = 1024       // MiB: two SFUs, and Debian
	packageFile         = "rrts.deb"
	// upWithin bounds a boot: half a minute of emulation on an idle machine, and ten times
	// as much on one with a load of 20.
	upWithin = 10 * time.Minute
)

func run(ctx context.Context, o options, chosen []step) (err error) {
	w := &world{begin: time.Now(), logs: o.logs}
	root := filepath.Join(cacheDir, "qemu-"+o.suite)
	cmd := exec.CommandContext(ctx, o.makeRoot, o.suite, root, "linux-image-amd64", "initramfs-tools", "zstd")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the machine's root file system: %w", err)
	}
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp(cacheDir, "watchdog-*"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	disks := []string{filepath.Join(dir, "disk"), filepath.Join(dir, "state")}
	_, missing := os.Stat(disks[1])
	if missing != nil {
		w.say("making the disks")
		if err := makeDisks(ctx, o, root, disks); err != nil {
			return err
		}
	}
	if w.m, err = qemu.Start(qemu.Config{Root: root, Disks: disks, Dir: dir, Mem: memory}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.keepLogs(dir))
		}
		err = errors.Join(err, w.m.Close())
	}()
	if err := w.up(ctx); err != nil {
		return err
	}
	// What goes on begins with an order of its own: the call before may have been killed,
	// which is a power cut to the machine and counts as a reset; `off` is about those.
	if missing == nil && chosen[0].Name != "prepare" && chosen[0].Name != "off" {
		if _, err := w.operator(ctx, "rrts watchdog arm"); err != nil {
			return err
		}
	}
	for _, s := range chosen {
		w.say("— %s: %s", s.Name, s.About)
		if err := s.Do(ctx, w); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	w.say("every step went as it should")
	// What a next call goes on with is on the disks.
	_, err = w.m.Run(ctx, "systemctl stop rrts.target 'rrts@*' rrts-watchdog; sync")
	return err
}

// makeDisks makes one with Debian and the package, and one for the state of the SFU
// alpha, so that it can hang alone.
func makeDisks(ctx context.Context, o options, root string, disks []string) error {
	names, err := filepath.Glob(filepath.Join(o.packages, "rrts_*_amd64.deb"))
	if err == nil && len(names) != 1 {
		err = fmt.Errorf("there are %d packages rrts in %s: run make deb", len(names), o.packages)
	}
	if err != nil {
		return err
	}
	furnish := func(ctx context.Context, dir string) error {
		data, err := os.ReadFile(names[0])
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, packageFile), data, 0o644)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "etc/hostname"), []byte("pc1\n"), 0o644)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "etc/hosts"), []byte("127.0.0.1 localhost\n127.0.1.1 pc1\n"), 0o644)
		}
		if err != nil {
			return err
		}
		if out, err := exec.CommandContext(ctx, "chroot", dir, "dpkg", "--install", "/"+packageFile).CombinedOutput(); err != nil {
			return fmt.Errorf("dpkg: %w: %s", err, out)
		}
		if err := os.MkdirAll(filepath.Join(dir, "var/lib/rrts/alpha"), 0o700); err != nil {
			return err
		}
		fstab, err := os.OpenFile(filepath.Join(dir, "etc/fstab"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = fstab.WriteString("/dev/vdb /var/lib/rrts/alpha ext4 defaults,nofail 0 2\n")
		return errors.Join(err, fstab.Close())
	}
	if err := qemu.Build(ctx, qemu.Image{Root: root, Disk: disks[0], Size: diskSize, Furnish: furnish}); err != nil {
		return err
	}
	return qemu.Format(ctx, disks[1], stateSize, "")
}
