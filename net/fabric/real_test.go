package fabric_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/link/linktest"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/sim/require"
)

// udpPorts returns free UDP addresses on loopback.
func udpPorts(t testing.TB, n int) []netip.AddrPort {
	t.Helper()
	var ports []netip.AddrPort
	for range n {
		l, err := link.OpenUDP(link.UDPConfig{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, netip.MustParseAddrPort(l.Status().Local.String()))
	}
	return ports
}

func TestOverUDP(t *testing.T) {
	const count = 3
	ports := [2][]netip.AddrPort{udpPorts(t, count), udpPorts(t, count)}
	var nodes []*node
	for i := range count {
		var links fabric.Links
		for network := range ports {
			l, err := link.OpenUDP(link.UDPConfig{
				Listen: ports[network][i],
				Peers:  slices.Concat(ports[network][:i], ports[network][i+1:]),
			})
			if err != nil {
				t.Fatal(err)
			}
			links[network] = l
		}
		sfu := uint16(i + 1)
		nodes = append(nodes, start(t, nodeConfig{sfu: sfu, links: links, peers: peersOf(t, sfu, count)}))
	}
	meet(t, nodes, fabric.A, fabric.B)
	stream(t, nodes[0], nodes[2], 2000, 0, nil)
}

// TestMixedCarriers: two SFUs have networks A and B; the third has UDP alone, at an
// address that they know. It does not know theirs: it answers where they sent from, also
// when it, or one of them, has begun anew.
func TestMixedCarriers(t *testing.T) {
	wires := networks{link.NewNetwork(link.NetworkConfig{}), link.NewNetwork(link.NetworkConfig{})}
	at := udpPorts(t, 1)
	peers := func(self uint16) []fabric.Peer {
		all := peersOf(t, self, 3)
		for i := range all {
			if self == 3 || all[i].SFU == 3 {
				all[i].Via, all[i].OnlyA, all[i].Spare = fabric.ViaUDP, true, true
			}
		}
		return all
	}
	lives := uint64(0)
	begin := func(sfu uint16) *node {
		var links fabric.Links
		if sfu == 3 {
			l, err := link.OpenUDP(link.UDPConfig{Listen: at[0]})
			if err != nil {
				t.Fatal(err)
			}
			links[fabric.PortUDPA] = l
		} else {
			links = wires.links(sfu)
			for _, port := range []fabric.Port{fabric.PortUDPA, fabric.PortUDPB} {
				links[port] = link.NewLateUDP(0)
			}
			if err := links[fabric.PortUDPA].(*link.LateUDP).SetPeers(at); err != nil {
				t.Fatal(err)
			}
		}
		lives++
		return start(t, nodeConfig{sfu: sfu, incarnation: lives, links: links, peers: peers(sfu)})
	}
	one, two, three := begin(1), begin(2), begin(3)
	together := func() {
		t.Helper()
		meet(t, []*node{one, two}, fabric.A, fabric.B)
		for _, n := range []*node{one, two} {
			meet(t, []*node{n, three}, fabric.A)
			stream(t, n, three, 200, 0, nil)
			stream(t, three, n, 200, 0, nil)
		}
		for _, n := range []*node{one, two, three} {
			if told := n.told(fabric.NotRedundant); len(told) != 0 {
				t.Errorf("SFU %d: %v", n.sfu, told)
			}
		}
	}
	together()
	one.stop()
	one = begin(1)
	together()
	three.stop()
	three = begin(3)
	together()
}

func TestOverUnix(t *testing.T) {
	dir := t.TempDir()
	var nodes []*node
	for sfu := uint16(1); sfu <= 2; sfu++ {
		l, err := link.OpenUnix(link.UnixConfig{Dir: dir, SFU: sfu})
		if err != nil {
			t.Fatal(err)
		}
		peers := peersOf(t, sfu, 2)
		peers[0].Via = fabric.ViaMachine
		nodes = append(nodes, start(t, nodeConfig{sfu: sfu, links: fabric.Links{fabric.PortMachine: l}, peers: peers}))
	}
	meet(t, nodes, fabric.A)
	stream(t, nodes[0], nodes[1], 2000, 0, nil)
	for _, n := range nodes {
		if told := n.told(fabric.NotRedundant); len(told) != 0 {
			t.Errorf("one machine alone: %v", told)
		}
	}
}

// result is what a stream was like for its receiver.
type result struct {
	longest time.Duration // between two records
	worst   time.Duration // of one record
}

// stream sends numbered records of 128 bytes on the commit lane, one every pause,
// calling at before each, and fails unless all arrive once and in order.
func stream(t testing.TB, from, to *node, records int, pause time.Duration, at func(i int)) result {
	t.Helper()
	began := time.Now()
	go func() {
		for i := range records {
			if at != nil {
				at(i)
			}
			if pause > 0 {
				time.Sleep(time.Until(began.Add(time.Duration(i) * pause)))
			}
			record := make([]byte, 128)
			binary.BigEndian.PutUint64(record, uint64(i))
			binary.BigEndian.PutUint64(record[8:], uint64(time.Since(began)))
			if err := from.SendWait(t.Context(), to.sfu, fabric.LaneCommit, record); err != nil {
				t.Errorf("record %d: %v", i, err)
				return
			}
		}
	}()
	to.until(t, "the stream", func() bool { return len(to.records) >= records })
	to.mu.Lock()
	defer to.mu.Unlock()
	var r result
	for i, got := range to.records {
		if number := binary.BigEndian.Uint64([]byte(got.data)); number != uint64(i) {
			t.Fatalf("record %d came in place %d", number, i)
		}
		sent := time.Duration(binary.BigEndian.Uint64([]byte(got.data[8:])))
		r.worst = max(r.worst, got.at.Sub(began)-sent)
		if i > 0 {
			r.longest = max(r.longest, got.at.Sub(to.records[i-1].at))
		}
	}
	to.records = nil
	return r
}

// openEthernet opens the links to networks A and B of a lab's host, given its
// namespace.
func openEthernet(t testing.TB, namespace string, sfu uint16, plain bool) fabric.Links {
	t.Helper()
	return openEthernetAt(t, namespace, sfu, plain, 0)
}

// openEthernetAt is openEthernet for NICs of another speed than they say, in Mbit/s.
func openEthernetAt(t testing.TB, namespace string, sfu uint16, plain bool, speed int) fabric.Links {
	t.Helper()
	var links fabric.Links
	for network, etherType := range []uint16{link.EtherTypeA, link.EtherTypeB} {
		l, err := link.OpenPacket(link.PacketConfig{
			Interface: linktest.Interface(network),
			EtherType: etherType,
			Stray:     etherType ^ link.EtherTypeA ^ link.EtherTypeB,
			Match:     fabric.Match(clusterHash, sfu),
			Plain:     plain,
			Speed:     speed,
			Namespace: namespace,
		})
		if err != nil {
			t.Fatal(err)
		}
		links[network] = l
	}
	return links
}

// soon lets a network that came back be used again before a test grows old.
func soon(c *session.Config) { c.HoldDown, c.HoldDownMax = 100*time.Millisecond, 200*time.Millisecond }

// startEthernet starts one SFU per host of a new lab and waits until they meet.
func startEthernet(t testing.TB, count int, plain bool) (*linktest.Lab, []*node) {
	t.Helper()
	require.Root(t)
	lab := linktest.NewLab(t, count, 2)
	var nodes []*node
	for host := range count {
		sfu := uint16(host + 1)
		nodes = append(nodes, start(t, nodeConfig{sfu: sfu, links: openEthernet(t, lab.Namespace(host), sfu, plain), peers: peersOf(t, sfu, count), tune: soon}))
	}
	meet(t, nodes, fabric.A, fabric.B)
	return lab, nodes
}

func carrierName(plain bool) string { return map[bool]string{false: "fast", true: "plain"}[plain] }

func TestOverEthernet(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(carrierName(plain), func(t *testing.T) {
			_, nodes := startEthernet(t, 3, plain)
			stream(t, nodes[0], nodes[1], 2000, 0, nil)
			stream(t, nodes[2], nodes[1], 2000, 0, nil)
			big := bytes.Repeat([]byte("snapshot"), 1<<17)
			if err := nodes[1].Send(3, fabric.LaneBulk, big); err != nil {
				t.Fatal(err)
			}
			nodes[2].until(t, "a megabyte", func() bool { return len(nodes[2].records) == 1 })
			if nodes[2].records[0].data != string(big) {
				t.Error("a megabyte came damaged")
			}
			var st fabric.Stats
			nodes[0].Stats(&st)
			if got, want := st.Peers[0].Addr[fabric.B], link.Ethernet([6]byte(linktest.MAC(1, 1))); got != want {
				t.Errorf("learned %v, want %v", got, want)
			}
		})
	}
}

// Network A is cut in three ways under a stream of 1,000 records a second.
func TestCutOverEthernet(t *testing.T) {
	lab, nodes := startEthernet(t, 2, false)
	const records, pause = 600, time.Millisecond
	quiet := stream(t, nodes[0], nodes[1], records, pause, nil)
	t.Logf("no cut: longest gap %v, slowest record %v", quiet.longest, quiet.worst)
	for _, cut := range []struct {
		name string
		set  func(whole bool)
	}{
		{"interface down at the sender", func(whole bool) { lab.SetNIC(0, 0, whole) }},
		{"cable pulled at the receiver", func(whole bool) { lab.SetCable(1, 0, whole) }},
		{"silent", func(whole bool) { lab.SetJoined(0, 0, whole) }},
	} {
		r := stream(t, nodes[0], nodes[1], records, pause, func(i int) {
			if i == records/3 {
				cut.set(false)
			}
		})
		t.Logf("%s: longest gap %v, slowest record %v", cut.name, r.longest, r.worst)
		// What the machine's own noise costs is printed above, and that a cut
		// adds nothing is shown in virtual time. Here no record may have waited
		// for the verdict on a network or a peer.
		if r.worst > 500*time.Millisecond {
			t.Errorf("%s: a record took %v", cut.name, r.worst)
		}
		nodes[1].happened(t, "path-down 1 A")
		nodes[0].happened(t, "path-down 2 A")
		cut.set(true)
		nodes[0].sees(t, 2, fabric.A, fabric.B)
		nodes[1].sees(t, 1, fabric.A, fabric.B)
		for _, n := range nodes {
			if told := n.told(fabric.PeerLost, fabric.PeerSuspect); len(told) != 0 {
				t.Errorf("%s: %v", cut.name, told)
			}
			n.forget()
		}
	}
}

// Network A's NIC refuses most of what it is given (ENOBUFS): what is duplicated does
// not notice, and the bulk lane takes what there is.
func TestNoBuffersOverEthernet(t *testing.T) {
	lab, nodes := startEthernet(t, 2, false)
	lab.SetRate(0, 0, 50_000)
	big := bytes.Repeat([]byte("snapshot"), 1<<17)
	if err := nodes[0].Send(2, fabric.LaneBulk, big); err != nil {
		t.Fatal(err)
	}
	nodes[1].until(t, "a megabyte", func() bool { return len(nodes[1].records) == 1 })
	nodes[1].mu.Lock()
	nodes[1].records = nil
	nodes[1].mu.Unlock()
	r := stream(t, nodes[0], nodes[1], 600, time.Millisecond, nil)
	var st fabric.Stats
	nodes[0].Stats(&st)
	t.Logf("slowest record %v; %d frames refused, %d retries", r.worst, st.Links[0].SendLost, st.Links[0].SendRetries)
	if st.Links[0].SendLost == 0 || st.Links[1].SendLost != 0 {
		t.Errorf("frames refused: %d on A, %d on B", st.Links[0].SendLost, st.Links[1].SendLost)
	}
	if r.worst > 500*time.Millisecond {
		t.Errorf("a record took %v", r.worst)
	}
	for _, n := range nodes {
		if told := n.told(fabric.PeerLost, fabric.PeerSuspect); len(told) != 0 {
			t.Errorf("a full queue: %v", told)
		}
	}
}

// A NIC leaves the machine and another one comes in its place.
func TestHotplugOverEthernet(t *testing.T) {
	lab, nodes := startEthernet(t, 2, false)
	const records = 500
	stream(t, nodes[0], nodes[1], records, time.Millisecond, func(i int) {
		if i == records/3 {
			lab.Unplug(1, 1)
		}
	})
	nodes[1].until(t, "link-down B", func() bool {
		return slices.ContainsFunc(nodes[1].events, func(e fabric.Event) bool {
			return e.Kind == fabric.LinkDown && e.Port == fabric.PortB
		})
	})
	nodes[1].happened(t, "not-redundant")
	nodes[0].happened(t, "path-down 2 B")
	lab.Plug(1, 1)
	nodes[1].happened(t, "link-up B")
	nodes[1].happened(t, "redundant")
	for i, n := range nodes {
		n.sees(t, nodes[1-i].sfu, fabric.A, fabric.B)
		if told := n.told(fabric.PeerLost, fabric.PeerSuspect); len(told) != 0 {
			t.Errorf("a NIC exchanged: %v", told)
		}
	}
}

// Both NICs of a peer go down and come up: it is lost once and found once.
func TestBothDownOverEthernet(t *testing.T) {
	lab, nodes := startEthernet(t, 2, false)
	for network := range 2 {
		lab.SetNIC(1, network, false)
	}
	nodes[0].happened(t, "peer-lost 2 incarnation=1 reason=silence")
	nodes[1].happened(t, "peer-lost 1 incarnation=1 reason=silence")
	for network := range 2 {
		lab.SetNIC(1, network, true)
	}
	meet(t, nodes, fabric.A, fabric.B)
	for i, n := range nodes {
		up, lost := fmt.Sprintf("peer-up %d incarnation=1", nodes[1-i].sfu), fmt.Sprintf("peer-lost %d incarnation=1 reason=silence", nodes[1-i].sfu)
		if told := n.told(fabric.PeerUp, fabric.PeerLost); !slices.Equal(told, []string{up, lost, up}) {
			t.Errorf("sfu %d: %v", n.sfu, told)
		}
	}
	stream(t, nodes[0], nodes[1], 500, 0, nil)
}

// The switches of the two networks are joined by a cable while SFUs run: each is told, and
// nothing else happens. The fast carrier and the plain one hear it alike.
func TestBridgedOverEthernet(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(carrierName(plain), func(t *testing.T) {
			t.Parallel()
			lab, nodes := startEthernet(t, 2, plain)
			stream(t, nodes[0], nodes[1], 100, 0, nil)
			for _, n := range nodes {
				if told := n.told(fabric.CrossWired); len(told) != 0 {
					t.Fatalf("SFU %d, before: %v", n.sfu, told)
				}
				n.forget()
			}
			lab.Bridge(0, 1)
			for i, n := range nodes {
				for _, network := range []fabric.Network{fabric.A, fabric.B} {
					n.happened(t, fmt.Sprintf("cross-wired %d %v", nodes[1-i].sfu, network))
				}
			}
			stream(t, nodes[0], nodes[1], 500, 0, nil)
			for _, n := range nodes {
				if told := n.told(fabric.PeerLost, fabric.PeerSuspect, fabric.PathDown); len(told) != 0 {
					t.Errorf("SFU %d: %v", n.sfu, told)
				}
			}
		})
	}
}

// The cables of one machine's two NICs are exchanged: its peers tell, and records pass all
// the same.
func TestCrossedOverEthernet(t *testing.T) {
	lab, nodes := startEthernet(t, 2, false)
	lab.Cross(0, 0, 1)
	for i, n := range nodes {
		for _, network := range []fabric.Network{fabric.A, fabric.B} {
			n.happened(t, fmt.Sprintf("cross-wired %d %v", nodes[1-i].sfu, network))
		}
	}
	stream(t, nodes[0], nodes[1], 500, 0, nil)
	stream(t, nodes[1], nodes[0], 500, 0, nil)
}

// A station floods a network with garbage while records pass.
func TestGarbageOverEthernet(t *testing.T) {
	require.Root(t)
	lab := linktest.NewLab(t, 3, 2)
	var nodes []*node
	for host := range 2 {
		sfu := uint16(host + 1)
		nodes = append(nodes, start(t, nodeConfig{sfu: sfu, links: openEthernet(t, lab.Namespace(host), sfu, false), peers: peersOf(t, sfu, 2)}))
	}
	meet(t, nodes, fabric.A, fabric.B)
	rogue, err := link.OpenPacket(link.PacketConfig{
		Interface: linktest.Interface(0), EtherType: link.EtherTypeA, Namespace: lab.Namespace(2),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer rogue.Close()
	var batch []link.Frame
	kinds := garbage(t)
	for i := range link.BatchSize {
		batch = append(batch, link.Frame{Addr: link.Ethernet([6]byte(linktest.MAC(0, 0))), Data: kinds[i%len(kinds)]})
	}
	flooded := make(chan int, 1)
	stop := make(chan struct{})
	go func() {
		sent := 0
		defer func() { flooded <- sent }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				n, _ := rogue.Send(batch)
				sent += n
			}
		}
	}()
	r := stream(t, nodes[1], nodes[0], 500, time.Millisecond, nil)
	close(stop)
	sent := <-flooded
	var st fabric.Stats
	nodes[0].Stats(&st)
	t.Logf("%d frames of garbage, %d counted in the fabric, %d overruns; slowest record %v",
		sent, total(st), st.Links[0].Overrun, r.worst)
	// Frames of other clusters and torn ones never pass the filter.
	if got := total(st); sent < 1000 || got < uint64(sent)/2 || got > uint64(sent) {
		t.Errorf("%d frames of garbage, %d counted: %+v", sent, got, st.Dropped)
	}
	if told := nodes[0].told(fabric.PeerLost, fabric.PeerSuspect); len(told) != 0 {
		t.Errorf("a flood of garbage: %v", told)
	}
}
