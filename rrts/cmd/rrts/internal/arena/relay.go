package arena

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// relay stands for the switch of network A when the SFUs are carried by UDP. It
// has one address for each SFU, at which the others find it; what comes there is
// sent on to the SFU from the address that stands for the sender.
type relay struct {
	cut   atomic.Bool
	conns []*net.UDPConn
	real  []netip.AddrPort
	index map[netip.AddrPort]int
	run   sync.WaitGroup
}

// maxDatagram is the longest UDP datagram.
const maxDatagram = 65535

func newRelay(real []netip.AddrPort) (*relay, error) {
	r := &relay{real: real, index: map[netip.AddrPort]int{}}
	for i, addr := range real {
		r.index[addr] = i
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			r.close()
			return nil, fmt.Errorf("arena: relay: %w", err)
		}
		r.conns = append(r.conns, c)
	}
	for to := range r.conns {
		r.run.Go(func() { r.forward(to) })
	}
	return r, nil
}

// address is where the others find SFU i.
func (r *relay) address(i int) netip.AddrPort {
	return r.conns[i].LocalAddr().(*net.UDPAddr).AddrPort()
}

// forward sends on what comes for one SFU until the relay is closed.
func (r *relay) forward(to int) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := r.conns[to].ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		sender, known := r.index[from]
		if !known || r.cut.Load() {
			continue
		}
		// Lost if the receiver is down or its buffer is full, as on a wire.
		_, _ = r.conns[sender].WriteToUDPAddrPort(buf[:n], r.real[to])
	}
}

func (r *relay) close() {
	for _, c := range r.conns {
		c.Close()
	}
	r.run.Wait()
}
