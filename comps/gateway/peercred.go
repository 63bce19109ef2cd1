package gateway

import (
	"fmt"
	"net"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxGroups bounds the groups of a process that are looked at; Linux allows
// 65,536, and nobody is in more than a few.
const maxGroups = 1024

// authorize reports why the process at the other end of a Unix socket may not be
// an operator. What counts is who it was when it connected, as the kernel says.
func (g *Gateway) authorize(c *net.UnixConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("gateway: admin socket: %w", err)
	}
	var cred *unix.Ucred
	var groups []uint32
	var credErr, groupErr error
	if err := rc.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		groups, groupErr = peerGroups(int(fd))
	}); err != nil {
		return fmt.Errorf("gateway: admin socket: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("gateway: admin socket: SO_PEERCRED: %w", credErr)
	}
	if groupErr != nil {
		groups = nil // a kernel before 4.13: the first group alone counts
	}
	if !mayOperate(cred.Uid, cred.Gid, groups, uint32(os.Geteuid()), g.cfg.AdminGroup) {
		return fmt.Errorf("gateway: user %d is not an operator of this machine: only root and the group rrts are: run it with sudo, or `adduser USER rrts`", cred.Uid)
	}
	return nil
}

// mayOperate decides who is an operator: root, the SFU's own user, and the members
// of the group, if there is one.
func mayOperate(uid, gid uint32, groups []uint32, own, group uint32) bool {
	return uid == 0 || uid == own || group != 0 && (gid == group || slices.Contains(groups, group))
}

// peerGroups returns the supplementary groups of a Unix socket's peer.
func peerGroups(fd int) ([]uint32, error) {
	var groups [maxGroups]uint32
	size := uint32(unsafe.Sizeof(groups))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
		uintptr(unsafe.Pointer(&groups)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("SO_PEERGROUPS: %w", errno)
	}
	return slices.Clone(groups[:size/4]), nil
}
