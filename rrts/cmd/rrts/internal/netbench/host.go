package netbench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/cpu"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
)

// Numbers of the two sides.
const (
	measuring = 1
	serving   = 2
)

// What a record is.
const (
	kindData    = 'd'
	kindEcho    = 'e'
	kindReply   = 'r'
	kindRequest = 'q'
	kindAnswer  = 'a'

	// MinSize is the length of a record's head: its kind and its number.
	MinSize = 9
)

// holdDown is how long a network that was cut is held down when it comes back: short,
// because here one is cut again and again, and long enough to be seen.
const holdDown = 100 * time.Millisecond

// MaxSize is the longest record of a lane: half of its credit, less the record's own
// length.
func MaxSize(lane fabric.Lane) int { return session.DefaultLaneBytes[lane]/2 - 4 }

// clusterHash and bareHash keep the frames of the fabric and those of the bare echo
// apart from each other and from a real cluster's.
const (
	clusterHash = 0x62656e63
	bareHash    = 0x62617265
)

// Host is what both sides are told of their machine.
type Host struct {
	NICs [2]string // of networks A and B
	// Idle is a NIC that carries nothing; empty: there is none. To take it down shows what
	// that costs the machine, whoever uses it.
	Idle string
}

// host is a running fabric and what the other side said.
type host struct {
	*fabric.Fabric
	nics  [2]string
	idle  string
	peer  uint16
	links [2]*lossy
	ended chan error // of Run
	stop  context.CancelFunc
	lost  chan struct{} // a token: the peer is gone

	paths   [2]atomic.Bool // by which the peer is heard
	changed chan struct{}  // a token: they have changed
}

// secret derives a key of the measurement. Its traffic is worth nothing to anybody,
// and the cost of sealing it is the same.
func secret(what string, n uint16) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint16([]byte("rrts bench net, "+what), n))
}

// newHost starts a fabric that calls deliver for what arrives, on its own goroutine.
func newHost(self uint16, h Host, deliver func(*host, []fabric.Record)) (*host, error) {
	key, err := session.NewKeyPair(secret("key", self))
	if err != nil {
		return nil, err
	}
	peer, err := session.NewKeyPair(secret("key", measuring+serving-self))
	if err != nil {
		return nil, err
	}
	b := &host{nics: h.NICs, idle: h.Idle, peer: measuring + serving - self, ended: make(chan error, 1), lost: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	var links fabric.Links
	for n, etherType := range []uint16{link.EtherTypeA, link.EtherTypeB} {
		l, err := link.OpenPacket(link.PacketConfig{Interface: h.NICs[n], EtherType: etherType, Match: fabric.Match(clusterHash, self)})
		if err != nil {
			closeLinks(links)
			return nil, err
		}
		b.links[n] = &lossy{Packet: l}
		links[n] = b.links[n]
	}
	b.Fabric, err = fabric.New(fabric.Config{
		Session: session.Config{
			Local: self, Key: key, PSK: secret("cluster", 0), ClusterHash: clusterHash, Rand: rand.Reader,
			HoldDown: holdDown, HoldDownMax: holdDown,
			Incarnation: uint64(time.Now().UnixNano()), NoAES: !cpu.X86.HasAES && !cpu.ARM64.HasAES,
		},
		Peers:   []fabric.Peer{{SFU: b.peer, Public: peer.Public}},
		Links:   links,
		Deliver: func(batch []fabric.Record) { deliver(b, batch) },
		Event:   b.event,
	})
	if err != nil {
		closeLinks(links)
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	go func() { b.ended <- b.Run(ctx) }()
	return b, nil
}

func closeLinks(links fabric.Links) {
	for _, l := range links {
		if l != nil {
			l.Close()
		}
	}
}

// close ends the fabric.
func (b *host) close() error {
	b.stop()
	return <-b.ended
}

func (b *host) event(e fabric.Event) {
	switch e.Kind {
	case fabric.PathUp, fabric.PathDown:
		b.paths[e.Network].Store(e.Kind == fabric.PathUp)
		token(b.changed)
	case fabric.PeerLost:
		for n := range b.paths {
			b.paths[n].Store(false)
		}
		token(b.lost)
	}
}

// token puts a token into a channel that holds one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// request is what the measuring side wants.
type request struct {
	ID uint64 // of the answer too
	// Begin empties the counters once the answer holds them. On the lane of a stream a
	// request comes behind all of it.
	Begin bool
	// Fault changes how a network fares on the serving side.
	Fault *fault
	// Window begins a window of the stream.
	Window windowKind
}

// fault is a change of one network at one side.
type fault struct {
	Network fabric.Network
	Idle    bool    // not that network, but the NIC that carries nothing
	Down    bool    // the interface
	Lose    float64 // share of what arrives
}

// answer is what the serving side says.
type answer struct {
	ID        uint64
	Error     string        // of a fault
	Received  uint64        // records of the stream
	Reordered uint64        // of them, those that came after a later one, or twice
	Longest   time.Duration // between two of them
	GapP99    time.Duration
	CPU       time.Duration // used by the process since its start
	// Windows is the longest gap of each window of the stream, by kind.
	Windows [windowKinds][]time.Duration
}

// apply makes a fault here.
func (b *host) apply(f fault) error {
	if f.Idle {
		return setDown(b.idle, f.Down)
	}
	b.links[f.Network].lose(f.Lose)
	return setDown(b.nics[f.Network], f.Down)
}

// encode makes a record of a request or an answer.
func encode(kind byte, v any) []byte {
	j, err := json.Marshal(v)
	if err != nil {
		panic(err) // only for types that JSON does not know
	}
	return append([]byte{kind}, j...)
}

var errPeerGone = errors.New("netbench: the other side is gone")

// awaitPeer waits until the other side is up on both networks.
func (b *host) awaitPeer(ctx context.Context) error {
	if b.awaitPaths(ctx, [2]bool{true, true}) == nil {
		return nil
	}
	for n, l := range b.links {
		if s := l.Status(); !s.Up {
			return fmt.Errorf("netbench: network %v: interface %s: %s", fabric.Network(n), b.nics[n], s.Why)
		}
	}
	return errors.New("netbench: the other side was not heard on both networks: is it serving, and are the cables right?")
}

// awaitPaths waits until the other side is heard on the networks that want says, and on
// no other. One goroutine at a time may wait.
func (b *host) awaitPaths(ctx context.Context, want [2]bool) error {
	for [2]bool{b.paths[0].Load(), b.paths[1].Load()} != want {
		select {
		case <-b.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
