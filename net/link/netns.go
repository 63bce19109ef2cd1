package link

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNamespace runs fn on a thread that is in the network namespace at path; an
// empty path is the process's own. Sockets that fn opens stay in the namespace.
func inNamespace(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- fmt.Errorf("link: %w", err)
			return
		}
		defer home.Close()
		there, err := os.Open(path)
		if err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("link: network namespace: %w", err)
			return
		}
		defer there.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("link: network namespace %s: %w", path, err)
			return
		}
		err = fn()
		// A thread that cannot go home stays locked and ends with this goroutine.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}
