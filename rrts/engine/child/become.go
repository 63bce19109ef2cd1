package child

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeName is the name under which this program is started in order to become a child:
// between fork and exec Go has no room for limits and the loss of privileges.
const becomeName = "rrts-component"

// exitBecome is the exit status of a child that could not be made.
const exitBecome = 125

// Become must be called first in the main of a program that starts children. In a
// process that was started to become one it does not return.
func Become() {
	if len(os.Args) != 2 || os.Args[0] != becomeName {
		return
	}
	runtime.LockOSThread() // what follows is a thread's own, and exec keeps that of the caller
	err := become(os.Args[1])
	fmt.Fprintf(os.Stderr, "<3>%v\n", err)
	os.Exit(exitBecome)
}

// become turns this process into what the order says. It returns only if it cannot.
func become(text string) error {
	var o order
	b, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		return fmt.Errorf("child: its order is malformed: %w", err)
	}
	syscall.Umask(0o077)
	if err := o.dropPrivileges(); err != nil {
		return err
	}
	if err := o.Limits.apply(); err != nil {
		return err
	}
	// A change of user takes this signal away, so it is asked for afterwards; and the
	// parent may be gone by then.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("child: PR_SET_PDEATHSIG: %w", err)
	}
	if os.Getppid() != o.Parent {
		return fmt.Errorf("child: the engine is gone")
	}
	// CLOEXEC is on for all but the standard ones and those of ExtraFiles.
	err = syscall.Exec(o.Executable, append([]string{filepath.Base(o.Executable)}, o.Arguments...), os.Environ())
	if os.IsPermission(err) {
		return fmt.Errorf("child: %s: %w: user %d must be able to read and execute it, and to enter its directories", o.Executable, err, os.Getuid())
	}
	return fmt.Errorf("child: %s: %w", o.Executable, err)
}

// dropPrivileges changes the user, and lets go of every capability for good.
func (o *order) dropPrivileges() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("child: PR_CAP_AMBIENT_CLEAR_ALL: %w", err)
	}
	// Root, which a child may be in development, would get them back at exec. Who has not
	// the right to drop them has none to pass on.
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
	}
	if o.User != nil {
		if err := syscall.Setgroups(nil); err != nil {
			return fmt.Errorf("child: setgroups: %w", err)
		}
		if err := syscall.Setgid(int(o.User.GID)); err != nil {
			return fmt.Errorf("child: setgid %d: %w", o.User.GID, err)
		}
		if err := syscall.Setuid(int(o.User.UID)); err != nil {
			return fmt.Errorf("child: setuid %d: %w", o.User.UID, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("child: PR_SET_NO_NEW_PRIVS: %w", err)
	}
	return nil
}

// apply bounds this process, last before exec: the bounds are meant for the child.
func (l *Limits) apply() error {
	for _, b := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"memory", unix.RLIMIT_DATA, uint64(l.Memory)},
		{"files", unix.RLIMIT_NOFILE, l.Files},
		{"processes", unix.RLIMIT_NPROC, l.Processes},
	} {
		if b.value == 0 {
			continue
		}
		// The package syscall's: it knows then that exec must not restore another.
		if err := syscall.Setrlimit(b.resource, &syscall.Rlimit{Cur: b.value, Max: b.value}); err != nil {
			return fmt.Errorf("child: the limit of %s to %d: %w", b.name, b.value, err)
		}
	}
	// What it holds is its users' business, and a core file is for everybody.
	if err := syscall.Setrlimit(unix.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("child: no core files: %w", err)
	}
	if l.Nice != 0 {
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, l.Nice); err != nil {
			return fmt.Errorf("child: nice %d: %w", l.Nice, err)
		}
	}
	return nil
}
