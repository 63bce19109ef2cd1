package link

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The head of struct ethtool_link_settings of ethtool(8), which is followed by three bit
// masks of as many words as the kernel says:
//
//	0      4       8                15      16        48
//	+------+-------+-- - - - - - - -+-------+-- - - - +-- - - -
//	| cmd  | speed | duplex, port … | words | …       | masks
//	+------+-------+-- - - - - - - -+-------+-- - - - +-- - - -
const (
	settingsSpeed = 4
	settingsWords = 15
	settingsHead  = 48
	settingsMost  = settingsHead + 3*4*math.MaxInt8
)

// ethtoolRequest is struct ifreq with a pointer in it.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// speedOf asks the driver for the speed of an interface of the thread's network namespace,
// in Mbit/s; 0 if it has none or does not know. Netlink's messages do not tell it, and
// /sys shows the namespace of whoever mounted it.
func speedOf(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("link: speed of %s: %w", name, err)
	}
	defer unix.Close(fd)
	var settings [settingsMost]byte
	// The first call only says how long the masks are.
	for range 2 {
		words := settings[settingsWords]
		settings = [settingsMost]byte{settingsWords: -words}
		binary.NativeEndian.PutUint32(settings[:], unix.ETHTOOL_GLINKSETTINGS)
		r := ethtoolRequest{data: unsafe.Pointer(&settings)}
		copy(r.name[:unix.IFNAMSIZ-1], name)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
		runtime.KeepAlive(&settings)
		switch errno {
		case 0:
		case unix.EOPNOTSUPP, unix.ENODEV: // or it has just gone
			return 0, nil
		default:
			return 0, fmt.Errorf("link: speed of %s: %w", name, errno)
		}
	}
	if speed := binary.NativeEndian.Uint32(settings[settingsSpeed:]); speed <= math.MaxInt32 { // otherwise SPEED_UNKNOWN
		return int(speed), nil
	}
	return 0, nil
}
