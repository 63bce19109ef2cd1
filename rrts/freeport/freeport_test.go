package freeport

import (
	"net"
	"testing"
)

// TestTake wants each port once, below those of outgoing connections, and none that is in
// use or that another process holds.
func TestTake(t *testing.T) {
	seen := map[uint16]bool{}
	for range 200 {
		port, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Errorf("port %d twice", port)
		}
		if seen[port] = true; int(port) < lowest || int(port) >= outgoing() {
			t.Errorf("port %d, want %d to %d", port, lowest, outgoing()-1)
		}
	}
}

func TestReserve(t *testing.T) {
	port, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	if mark, err := reserve(int(port)); err == nil {
		mark.Close()
		t.Errorf("port %d is given again", port)
	}
	for _, network := range []string{"tcp4", "udp4"} {
		t.Run(network, func(t *testing.T) {
			port := listen(t, network)
			if mark, err := reserve(port); err == nil {
				mark.Close()
				t.Errorf("port %d is given although somebody listens there", port)
			}
		})
	}
}

// listen listens at any port of the loopback until the test ends.
func listen(t *testing.T, network string) int {
	t.Helper()
	if network == "tcp4" {
		l, err := net.Listen(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().(*net.TCPAddr).Port
	}
	c, err := net.ListenPacket(network, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().(*net.UDPAddr).Port
}
