package session_test

import (
	"crypto/rand"
	"fmt"
	"time"

	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/net/wire"
)

// Two sessions in one process, joined by memory instead of networks, on a clock
// that is counted by hand.
func Example() {
	var (
		keys       [2]session.KeyPair
		sessions   [2]*session.Session
		responders [2]*session.Responder
		buf        [wire.MaxFrame]byte
	)
	for i := range keys {
		var private [32]byte
		_, _ = rand.Read(private[:]) // never fails
		keys[i], _ = session.NewKeyPair(private)
	}
	for i := range sessions {
		peer := session.Peer{SFU: uint16(2 - i), Public: keys[1-i].Public}
		var err error
		sessions[i], err = session.New(session.Config{
			Local: uint16(1 + i), Key: keys[i], Peer: peer, PSK: [32]byte{1}, Slot: 1,
			Incarnation: 1, Rand: rand.Reader, MTU: [2]int{1500, 1500},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		responders[i], err = session.NewResponder(session.ResponderConfig{
			Local: uint16(1 + i), Key: keys[i], PSK: [32]byte{1}, Rand: rand.Reader, Peers: []session.Peer{peer},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
	}

	sent := false
	for now := time.Duration(0); now < 20*time.Millisecond; now += 100 * time.Microsecond {
		for i, s := range sessions {
			if now >= s.NextTimeout() {
				s.Advance(now)
			}
			for {
				n, on := s.Next(now, buf[:])
				if n == 0 {
					break
				}
				// A real carrier sends the same bytes on all networks of on.
				net := session.A
				if !on.Has(net) {
					net = session.B
				}
				frame := buf[:n]
				if h, err := wire.ParseHeader(frame); err == nil && h.Type == wire.TypeInitiation {
					if in, err := responders[1-i].Open(now, frame); err == nil {
						sessions[1-i].Accept(now, in)
					}
					continue
				}
				sessions[1-i].Receive(now, net, frame)
			}
			for _, record := range s.Take(session.LaneRequest) {
				fmt.Printf("SFU %d got %q\n", i+1, record)
			}
			for _, e := range s.Events() {
				if e.Kind == session.Up {
					fmt.Printf("SFU %d: peer up\n", i+1)
				}
			}
		}
		if !sent && sessions[0].Send(now, session.LaneRequest, []byte("hello")) == nil {
			sent = true
		}
	}
	// Output:
	// SFU 1: peer up
	// SFU 2: peer up
	// SFU 2 got "hello"
}
