package connector

import (
	"net/netip"
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
)

// ports of the loopback that the two engines of the benchmarks use.
func address(network, n uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 47000+10*network+n)
}

// overUDP starts two engines that meet over UDP on the loopback, in real time.
func overUDP(b *testing.B) (one, two *sfu) {
	open := func(n uint16) func() (fabric.Links, error) {
		return func() (links fabric.Links, err error) {
			for network := range uint16(2) {
				links[network], err = link.OpenUDP(link.UDPConfig{Listen: address(network, n), Peers: []netip.AddrPort{address(network, 3-n)}})
				if err != nil {
					return links, err
				}
			}
			return links, nil
		}
	}
	one, two = startOn(b, open(1), 1, 1), startOn(b, open(2), 2, 1)
	b.Cleanup(func() { one.end(); two.end() })
	for deadline := time.Now().Add(10 * time.Second); len(one.Peers()) == 0 || one.Peers()[0].Name == ""; {
		if time.Now().After(deadline) {
			b.Fatal("they did not meet")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return one, two
}

// BenchmarkPingPong is a call from one engine to the other and its answer, one at a
// time.
func BenchmarkPingPong(b *testing.B) {
	one, _ := overUDP(b)
	answered := make(chan message.Code, 1)
	body := []byte("hello")
	b.ReportAllocs()
	for b.Loop() {
		one.echoer.Call(engine.Call{Service: echo.Number, Method: 1, Target: 2, Body: body, Done: func(r engine.Reply) { answered <- r.Code }})
		if code := <-answered; code != message.OK {
			b.Fatal(code)
		}
	}
}

// BenchmarkPipeline is the same with 256 under way.
func BenchmarkPipeline(b *testing.B) {
	one, _ := overUDP(b)
	window := make(chan struct{}, 256)
	body := []byte("hello")
	b.ReportAllocs()
	for b.Loop() {
		window <- struct{}{}
		one.echoer.Call(engine.Call{Service: echo.Number, Method: 1, Target: 2, Body: body, Done: func(r engine.Reply) {
			if r.Code != message.OK {
				b.Error(r.Code, r.Detail)
			}
			<-window
		}})
	}
	for range cap(window) {
		window <- struct{}{}
	}
}
