package fabric

import (
	"log/slog"
	"math"
	"slices"
	"time"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/net/wire"
)

// Core is all sessions of one SFU as a state machine: frames, records, link states
// and the time go in; frames leave through the transmit function, records and
// events through the Config's. It opens nothing, reads no clock and starts no
// goroutine. A Fabric drives one from real links; a simulation drives it by
// itself:
//
//	core.Advance(now, wall)            // first, and at core.NextTimeout()
//	core.Receive(now, port, frames)    // what arrived
//	core.Send(now, peer, lane, record) // at any time, also from Deliver and Event
//	core.Flush(now)                    // after every batch of other calls
//
// It belongs to one goroutine.
type Core struct {
	cfg      Config
	log      *slog.Logger
	transmit func(port Port, frames []link.Frame)

	responder *session.Responder
	peers     []*peer          // in the order of their numbers
	bySFU     map[uint16]*peer // the same
	bySlot    map[uint16]*peer // the same
	lastSlot  uint16
	touched   []*peer // those that Flush must look at, in the order of touching
	flushed   []*peer // those that the last Flush looked at

	links     [Ports]linkState
	redundant bool
	turn      int // counts the times that a NIC had room for frames that were kept back

	out     [Ports][]link.Frame
	buffers [link.BatchSize][]byte
	used    int // of buffers
	batch   []Record
	dropped Dropped
}

// peer is one session and where its peer was last heard.
type peer struct {
	Peer
	by      []Port // the links that lead to it, by network
	session *session.Session
	slot    uint16
	addr    [2]link.Addr // by network; the zero Addr while unknown
	asked   [2]link.Addr // by network; where its last initiation came from by UDP
	touched bool
	held    bool             // its session keeps frames back
	next    time.Duration    // the session's next timeout
	early   time.Duration    // from when its Early has something to do
	drained time.Duration    // when records last came from the Fabric's outbox
	shout   [2]time.Duration // by network; when a probe is broadcast next
}

// linkState is what the core was told of a link.
type linkState struct {
	there bool
	pacer session.Pacer
	up    bool
	mtu   int
	why   string // its buffers are smaller than asked for; empty when they are not
	small bool   // that was told
}

// network returns the network of the peer's session that a link is; ok is false
// if frames from this peer have no business there.
func (p *peer) network(port Port) (n Network, ok bool) {
	i := slices.Index(p.by, port)
	return Network(i), i >= 0
}

// NewCore returns a core. Of cfg.Links it takes only the Status, here and now;
// SetLink tells it of changes. transmit sends frames by one of the links and keeps
// none of them.
func NewCore(cfg Config, transmit func(port Port, frames []link.Frame)) (*Core, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Core{
		cfg:       cfg,
		log:       cfg.Log,
		transmit:  transmit,
		redundant: true,
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var err error
	c.responder, err = session.NewResponder(session.ResponderConfig{
		Local:       cfg.Session.Local,
		Key:         cfg.Session.Key,
		PSK:         cfg.Session.PSK,
		ClusterHash: cfg.Session.ClusterHash,
		Rand:        cfg.Session.Rand,
	})
	if err != nil {
		return nil, err
	}
	for i := range c.buffers {
		c.buffers[i] = make([]byte, wire.MaxFrame)
	}
	for port, l := range cfg.Links {
		if l != nil {
			s := l.Status()
			c.links[port] = linkState{there: true, up: true, mtu: s.MTU}
			c.links[port].pacer.SetSpeed(s.Speed)
		}
	}
	if err := c.SetPeers(0, cfg.Peers); err != nil {
		return nil, err
	}
	return c, nil
}

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// Advance runs what is due at now. wall is the wall clock at now in Unix
// nanoseconds, for the peers to compare theirs with; 0 leaves it out.
func (c *Core) Advance(now time.Duration, wall int64) {
	for _, p := range c.peers {
		if wall != 0 {
			p.session.SetWall(now, wall)
		}
		if p.next <= now {
			p.session.Advance(now)
			c.touch(p)
		}
	}
	c.checkRedundancy()
}

// NextTimeout is when Advance must be called next. The other methods may bring
// it forward; it holds after Flush.
func (c *Core) NextTimeout() time.Duration {
	next := never
	for _, p := range c.peers {
		next = min(next, p.next)
	}
	return next
}

// Send appends record to the lane of a peer; see Fabric.Send. The bytes are copied.
func (c *Core) Send(now time.Duration, to uint16, lane Lane, record []byte) error {
	p := c.bySFU[to]
	if p == nil {
		return ErrNoPeer
	}
	if err := p.session.Send(now, lane, record); err != nil {
		return err
	}
	c.touch(p)
	return nil
}

// Close ends every session, as before the process stops: the peers are told, and
// need not wait for silence. Flush sends the goodbyes.
func (c *Core) Close(now time.Duration) {
	for _, p := range c.peers {
		p.session.Close(now)
		c.touch(p)
	}
}

// touch marks a session for the next Flush.
func (c *Core) touch(p *peer) {
	if !p.touched {
		p.touched = true
		c.touched = append(c.touched, p)
	}
}
