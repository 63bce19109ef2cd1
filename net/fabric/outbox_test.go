package fabric_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
)

// Many goroutines send on the same lanes; each one's records stay in order.
func TestManySenders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes := startMemory(t, newNetworks(t, quick), 3)
		const senders, each = 20, 200
		var sending sync.WaitGroup
		for g := range senders {
			sending.Go(func() {
				for i := range each {
					to, lane := uint16(2+g%2), fabric.Lane(g/2%4)
					if g%5 == 0 {
						batch := [][]byte{fmt.Appendf(nil, "%d %d", g, i)}
						if n, err := nodes[1].SendBatch(to, lane, batch); n != 1 || err != nil {
							t.Error(n, err)
						}
					} else if err := nodes[1].Send(to, lane, fmt.Appendf(nil, "%d %d", g, i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		sending.Wait()
		next := make([]int, senders)
		for _, n := range nodes[2:] {
			n.until(t, "all records", func() bool { return len(n.records) == senders/2*each })
			for _, r := range n.records {
				var g, i int
				if _, err := fmt.Sscan(r.data, &g, &i); err != nil || i != next[g] {
					t.Fatalf("record %q came, want number %d, %v", r.data, next[g], err)
				}
				next[g]++
			}
		}
	})
}

// A record for a connection is not sent on the next one: what was accepted before
// the peer restarted is gone with the peer it was for.
func TestRecordsDoNotOutliveTheirConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		one := start(t, nodeConfig{sfu: 1, links: w.links(1), peers: peersOf(t, 1, 2)})
		two := start(t, nodeConfig{sfu: 2, links: w.links(2), peers: peersOf(t, 2, 2)})
		meet(t, []*node{one, two}, fabric.A, fabric.B)
		for _, network := range w {
			network.SetAll(link.Path{Cut: true})
		}
		for i := range 10 {
			if err := one.Send(2, fabric.LaneRequest, fmt.Appendf(nil, "old %d", i)); err != nil {
				t.Fatal(err)
			}
		}
		two.stop()
		for _, network := range w {
			network.SetAll(quick)
		}
		two = start(t, nodeConfig{sfu: 2, incarnation: 2, links: w.links(2), peers: peersOf(t, 2, 2)})
		one.happened(t, "peer-up 2 incarnation=2 restarted")
		two.sees(t, 1, fabric.A, fabric.B)
		if err := one.Send(2, fabric.LaneRequest, []byte("new")); err != nil {
			t.Fatal(err)
		}
		two.until(t, "a record", func() bool { return len(two.records) > 0 })
		if got := two.records[0].data; got != "new" || len(two.records) != 1 {
			t.Errorf("%d records, the first is %q", len(two.records), got)
		}
	})
}

func TestConfig(t *testing.T) {
	links := fabric.Links{link.NewNetwork(link.NetworkConfig{}).Link(1)}
	good := func() fabric.Config {
		return fabric.Config{
			Session: session.Config{
				Local: 1, Key: key(t, 1), PSK: [32]byte{1}, ClusterHash: 1, Incarnation: 1,
				Rand: strings.NewReader(strings.Repeat("random", 1000)),
			},
			Peers:   peersOf(t, 1, 3),
			Links:   links,
			Deliver: func([]fabric.Record) {},
			Event:   func(fabric.Event) {},
		}
	}
	if _, err := fabric.New(good()); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(c *fabric.Config){
		"Deliver must be set":                func(c *fabric.Config) { c.Deliver = nil },
		"Event must be set":                  func(c *fabric.Config) { c.Event = nil },
		"Peer, Slot, MTU and Pacer must not": func(c *fabric.Config) { c.Session.Slot = 1 },
		"256 peers of at most 255":           func(c *fabric.Config) { c.Peers = make([]fabric.Peer, 256) },
		"peer 2 stands there twice":          func(c *fabric.Config) { c.Peers[1].SFU = 2 },
		"no link to [machine]":               func(c *fabric.Config) { c.Peers[0].Via = fabric.ViaMachine },
		"no link to [A B]":                   func(c *fabric.Config) { c.Links[fabric.PortA] = nil },
		"session: PSK must be set":           func(c *fabric.Config) { c.Session.PSK = [32]byte{} },
		"must not be Local":                  func(c *fabric.Config) { c.Session.Local = 2 },
	} {
		cfg := good()
		spoil(&cfg)
		if _, err := fabric.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Send may be called with a lock held that Deliver waits for: it never delivers, although
// it does the work of a record that comes alone by itself.
func TestSendUnderLock(t *testing.T) {
	mine, theirs := udpPorts(t, 2), udpPorts(t, 2)
	var mu sync.Mutex
	var nodes [2]*node
	back := make(chan struct{}, 1)
	for i, ports := range [2][2][]netip.AddrPort{{mine, theirs}, {theirs, mine}} {
		sfu := uint16(i + 1)
		nodes[i] = start(t, nodeConfig{
			sfu: sfu, peers: peersOf(t, sfu, 2),
			links: fabric.Links{openOne(t, ports[0][0], ports[1][0]), openOne(t, ports[0][1], ports[1][1])},
			deliver: func(n *node, r fabric.Record) {
				if n.sfu == 2 {
					n.Send(1, r.Lane, r.Data)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				select {
				case back <- struct{}{}:
				default:
				}
			},
		})
	}
	meet(t, nodes[:], fabric.A, fabric.B)
	for i := range 2000 {
		mu.Lock()
		for range 1 + i%3 { // alone, and in company
			if err := nodes[0].Send(2, fabric.LaneRequest, []byte("!")); err != nil {
				t.Fatal(err)
			}
		}
		mu.Unlock()
		<-back
	}
}
