package link

import (
	"net/netip"
	"testing"
	"time"
)

var codecs = map[string]codec{
	"ethernet": ethernetCodec{etherType: EtherTypeA, index: 7},
	"udp4":     udpCodec{},
	"udp6":     udpCodec{v6: true},
	"unix":     unixCodec{dir: "/run/rrts"},
}

func TestSockaddrRoundTrip(t *testing.T) {
	addrs := map[string]string{
		"02:00:5e:10:00:ff":  "ethernet",
		"192.0.2.1:65535":    "udp4",
		"[2001:db8::1]:8888": "udp6",
		"sfu 1":              "unix",
		"sfu 65535":          "unix",
	}
	for _, a := range []Addr{
		Ethernet([6]byte{2, 0, 0x5e, 0x10, 0, 0xff}),
		UDP(netip.MustParseAddrPort("192.0.2.1:65535")),
		UDP(netip.MustParseAddrPort("[2001:db8::1]:8888")),
		Local(1),
		Local(65535),
	} {
		mine := addrs[a.String()]
		if mine == "" {
			t.Errorf("no family for %v", a)
		}
		for name, c := range codecs {
			var b [nameSize]byte
			n := c.encode(a, &b)
			if (n != 0) != (name == mine) {
				t.Errorf("%s takes %v: %d bytes", name, a, n)
				continue
			}
			if n == 0 {
				continue
			}
			if got := c.decode(b[:n]); got != a {
				t.Errorf("%s: %v became %v", name, a, got)
			}
		}
	}
}

func TestAddr(t *testing.T) {
	mapped := UDP(netip.MustParseAddrPort("[::ffff:192.0.2.1]:7"))
	if mapped != UDP(netip.MustParseAddrPort("192.0.2.1:7")) {
		t.Errorf("%v is not the IPv4 address", mapped)
	}
	if a := UDP(netip.AddrPort{}); a.IsValid() || a.String() != "none" {
		t.Errorf("no address became %v", a)
	}
	if Broadcast.String() != "broadcast" || !Broadcast.IsValid() {
		t.Errorf("broadcast is %v", Broadcast)
	}
}

func FuzzSockaddr(f *testing.F) {
	for name, c := range codecs {
		for _, a := range []Addr{Ethernet([6]byte{1, 2, 3, 4, 5, 6}), Local(12), UDP(netip.MustParseAddrPort("192.0.2.1:7")), UDP(netip.MustParseAddrPort("[2001:db8::1]:8"))} {
			var b [nameSize]byte
			if n := c.encode(a, &b); n != 0 {
				f.Add(name, b[:n])
			}
		}
	}
	f.Add("unix", []byte("\x01\x00/run/rrts/007.sock"))
	f.Fuzz(func(t *testing.T, family string, name []byte) {
		c := codecs[family]
		if c == nil {
			return
		}
		a := c.decode(name)
		if a.kind == kindNone {
			return
		}
		// What could be read can be answered, except to the other IP family.
		var b [nameSize]byte
		n := c.encode(a, &b)
		if n == 0 {
			if family == "udp4" && a.kind == kindUDP6 || family == "udp6" && a.kind == kindUDP4 {
				return
			}
			t.Fatalf("%s: %v from %x cannot be sent to", family, a, name)
		}
		if again := c.decode(b[:n]); again != a {
			t.Fatalf("%s: %v became %v", family, a, again)
		}
	})
}

// A queue that stays full is waited for once, not at every Send, and the others
// are not held up by it.
func TestPatience(t *testing.T) {
	full, other := Local(1), Local(2)
	var p patience
	wait := func(queue Addr) (tries int, took time.Duration) {
		began := time.Now()
		for p.wait(queue) {
			tries++
		}
		return tries, time.Since(began)
	}
	p.begin()
	if tries, took := wait(full); tries == 0 || took < sendPatience {
		t.Errorf("gave up after %d tries and %v", tries, took)
	}
	for range 100 {
		p.begin()
		if tries, _ := wait(full); tries != 0 {
			t.Fatalf("waited for a jammed queue %d times", tries)
		}
	}
	p.took(other)
	p.begin()
	if tries, _ := wait(full); tries != 0 {
		t.Error("another queue's frame cleared the jam")
	}
	if tries, _ := wait(other); tries == 0 {
		t.Error("did not wait for a queue that is not jammed")
	}
	p.took(full)
	p.begin()
	if tries, _ := wait(full); tries == 0 {
		t.Error("did not wait although the queue took a frame again")
	}
}
