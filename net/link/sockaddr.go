package link

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"
)

// nameSize holds the longest socket address used here, that of a Unix socket
// (110 bytes), rounded up to whole words.
const nameSize = 112

// codec turns addresses into the kernel's form and back, for one family.
type codec interface {
	// encode writes a into name and returns its length, 0 if a is not an
	// address that the family can send to.
	encode(a Addr, name *[nameSize]byte) uint32
	// decode returns the address in name, the zero Addr if it makes no sense.
	decode(name []byte) Addr
	// queue returns whose queue a frame to a waits in: a itself where every
	// receiver has one, the zero Addr where all share the sender's.
	queue(a Addr) Addr
}

// ethernetCodec is the family of packet sockets of kind SOCK_DGRAM (packet(7)).
//
//	 0      2          4         8        10        11      12
//	+------+----------+---------+--------+---------+-------+----------+
//	|family| type, BE | ifindex | hatype | pkttype | halen | MAC + 2  |
//	+------+----------+---------+--------+---------+-------+----------+
type ethernetCodec struct {
	etherType uint16
	index     uint32
}

const sizeofLinklayer = unix.SizeofSockaddrLinklayer

func (c ethernetCodec) encode(a Addr, name *[nameSize]byte) uint32 {
	mac := [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	switch a.kind {
	case kindEthernet:
		mac = a.mac()
	case kindBroadcast:
	default:
		return 0
	}
	binary.NativeEndian.PutUint16(name[0:], unix.AF_PACKET)
	binary.BigEndian.PutUint16(name[2:], c.etherType)
	binary.NativeEndian.PutUint32(name[4:], c.index)
	clear(name[8:sizeofLinklayer])
	name[11] = 6
	copy(name[12:], mac[:])
	return sizeofLinklayer
}

func (ethernetCodec) decode(name []byte) Addr {
	if len(name) < 18 || binary.NativeEndian.Uint16(name) != unix.AF_PACKET || name[11] != 6 {
		return Addr{}
	}
	return Ethernet([6]byte(name[12:18]))
}

func (ethernetCodec) queue(Addr) Addr { return Addr{} }

// udpCodec is the family of UDP sockets: ip(7) for an IPv4 socket, ipv6(7) for
// an IPv6 one, which cannot reach IPv4 here.
//
//	 0      2        4         8                       4      8          24      28
//	+------+--------+---------+--------+              +------+----------+-------+
//	|family|port, BE| address | 8 zero |     or, IPv6 | flow | address  | scope |
//	+------+--------+---------+--------+              +------+----------+-------+
type udpCodec struct{ v6 bool }

func (c udpCodec) encode(a Addr, name *[nameSize]byte) uint32 {
	switch {
	case a.kind == kindUDP4 && !c.v6:
		binary.NativeEndian.PutUint16(name[0:], unix.AF_INET)
		binary.BigEndian.PutUint16(name[2:], a.num)
		copy(name[4:8], a.raw[:4])
		clear(name[8:16])
		return unix.SizeofSockaddrInet4
	case a.kind == kindUDP6 && c.v6:
		binary.NativeEndian.PutUint16(name[0:], unix.AF_INET6)
		binary.BigEndian.PutUint16(name[2:], a.num)
		clear(name[4:8])
		copy(name[8:24], a.raw[:])
		clear(name[24:28])
		return unix.SizeofSockaddrInet6
	}
	return 0
}

func (udpCodec) decode(name []byte) Addr {
	if len(name) < 8 {
		return Addr{}
	}
	switch binary.NativeEndian.Uint16(name) {
	case unix.AF_INET:
		a := Addr{kind: kindUDP4, num: binary.BigEndian.Uint16(name[2:])}
		copy(a.raw[:], name[4:8])
		return a
	case unix.AF_INET6:
		if len(name) < 24 {
			return Addr{}
		}
		return Addr{kind: kindUDP6, num: binary.BigEndian.Uint16(name[2:]), raw: [16]byte(name[8:24])}
	}
	return Addr{}
}

func (udpCodec) queue(Addr) Addr { return Addr{} }

// unixCodec is the family of Unix datagram sockets (unix(7)): the family and the
// path dir/NUMBER.sock.
type unixCodec struct{ dir string }

const sockSuffix = ".sock"

// maxUnixDir bounds the directory so that the path fits the 108 bytes of
// sun_path with "/65535.sock" and the closing zero.
const maxUnixDir = 108 - 1 - len("/65535"+sockSuffix)

func (c unixCodec) encode(a Addr, name *[nameSize]byte) uint32 {
	if a.kind != kindLocal {
		return 0
	}
	binary.NativeEndian.PutUint16(name[0:], unix.AF_UNIX)
	b := append(name[:2], c.dir...)
	b = append(b, '/')
	b = strconv.AppendUint(b, uint64(a.num), 10)
	b = append(b, sockSuffix...)
	b = append(b, 0)
	return uint32(len(b))
}

func (unixCodec) decode(name []byte) Addr {
	if len(name) < 2 || binary.NativeEndian.Uint16(name) != unix.AF_UNIX {
		return Addr{}
	}
	path := name[2:]
	for len(path) > 0 && path[len(path)-1] == 0 {
		path = path[:len(path)-1]
	}
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			if n := sockNumber(path[i+1:]); n != 0 {
				return Local(n)
			}
			break
		}
	}
	return Addr{}
}

func (unixCodec) queue(a Addr) Addr { return a }

// sockNumber reads the NUMBER of "NUMBER.sock"; 0 if name is anything else.
func sockNumber[T string | []byte](name T) uint16 {
	digits := len(name) - len(sockSuffix)
	if digits < 1 || digits > 5 || string(name[digits:]) != sockSuffix || name[0] == '0' {
		return 0
	}
	n := 0
	for i := range digits {
		if name[i] < '0' || name[i] > '9' {
			return 0
		}
		n = n*10 + int(name[i]-'0')
	}
	if n > 65535 {
		return 0
	}
	return uint16(n)
}
