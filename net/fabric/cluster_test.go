package fabric_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
)

const clusterHash = 0x52525453

// key returns the key pair of an SFU, always the same.
func key(t testing.TB, sfu uint16) session.KeyPair {
	t.Helper()
	seed := make([]byte, 32)
	binary.BigEndian.PutUint16(seed[4:], sfu)
	private, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	return session.KeyPair{Private: [32]byte(private.Bytes()), Public: [32]byte(private.PublicKey().Bytes())}
}

// node is a running fabric and what it told.
type node struct {
	*fabric.Fabric
	sfu  uint16
	stop func() // ends Run and waits for it

	mu      sync.Mutex
	changed chan struct{} // closed at the next event or record
	events  []fabric.Event
	paths   map[uint16][2]bool // of the peers that are up
	records []record
	// deliver and event, if set, are called for every record and every event, on
	// the fabric's goroutine.
	deliver func(n *node, r fabric.Record)
	event   func(n *node, e fabric.Event)
}

// record is a copy of a record that arrived.
type record struct {
	peer uint16
	lane fabric.Lane
	data string
	at   time.Time
}

// nodeConfig is what makes a node.
type nodeConfig struct {
	sfu         uint16
	incarnation uint64
	links       fabric.Links
	peers       []fabric.Peer
	deliver     func(n *node, r fabric.Record)
	event       func(n *node, e fabric.Event)
	tune        func(*session.Config)
}

// peersOf returns all of 1 to count but self.
func peersOf(t testing.TB, self uint16, count int) []fabric.Peer {
	t.Helper()
	var peers []fabric.Peer
	for sfu := uint16(1); int(sfu) <= count; sfu++ {
		if sfu != self {
			peers = append(peers, fabric.Peer{SFU: sfu, Public: key(t, sfu).Public})
		}
	}
	return peers
}

func start(t testing.TB, nc nodeConfig) *node {
	t.Helper()
	n := &node{sfu: nc.sfu, changed: make(chan struct{}), paths: make(map[uint16][2]bool), deliver: nc.deliver, event: nc.event}
	if nc.incarnation == 0 {
		nc.incarnation = 1
	}
	cfg := fabric.Config{
		Session: session.Config{
			Local:       nc.sfu,
			Key:         key(t, nc.sfu),
			PSK:         [32]byte{1, 2, 3},
			ClusterHash: clusterHash,
			Incarnation: nc.incarnation,
			Rand:        rand.Reader,
		},
		Peers:   nc.peers,
		Links:   nc.links,
		Deliver: n.onDeliver,
		Event:   n.onEvent,
	}
	if nc.tune != nil {
		nc.tune(&cfg.Session)
	}
	f, err := fabric.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Fabric = f
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run of %d: %v", n.sfu, err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) onDeliver(batch []fabric.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range batch {
		if n.deliver != nil {
			n.deliver(n, r)
			continue
		}
		n.records = append(n.records, record{r.Peer, r.Lane, string(r.Data), time.Now()})
	}
	n.tellLocked()
}

func (n *node) onEvent(e fabric.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
	switch path := n.paths[e.Peer]; e.Kind {
	case fabric.PeerUp:
		n.paths[e.Peer] = [2]bool{}
	case fabric.PeerLost:
		delete(n.paths, e.Peer)
	case fabric.PathUp, fabric.PathDown:
		path[e.Network] = e.Kind == fabric.PathUp
		n.paths[e.Peer] = path
	}
	if n.event != nil {
		n.event(n, e)
	}
	n.tellLocked()
}

func (n *node) tellLocked() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// until waits until ok, which may look at the node's records and events.
func (n *node) until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		n.mu.Lock()
		done, changed := ok(), n.changed
		n.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			n.mu.Lock()
			defer n.mu.Unlock()
			t.Fatalf("sfu %d waited for %s; %d records, events %v", n.sfu, what, len(n.records), n.events)
		}
	}
}

// happened waits for an event.
func (n *node) happened(t testing.TB, want string) {
	t.Helper()
	n.until(t, want, func() bool { return n.count(want) > 0 })
}

// count returns how often an event came; n.mu is held.
func (n *node) count(want string) int {
	count := 0
	for _, e := range n.events {
		if e.String() == want {
			count++
		}
	}
	return count
}

// forget drops the events so far.
func (n *node) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = nil
}

// told returns the events so far of the given kinds.
func (n *node) told(kinds ...fabric.EventKind) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var told []string
	for _, e := range n.events {
		if slices.Contains(kinds, e.Kind) {
			told = append(told, e.String())
		}
	}
	return told
}

// sees waits until a peer is up on the given networks.
func (n *node) sees(t testing.TB, peer uint16, networks ...fabric.Network) {
	t.Helper()
	n.until(t, fmt.Sprintf("peer %d", peer), func() bool {
		path, up := n.paths[peer]
		for _, network := range networks {
			up = up && path[network]
		}
		return up
	})
}

// networks is A and B in memory.
type networks [2]*link.Network

func newNetworks(t testing.TB, p link.Path) networks {
	var w networks
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range w {
		w[i] = link.NewNetwork(link.NetworkConfig{Seed: uint64(i)})
		w[i].SetAll(p)
		running.Go(func() { w[i].Run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return w
}

// links joins an SFU to both networks.
func (w networks) links(sfu uint16) fabric.Links {
	return fabric.Links{w[0].Link(sfu), w[1].Link(sfu)}
}

// startMemory starts SFUs 1 to count on both networks and waits until all see all.
func startMemory(t testing.TB, w networks, count int) []*node {
	t.Helper()
	nodes := make([]*node, count+1)
	for sfu := uint16(1); int(sfu) <= count; sfu++ {
		nodes[sfu] = start(t, nodeConfig{sfu: sfu, links: w.links(sfu), peers: peersOf(t, sfu, count)})
	}
	meet(t, nodes[1:], fabric.A, fabric.B)
	return nodes
}

// meet waits until all nodes see each other on the given networks.
func meet(t testing.TB, nodes []*node, on ...fabric.Network) {
	t.Helper()
	for _, n := range nodes {
		for _, other := range nodes {
			if other != n {
				n.sees(t, other.sfu, on...)
			}
		}
	}
}
