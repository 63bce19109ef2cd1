package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// maxLocal bounds a broadcast between the SFUs of one machine.
	maxLocal = 256
	// wantQueue is the number of frames that should fit a receiver's queue. The
	// kernel's default of 10 makes the sender wait at every burst.
	wantQueue = 512
	// unixBuffer is the send buffer in bytes: the frames in the receivers'
	// queues are charged to it.
	unixBuffer = DefaultBuffer
)

// UnixConfig describes a link between the SFUs of one machine.
type UnixConfig struct {
	// Dir is the directory of the sockets, the same for all SFUs of the
	// machine; it is made (0700) when it is missing.
	Dir string
	// SFU is this SFU's number, 1 to 65535. Its socket is Dir/SFU.sock.
	SFU uint16
	// Mode is the permission of the socket: who may send here. 0 means 0600;
	// 0660 lets the group in.
	Mode fs.FileMode
	// MTU is the longest frame in bytes; 0 means MaxFrame, which is the most.
	MTU int
}

func (c *UnixConfig) validate() error {
	var faults []error
	if c.Dir == "" || len(c.Dir) > maxUnixDir || strings.IndexByte(c.Dir, 0) >= 0 {
		faults = append(faults, fmt.Errorf("link: UnixConfig.Dir %q is not 1 to %d bytes long", c.Dir, maxUnixDir))
	}
	if c.SFU == 0 {
		faults = append(faults, errors.New("link: UnixConfig.SFU is 0"))
	}
	if c.Mode&^0o777 != 0 {
		faults = append(faults, fmt.Errorf("link: UnixConfig.Mode %v is more than permission bits", c.Mode))
	}
	if c.MTU < 0 || c.MTU > MaxFrame {
		faults = append(faults, fmt.Errorf("link: UnixConfig.MTU %d is not between 0 and %d", c.MTU, MaxFrame))
	}
	return errors.Join(faults...)
}

// OpenUnix opens the link of one SFU to the others on its machine. A socket left
// behind by a process that died is replaced; a number that a living process
// holds is an error.
func OpenUnix(cfg UnixConfig) (Link, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Dir = filepath.Clean(cfg.Dir)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	lock, err := lockNumber(cfg)
	if err != nil {
		return nil, err
	}
	d, err := newUnix(cfg, lock)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return d, nil
}

// lockNumber takes the SFU's number on this machine. The lock goes with the
// process, so unlike the socket it is never stale.
func lockNumber(cfg UnixConfig) (*os.File, error) {
	path := filepath.Join(cfg.Dir, fmt.Sprintf("%d.lock", cfg.SFU))
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("link: sfu %d is already running on this machine (%s is locked)", cfg.SFU, path)
		}
		return nil, fmt.Errorf("link: lock %s: %w", path, err)
	}
	return lock, nil
}

func newUnix(cfg UnixConfig, lock *os.File) (*datagram, error) {
	codec := unixCodec{dir: cfg.Dir}
	path := codec.path(cfg.SFU)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("link: %w", err)
	}
	mode := cfg.Mode
	if mode == 0 {
		mode = 0o600
	}
	// The mode is set before bind, so the socket is never open to more than
	// that; what the umask took from it is given back after.
	control := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var fault error
		if err := rc.Control(func(fd uintptr) { fault = unix.Fchmod(int(fd), uint32(mode)) }); err != nil {
			return err
		}
		return fault
	}}
	pc, err := control.ListenPacket(context.Background(), "unixgram", path)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	conn := pc.(*net.UnixConn)
	if err := os.Chmod(path, mode); err != nil {
		conn.Close()
		return nil, fmt.Errorf("link: %w", err)
	}
	rc, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("link: %w", err)
	}
	granted, err := setBuffers(rc, unixBuffer)
	if err != nil {
		conn.Close()
		return nil, err
	}
	mtu := cfg.MTU
	if mtu == 0 {
		mtu = MaxFrame
	}
	d := &datagram{
		conn: &unixSocket{UnixConn: conn, path: path, lock: lock},
		rc:   rc,
		status: Status{
			Up:            true,
			Local:         Local(cfg.SFU),
			MTU:           mtu,
			ReceiveBuffer: granted.receive,
			SendBuffer:    granted.send,
			Small:         granted.small,
		},
		everybody: func() []Addr { return neighbours(cfg.Dir, cfg.SFU) },
		changed:   make(chan struct{}, 1),
	}
	const sysctl = "net.unix.max_dgram_qlen"
	if n := readSysctl(sysctl); n > 0 && n < wantQueue {
		d.status.Small = tooSmall("receive queue in frames", n, wantQueue, sysctl)
	}
	d.batch = newBatch(rc, codec, &d.count)
	return d, nil
}

// path returns where the socket of an SFU is.
func (c unixCodec) path(sfu uint16) string {
	return fmt.Sprintf("%s/%d%s", c.dir, sfu, sockSuffix)
}

// neighbours lists the SFUs that have, or had, a socket in dir.
func neighbours(dir string, self uint16) []Addr {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found []Addr
	for _, e := range entries {
		if n := sockNumber(e.Name()); n != 0 && n != self && len(found) < maxLocal {
			found = append(found, Local(n))
		}
	}
	return found
}

// unixSocket removes what it made when it is closed.
type unixSocket struct {
	*net.UnixConn
	path string
	lock *os.File
}

func (s *unixSocket) Close() error {
	// Unlinked while the lock is held: it can be nobody else's socket.
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.UnixConn.Close(), s.lock.Close())
}
