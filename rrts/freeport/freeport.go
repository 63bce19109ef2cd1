// Package freeport gives ports to the servers of throw-away clusters: those of the demo, of
// the benchmarks and of tests, each a process of its own that is to come back at its port
// after it was killed.
//
// A port that was free a moment ago is not enough for that. One out of the range that Linux
// gives to outgoing connections is soon somebody's, and between two lives of a server any
// other cluster on the machine may find it free.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
)

const (
	// lowest is the first port that is given out; below it there may be servers that
	// somebody installed, and starts later.
	lowest = 10_000
	// usualFirst is where Linux begins with ports for outgoing connections, unless told
	// otherwise.
	usualFirst = 32_768
	// tries bounds the search: so many ports in a row are not in use anywhere.
	tries = 1_000
)

// held are the marks of the ports that this process was given, which the process's end
// takes away.
var held struct {
	sync.Mutex
	marks []net.PacketConn
}

// Take returns a port that nobody listens on, by TCP or UDP on any IPv4 address, that Linux
// gives to no outgoing connection, and that nobody else is given here, in this process or
// another one of this network namespace, while this process lives.
//
// Error: none was found.
func Take() (uint16, error) {
	end := outgoing()
	if end <= lowest {
		return 0, fmt.Errorf("freeport: ports for outgoing connections begin at %d, and servers get those from %d on: raise net.ipv4.ip_local_port_range", end, lowest)
	}
	port := lowest + rand.IntN(end-lowest)
	var last error
	for range tries {
		if port++; port >= end {
			port = lowest
		}
		mark, err := reserve(port)
		if err == nil {
			held.Lock()
			held.marks = append(held.marks, mark)
			held.Unlock()
			return uint16(port), nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, fmt.Errorf("freeport: %w", err)
		}
		last = err
	}
	return 0, fmt.Errorf("freeport: %d ports are all in use: %w", tries, last)
}

// reserve marks a port as given, by a Unix socket of an abstract name, and makes sure that
// nobody uses it.
func reserve(port int) (net.PacketConn, error) {
	mark, err := net.ListenPacket("unixgram", "@rrts-freeport-"+strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: port})
	if err != nil {
		return nil, errors.Join(err, mark.Close())
	}
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		return nil, errors.Join(err, tcp.Close(), mark.Close())
	}
	return mark, errors.Join(udp.Close(), tcp.Close())
}

// outgoing is the first port that Linux may give to an outgoing connection.
func outgoing() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usualFirst
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		return usualFirst
	}
	return first
}
