package link

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DefaultBuffer is the size in bytes asked for each socket buffer: some 1,800
// full frames as the kernel counts them, 20 ms of a gigabit wire, which is
// longer than a collected heap or a busy neighbour keeps a reader away.
const DefaultBuffer = 4 << 20

// buffers is what the kernel granted, in bytes.
type buffers struct {
	receive, send int
	small         string
}

// setBuffers asks for want bytes each way and reads back what was granted.
func setBuffers(rc syscall.RawConn, want int) (buffers, error) {
	var got buffers
	var fault error
	err := rc.Control(func(fd uintptr) {
		s := int(fd)
		for _, o := range []struct{ force, plain int }{
			{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF},
			{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF},
		} {
			// Beyond the sysctl's bound only with CAP_NET_ADMIN, which an SFU
			// does not have.
			if unix.SetsockoptInt(s, unix.SOL_SOCKET, o.force, want) != nil {
				fault = unix.SetsockoptInt(s, unix.SOL_SOCKET, o.plain, want)
			}
		}
		if fault == nil {
			got.receive, fault = unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
		if fault == nil {
			got.send, fault = unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF)
		}
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return buffers{}, fmt.Errorf("link: socket buffers: %w", err)
	}
	// The kernel doubles what it is asked, for its own book-keeping.
	got.receive /= 2
	got.send /= 2
	switch {
	case got.receive < want:
		got.small = tooSmall("receive buffer", got.receive, want, "net.core.rmem_max")
	case got.send < want:
		got.small = tooSmall("send buffer", got.send, want, "net.core.wmem_max")
	}
	return got, nil
}

// tooSmall words Status.Small.
func tooSmall(what string, got, want int, sysctl string) string {
	return fmt.Sprintf("%s is %d of the %d wanted: raise %s", what, got, want, sysctl)
}

// readSysctl returns a number from /proc/sys, 0 if it cannot be read.
func readSysctl(name string) int {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// dropped returns how many frames the kernel has dropped at the socket because
// its receive buffer was full.
func dropped(rc syscall.RawConn) uint64 {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	var errno syscall.Errno
	err := rc.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err != nil || errno != 0 {
		return 0
	}
	return uint64(info[unix.SK_MEMINFO_DROPS])
}
