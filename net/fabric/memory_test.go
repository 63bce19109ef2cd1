package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
)

var quick = link.Path{Delay: 50 * time.Microsecond}

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

func TestThreeMeet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes := startMemory(t, newNetworks(t, quick), 3)
		for _, from := range nodes[1:] {
			for _, to := range nodes[1:] {
				for lane := range fabric.Lane(4) {
					if from == to {
						continue
					}
					if err := from.Send(to.sfu, lane, fmt.Appendf(nil, "%d to %d", from.sfu, to.sfu)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, n := range nodes[1:] {
			n.until(t, "8 records", func() bool { return len(n.records) == 8 })
			for _, r := range n.records {
				if want := fmt.Sprintf("%d to %d", r.peer, n.sfu); r.data != want {
					t.Errorf("got %q, want %q", r.data, want)
				}
			}
			if told := n.told(fabric.PeerUp, fabric.PeerLost, fabric.PeerSuspect, fabric.NotRedundant); len(told) != 2 {
				t.Errorf("sfu %d: %v", n.sfu, told)
			}
		}
	})
}

// Every record comes once and in order, whatever the networks do to the frames.
func TestStreamOverBadNetworks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		nodes := startMemory(t, w, 2)
		bad := link.Path{
			Delay: 200 * time.Microsecond, Jitter: 300 * time.Microsecond,
			Loss: 0.05, Duplicate: 0.05, Corrupt: 0.02,
		}
		w[0].SetAll(bad)
		w[1].SetAll(bad)
		const total = 5000
		for lane := range fabric.Lane(4) {
			go func() {
				for i := range total {
					data := fmt.Sprintf("%d %s", i, strings.Repeat("x", i%900))
					if err := nodes[1].SendWait(t.Context(), 2, lane, []byte(data)); err != nil {
						t.Error(err)
						return
					}
				}
			}()
		}
		nodes[2].until(t, "all records", func() bool { return len(nodes[2].records) == 4*total })
		var next [4]int
		for _, r := range nodes[2].records {
			if want := fmt.Sprintf("%d ", next[r.lane]); !strings.HasPrefix(r.data, want) {
				t.Fatalf("lane %d: got %.20q, want record %s", r.lane, r.data, want)
			}
			next[r.lane]++
		}
		var st fabric.Stats
		nodes[2].Stats(&st)
		p := st.Peers[0]
		if p.FramesForged == 0 || p.FramesDuplicate == 0 {
			t.Errorf("damage and copies were not counted: %+v", p.Stats)
		}
	})
}

// The network is cut in the middle of a stream: the duplicated lanes do not notice.
func TestCutAddsNoDelay(t *testing.T) {
	for _, silent := range []bool{false, true} {
		name := map[bool]string{false: "carrier lost", true: "silent"}[silent]
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newNetworks(t, quick)
				links := w.links(1)
				one := start(t, nodeConfig{sfu: 1, links: links, peers: peersOf(t, 1, 2)})
				two := start(t, nodeConfig{sfu: 2, links: w.links(2), peers: peersOf(t, 2, 2)})
				meet(t, []*node{one, two}, fabric.A, fabric.B)
				const total = 3000
				began := time.Now()
				for i := range total {
					if i == total/3 {
						if silent {
							w[0].SetAll(link.Path{Cut: true})
						} else {
							links[0].(*link.MemoryLink).SetCarrier(false)
						}
					}
					if err := one.Send(2, fabric.LaneCommit, fmt.Append(nil, i)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Millisecond)
				}
				two.until(t, "all records", func() bool { return len(two.records) == total })
				for i, r := range two.records {
					if r.data != fmt.Sprint(i) {
						t.Fatalf("record %q came in place %d", r.data, i)
					}
					if late := r.at.Sub(began) - time.Duration(i)*time.Millisecond; late != quick.Delay {
						t.Fatalf("record %d took %v, want %v", i, late, quick.Delay)
					}
				}
				one.happened(t, "path-down 2 A")
				if !silent {
					one.happened(t, "link-down A: no carrier")
					one.happened(t, "not-redundant")
				}
				if told := two.told(fabric.PeerLost, fabric.PeerSuspect); len(told) != 0 {
					t.Errorf("one network cut: %v", told)
				}
			})
		})
	}
}

func TestNetworkComesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		links := w.links(1)
		one := start(t, nodeConfig{sfu: 1, links: links, peers: peersOf(t, 1, 2)})
		two := start(t, nodeConfig{sfu: 2, links: w.links(2), peers: peersOf(t, 2, 2)})
		meet(t, []*node{one, two}, fabric.A, fabric.B)
		links[1].(*link.MemoryLink).SetCarrier(false)
		two.happened(t, "path-down 1 B")
		one.happened(t, "not-redundant")
		one.forget()
		two.forget()
		links[1].(*link.MemoryLink).SetCarrier(true)
		one.happened(t, "link-up B")
		one.happened(t, "redundant")
		one.happened(t, "path-up 2 B")
		two.happened(t, "path-up 1 B")
	})
}

// A station gets another MAC address in the middle of it: it is found again.
func TestAddressChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		// On network B the two nodes first have other numbers, which are their
		// addresses there.
		links := func(sfu, onB uint16) fabric.Links { return fabric.Links{w[0].Link(sfu), w[1].Link(onB)} }
		first := &moving{Link: w[1].Link(11)}
		one := start(t, nodeConfig{sfu: 1, links: fabric.Links{w[0].Link(1), first}, peers: peersOf(t, 1, 2)})
		two := start(t, nodeConfig{sfu: 2, links: links(2, 12), peers: peersOf(t, 2, 2)})
		meet(t, []*node{one, two}, fabric.A, fabric.B)
		var st fabric.Stats
		two.Stats(&st)
		if got := st.Peers[0].Addr; got != [2]link.Addr{link.Local(1), link.Local(11)} {
			t.Fatalf("learned %v", got)
		}
		first.move(w[1].Link(21))
		time.Sleep(time.Minute)
		two.Stats(&st)
		if got := st.Peers[0].Addr; got != [2]link.Addr{link.Local(1), link.Local(21)} {
			t.Fatalf("learned %v after the move", got)
		}
		two.sees(t, 1, fabric.A, fabric.B)
	})
}

func TestRestartIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		one := start(t, nodeConfig{sfu: 1, links: w.links(1), peers: peersOf(t, 1, 2)})
		two := start(t, nodeConfig{sfu: 2, links: w.links(2), peers: peersOf(t, 2, 2)})
		meet(t, []*node{one, two}, fabric.A, fabric.B)
		two.stop()
		one.happened(t, "peer-lost 2 incarnation=1 reason=closed")
		if err := one.Send(2, fabric.LaneRequest, []byte("nobody")); !errors.Is(err, fabric.ErrPeerDown) {
			t.Errorf("Send to a peer that is gone: %v", err)
		}
		two = start(t, nodeConfig{sfu: 2, incarnation: 2, links: w.links(2), peers: peersOf(t, 2, 2)})
		one.happened(t, "peer-up 2 incarnation=2 restarted")
		two.sees(t, 1, fabric.A, fabric.B)
		if err := one.Send(2, fabric.LaneRequest, []byte("welcome")); err != nil {
			t.Fatal(err)
		}
		two.until(t, "a record", func() bool { return len(two.records) == 1 })
		time.Sleep(time.Minute)
		want := []string{"peer-up 2 incarnation=1", "peer-lost 2 incarnation=1 reason=closed", "peer-up 2 incarnation=2 restarted"}
		if told := one.told(fabric.PeerUp, fabric.PeerLost); !slices.Equal(told, want) {
			t.Errorf("told %v", told)
		}
	})
}

// A peer that vanishes without a word is suspected, then lost, once each.
func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		nodes := startMemory(t, w, 3)
		for _, network := range w {
			for _, other := range []uint16{1, 2} {
				network.SetPath(3, other, link.Path{Cut: true})
				network.SetPath(other, 3, link.Path{Cut: true})
			}
		}
		began := time.Now()
		nodes[1].happened(t, "peer-suspect 3")
		suspected := time.Since(began)
		nodes[1].happened(t, "peer-lost 3 incarnation=1 reason=silence")
		lost := time.Since(began)
		if suspected < 90*time.Millisecond || suspected > 150*time.Millisecond {
			t.Errorf("suspected after %v, want about 120 ms", suspected)
		}
		if lost < 900*time.Millisecond || lost > 1100*time.Millisecond {
			t.Errorf("lost after %v, want about 1 s", lost)
		}
		time.Sleep(time.Minute)
		if told := nodes[1].told(fabric.PeerLost); len(told) != 1 {
			t.Errorf("told %v", told)
		}
		if told := nodes[2].told(fabric.PeerLost); len(told) != 1 {
			t.Errorf("told %v", told)
		}
		// They find each other again.
		for _, network := range w {
			network.SetAll(quick)
		}
		nodes[1].until(t, "the peer again", func() bool { return nodes[1].count("peer-up 3 incarnation=1") == 2 })
	})
}

func TestSingleNetwork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		one := start(t, nodeConfig{sfu: 1, links: fabric.Links{nil, w[1].Link(1)}, peers: peersOf(t, 1, 2)})
		two := start(t, nodeConfig{sfu: 2, links: fabric.Links{nil, w[1].Link(2)}, peers: peersOf(t, 2, 2)})
		meet(t, []*node{one, two}, fabric.B)
		for _, n := range []*node{one, two} {
			if told := n.told(fabric.NotRedundant, fabric.Redundant); len(told) != 1 {
				t.Errorf("sfu %d: %v", n.sfu, told)
			}
		}
		if err := one.Send(2, fabric.LaneBulk, make([]byte, 100000)); err != nil {
			t.Fatal(err)
		}
		two.until(t, "a record", func() bool { return len(two.records) == 1 })
	})
}

// Two SFUs share a machine, the third is elsewhere.
func TestSameMachine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		inside := link.NewNetwork(link.NetworkConfig{MTU: link.MaxFrame})
		peers := func(self uint16) []fabric.Peer {
			peers := peersOf(t, self, 3)
			for i := range peers {
				if self != 3 && peers[i].SFU != 3 {
					peers[i].Via = fabric.ViaMachine
				}
			}
			return peers
		}
		var nodes []*node
		for sfu := uint16(1); sfu <= 3; sfu++ {
			links := w.links(sfu)
			if sfu != 3 {
				links[fabric.PortMachine] = inside.Link(sfu)
			}
			nodes = append(nodes, start(t, nodeConfig{sfu: sfu, links: links, peers: peers(sfu)}))
		}
		meet(t, nodes, fabric.A)
		// Both networks go; the neighbour on the machine stays.
		w[0].SetAll(link.Path{Cut: true})
		w[1].SetAll(link.Path{Cut: true})
		nodes[0].happened(t, "peer-lost 3 incarnation=1 reason=silence")
		if err := nodes[0].Send(2, fabric.LaneCommit, []byte("still here")); err != nil {
			t.Fatal(err)
		}
		nodes[1].until(t, "a record", func() bool { return len(nodes[1].records) == 1 })
		if told := nodes[0].told(fabric.PeerLost); len(told) != 1 {
			t.Errorf("told %v", told)
		}
	})
}

// What is sent from Deliver leaves at once and is not stuck behind its own turn.
func TestEcho(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		one := start(t, nodeConfig{sfu: 1, links: w.links(1), peers: peersOf(t, 1, 2)})
		two := start(t, nodeConfig{sfu: 2, links: w.links(2), peers: peersOf(t, 2, 2), deliver: func(n *node, r fabric.Record) {
			if err := n.Send(r.Peer, r.Lane, r.Data); err != nil {
				t.Error(err)
			}
		}})
		meet(t, []*node{one, two}, fabric.A, fabric.B)
		for i := range 100 {
			began := time.Now()
			if err := one.Send(2, fabric.LaneRequest, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
			one.until(t, "the echo", func() bool { return len(one.records) == i+1 })
			if took := time.Since(began); took != 2*quick.Delay {
				t.Fatalf("round trip %d took %v, want %v", i, took, 2*quick.Delay)
			}
		}
	})
}

// A peer can be sent to from its own PeerUp.
func TestGreeting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		greet := func(n *node, e fabric.Event) {
			if e.Kind != fabric.PeerUp {
				return
			}
			for lane := range fabric.Lane(4) {
				if err := n.Send(e.Peer, lane, make([]byte, 1000)); err != nil {
					t.Error(err)
				}
			}
		}
		start(t, nodeConfig{sfu: 1, links: w.links(1), peers: peersOf(t, 1, 2), event: greet})
		two := start(t, nodeConfig{sfu: 2, links: w.links(2), peers: peersOf(t, 2, 2)})
		two.until(t, "the greetings", func() bool { return len(two.records) == 4 })
	})
}

func TestLaneFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		small := func(c *session.Config) { c.LaneBytes = [4]int{64 << 10, 64 << 10, 64 << 10, 64 << 10} }
		one := start(t, nodeConfig{sfu: 1, links: w.links(1), peers: peersOf(t, 1, 2), tune: small})
		two := start(t, nodeConfig{sfu: 2, links: w.links(2), peers: peersOf(t, 2, 2), tune: small})
		meet(t, []*node{one, two}, fabric.A, fabric.B)
		if err := one.Send(2, fabric.LaneBulk, make([]byte, 64<<10)); !errors.Is(err, fabric.ErrRecordTooLarge) {
			t.Errorf("Send of more than the lane holds: %v", err)
		}
		w[0].SetAll(link.Path{Cut: true})
		w[1].SetAll(link.Path{Cut: true})
		record := make([]byte, 1000)
		taken := 0
		var err error
		for ; err == nil; taken++ {
			if taken > 1000 {
				t.Fatal("the lane has no bound")
			}
			err = one.Send(2, fabric.LaneBulk, record)
		}
		taken--
		if !errors.Is(err, fabric.ErrLaneFull) || taken < 60 || taken > 66 {
			t.Fatalf("after %d records: %v", taken, err)
		}
		// A full lane holds up no other, and SendWait sees room as it comes.
		if n, err := one.SendBatch(2, fabric.LaneControl, [][]byte{record, record}); n != 2 || err != nil {
			t.Fatalf("SendBatch: %d, %v", n, err)
		}
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := one.SendWait(short, 2, fabric.LaneBulk, record); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("SendWait on a full lane: %v", err)
		}
		waited := make(chan error, 1)
		go func() { waited <- one.SendWait(t.Context(), 2, fabric.LaneBulk, record) }()
		w[0].SetAll(quick)
		w[1].SetAll(quick)
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
		two.until(t, "all records", func() bool { return len(two.records) == taken+1+2 })
	})
}

func TestSendErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		one := start(t, nodeConfig{sfu: 1, links: w.links(1), peers: peersOf(t, 1, 3)})
		two := start(t, nodeConfig{sfu: 2, links: w.links(2), peers: peersOf(t, 2, 2)})
		meet(t, []*node{one, two}, fabric.A)
		for _, test := range []struct {
			to   uint16
			lane fabric.Lane
			want error
		}{
			{2, fabric.LaneControl, nil},
			{2, 4, fabric.ErrNoLane},
			{3, fabric.LaneControl, fabric.ErrPeerDown},
			{4, fabric.LaneControl, fabric.ErrNoPeer},
			{1, fabric.LaneControl, fabric.ErrNoPeer},
		} {
			if err := one.Send(test.to, test.lane, []byte("x")); !errors.Is(err, test.want) {
				t.Errorf("Send to %d on lane %d: %v, want %v", test.to, test.lane, err, test.want)
			}
		}
		one.stop()
		if err := one.Send(2, fabric.LaneControl, nil); !errors.Is(err, fabric.ErrClosed) {
			t.Errorf("Send after Run: %v", err)
		}
		if err := one.SetPeers(nil); !errors.Is(err, fabric.ErrClosed) {
			t.Errorf("SetPeers after Run: %v", err)
		}
	})
}

func TestSetPeers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		nodes := startMemory(t, w, 2)
		three := start(t, nodeConfig{sfu: 3, links: w.links(3), peers: peersOf(t, 3, 3)})
		if err := nodes[1].SetPeers(peersOf(t, 1, 3)); err != nil {
			t.Fatal(err)
		}
		three.sees(t, 1, fabric.A, fabric.B)
		nodes[1].sees(t, 3, fabric.A, fabric.B)
		if told := nodes[1].told(fabric.PeerLost); len(told) != 0 {
			t.Errorf("a peer more cost others theirs: %v", told)
		}
		if err := nodes[1].SetPeers(peersOf(t, 1, 3)[1:]); err != nil {
			t.Fatal(err)
		}
		if told := nodes[1].told(fabric.PeerLost); len(told) != 1 || told[0] != "peer-lost 2 incarnation=1 reason=local" {
			t.Errorf("told %v", told)
		}
		nodes[2].happened(t, "peer-lost 1 incarnation=1 reason=closed")
		if err := nodes[1].Send(2, fabric.LaneControl, nil); !errors.Is(err, fabric.ErrNoPeer) {
			t.Errorf("Send to a former peer: %v", err)
		}
		if err := nodes[1].Send(3, fabric.LaneControl, nil); err != nil {
			t.Errorf("Send to the one that stayed: %v", err)
		}
	})
}

// Frames that are not ours cost a counter each.
func TestGarbage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newNetworks(t, quick)
		nodes := startMemory(t, w, 2)
		var before, after fabric.Stats
		nodes[1].Stats(&before)
		rogue := w[0].Link(66)
		defer rogue.Close()
		const flood = 10000
		kinds := garbage(t)
		for i := range flood {
			rogue.Send([]link.Frame{{Addr: link.Local(1), Data: kinds[i%len(kinds)]}})
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if err := nodes[2].Send(1, fabric.LaneRequest, []byte("through it all")); err != nil {
			t.Fatal(err)
		}
		nodes[1].until(t, "a record", func() bool { return len(nodes[1].records) == 1 })
		time.Sleep(time.Millisecond) // for what is still on its way
		nodes[1].Stats(&after)
		got := total(after) - total(before)
		if got < flood || got > flood+100 {
			t.Errorf("%d frames of garbage, %d counted: %+v", flood, got, after.Dropped)
		}
		if told := nodes[1].told(fabric.PeerLost, fabric.PeerSuspect, fabric.PathDown); len(told) != 0 {
			t.Errorf("a flood of garbage: %v", told)
		}
		if after.Dropped.OtherCluster == 0 || after.Dropped.OtherSFU == 0 || after.Dropped.Malformed == 0 ||
			after.Dropped.NoSession == 0 || after.Dropped.Initiation == 0 || after.Peers[0].FramesForged == 0 {
			t.Errorf("not every reason was met: %+v, forged %d", after.Dropped, after.Peers[0].FramesForged)
		}
	})
}
