package link_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/rrts/sim/require"
)

// TestLateUDP: it takes nothing until it has a peer, reaches that one at its address,
// and is answered where it sent from.
func TestLateUDP(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		at, err := link.OpenUDP(link.UDPConfig{Listen: netip.AddrPortFrom(netip.MustParseAddr(ip), 0)})
		if err != nil {
			require.Skip(t, fmt.Sprintf("needs UDP on %s: %v; run `ip link set lo up`, and let IPv6 be on", ip, err))
		}
		defer at.Close()
		late := link.NewLateUDP(0)
		if s := late.Status(); !s.Up || s.Local.IsValid() || s.MTU == 0 || s.MTU > at.Status().MTU {
			t.Errorf("before it has a peer: %+v", s)
		}
		if n, err := late.Send([]link.Frame{{Addr: link.Broadcast, Data: []byte("early")}}); n != 0 || !errors.Is(err, link.ErrDown) {
			t.Errorf("before it has a peer it sends %d frames: %v", n, err)
		}
		if err := late.SetPeers(nil); err != nil || late.Status().Local.IsValid() {
			t.Errorf("without a peer it opens a socket: %v", err)
		}
		to := netip.MustParseAddrPort(at.Status().Local.String())
		got := make(chan []byte)
		go func() { // Receive waits for the first peer, too
			frames := []link.Frame{{Data: make([]byte, 100)}}
			_, err := late.Receive(frames)
			if err != nil {
				t.Error(err)
			}
			got <- frames[0].Data
			if _, err := late.Receive(frames); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
			close(got)
		}()
		if err := late.SetPeers([]netip.AddrPort{to}); err != nil {
			t.Fatal(err)
		}
		<-late.Changed()
		if _, err := late.Send([]link.Frame{{Addr: link.Broadcast, Data: []byte("hello")}}); err != nil {
			t.Fatal(err)
		}
		frames := []link.Frame{{Data: make([]byte, 100)}}
		if _, err := at.Receive(frames); err != nil || string(frames[0].Data) != "hello" {
			t.Fatalf("%q, %v", frames[0].Data, err)
		}
		if _, err := at.Send([]link.Frame{{Addr: frames[0].Addr, Data: []byte("answer")}}); err != nil {
			t.Fatal(err)
		}
		if s := string(<-got); s != "answer" {
			t.Errorf("got %q", s)
		}
		if err := errors.Join(late.Close(), late.Close()); err != nil {
			t.Error(err)
		}
		<-got
		if _, err := late.Send(frames); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if s := late.Status(); s.Up {
			t.Errorf("after Close: %+v", s)
		}
	}
	never := link.NewLateUDP(0)
	done := make(chan error)
	go func() { _, err := never.Receive(nil); done <- err }()
	if err := never.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive of one that never opened: %v", err)
	}
	if err := never.SetPeers([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a peer after Close: %v", err)
	}
}
