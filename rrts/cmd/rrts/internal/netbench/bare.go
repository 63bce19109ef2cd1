package netbench

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/wire"
)

// A bare frame looks like one of the fabric's to the filter of a packet socket, and to
// nobody else:
//
//	+----------------------+----------+------------+---
//	| cluster: bareHash    | networks | number (8) | …
//	| (wire.HeaderSize)    | 1 or 2   |            |
//	+----------------------+----------+------------+---
//
// One for two networks leaves on both; its second copy is let go where it arrives.
const (
	bareNetworks = wire.HeaderSize
	bareNumber   = bareNetworks + 1
	bareSize     = bareNumber + 8
)

// bare is packet sockets on both networks: what the fabric has below it, and nothing else.
type bare struct {
	links  [2]*link.Packet
	poller *link.Poller
	frames []link.Frame
	newest uint64 // number received
}

// openBare opens the sockets. The caller closes them.
func openBare(h Host) (*bare, error) {
	poller, err := link.NewPoller()
	if err != nil {
		return nil, err
	}
	b := &bare{poller: poller, frames: make([]link.Frame, link.BatchSize)}
	for i := range b.frames {
		b.frames[i].Data = make([]byte, link.MaxFrame)
	}
	for n, etherType := range []uint16{link.EtherTypeA, link.EtherTypeB} {
		b.links[n], err = link.OpenPacket(link.PacketConfig{Interface: h.NICs[n], EtherType: etherType,
			Match: link.Match{Offset: wire.ClusterOffset, Value: bareHash}})
		if err == nil {
			_, err = poller.Add(b.links[n])
		}
		if err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	return b, nil
}

// close ends run.
func (b *bare) close() error {
	err := b.poller.Close()
	for _, l := range b.links {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

// run calls f with the first copy of each frame that arrives, until close.
func (b *bare) run(f func(frame []byte)) {
	b.poller.Run(func() {
		for more := true; more; {
			more = false
			for _, l := range b.links {
				n, left := l.Poll(b.frames)
				more = more || left
				for i := range b.frames[:n] {
					data := b.frames[i].Data
					if len(data) < bareSize {
						continue
					}
					if number := binary.BigEndian.Uint64(data[bareNumber:]); number > b.newest {
						b.newest = number
						f(data)
					}
				}
			}
		}
	})
}

// send sends a frame on the networks that it says. What is lost is asked for again.
func (b *bare) send(frame []byte) {
	out := [1]link.Frame{{Addr: link.Broadcast, Data: frame}}
	for _, l := range b.links[:min(frame[bareNetworks], 2)] {
		l.Send(out[:])
	}
}

// bareRetry is how long a frame of the bare echo is waited for: frames may be lost.
const bareRetry = 20 * time.Millisecond

// pingBare measures round trips of a bare frame, clear, on one network or on both: what
// the machine and its Ethernet allow to whoever sends a record once, or twice. A record
// longer than a frame is cut to one.
func pingBare(host Host, networks, size int, d time.Duration, h *histogram) error {
	b, err := openBare(host)
	if err != nil {
		return err
	}
	var (
		mu     sync.Mutex
		number = uint64(time.Now().UnixNano()) // beyond those of every measurement before
		left   = warmUp
		sent   time.Time
		frame  = make([]byte, min(max(size, bareSize), b.links[0].Status().MTU))
	)
	binary.BigEndian.PutUint32(frame[wire.ClusterOffset:], bareHash)
	frame[bareNetworks] = byte(networks)
	next := func() {
		number++
		binary.BigEndian.PutUint64(frame[bareNumber:], number)
		sent = time.Now()
		b.send(frame)
	}
	began := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.run(func(reply []byte) {
			mu.Lock()
			defer mu.Unlock()
			switch now := time.Now(); {
			case binary.BigEndian.Uint64(reply[bareNumber:]) != number || now.Sub(began) >= d:
				return
			case left > 0:
				left--
			default:
				h.add(now.Sub(sent))
			}
			next()
		})
	}()
	for time.Since(began) < d {
		mu.Lock()
		if time.Since(sent) > bareRetry {
			next()
		}
		mu.Unlock()
		time.Sleep(bareRetry)
	}
	err = b.close()
	<-ended
	return err
}
