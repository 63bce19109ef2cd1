package connector

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Config describes a Connector.
type Config struct {
	// Session is what all sessions have in common; see fabric.Config. Its numbers and
	// keys must be set.
	Session session.Config
	// Peers are the other SFUs.
	Peers []fabric.Peer
	// Open opens the links; nil where there is none. It is called in Provision, so that a Connector made anew
	// gets fresh ones; the Connector closes them. Must be set.
	Open func() (fabric.Links, error)
	// Roster, if not nil, is told of every roster that another SFU announces, and in which epoch. It must
	// not block.
	Roster func(from uint16, epoch uint32, r *txnpb.Roster)
}

// Connector is the Component. Its exported methods beside the life cycle may be
// called from any goroutine, at any time.
type Connector struct {
	cfg    Config
	host   engine.Host
	links  fabric.Links // while the fabric does not run
	watch  *watch
	inlet  engine.Inlet
	parcel parcel // of the fabric's goroutine

	fabric atomic.Pointer[fabric.Fabric] // nil before Provision and after Stop
}

var (
	_ engine.Component = (*Connector)(nil)
	_ engine.Transport = (*Connector)(nil)
)

// New returns a Connector that has opened nothing yet.
func New(cfg Config) (*Connector, error) {
	if cfg.Open == nil {
		return nil, errors.New("connector: Config.Open must be set")
	}
	return &Connector{cfg: cfg}, nil
}

// Name implements engine.Component.
func (c *Connector) Name() string { return "connector" }

// Services implements engine.Component: it hears of the roster, by which it has its
// peers.
func (c *Connector) Services() []engine.Service {
	if c.cfg.Roster == nil {
		return nil
	}
	return []engine.Service{{Descriptor: &txnpb.RosterKeeperDescriptor, Mailbox: rosters}}
}

// rosters bounds the announcements that wait: one of each SFU, as after a cut.
const rosters = 64

// Provision implements engine.Component: it opens the links.
func (c *Connector) Provision(h engine.Host) error {
	c.host = h
	links, err := c.cfg.Open()
	c.links = links
	if err != nil {
		return fmt.Errorf("connector: %w", err)
	}
	// The fabric tells of a missing network while it is made.
	c.watch = newWatch(h, links, c.cfg.Peers)
	f, err := fabric.New(fabric.Config{Session: c.cfg.Session, Peers: c.cfg.Peers, Links: links,
		Deliver: c.deliver, Event: c.event, Log: h.Log()})
	if err != nil {
		return fmt.Errorf("connector: %w", err)
	}
	c.fabric.Store(f)
	return nil
}

// Validate implements engine.Component; fabric.New has done it.
func (c *Connector) Validate() error { return nil }

// Start implements engine.Component.
func (c *Connector) Start(context.Context) error {
	f := c.fabric.Load()
	c.inlet = c.host.Connect(c)
	c.links = fabric.Links{} // Run closes them
	c.host.Go("fabric", func(ctx context.Context) {
		if err := f.Run(ctx); err != nil || ctx.Err() == nil {
			panic(fmt.Errorf("connector: the interconnect stopped: %w", err))
		}
	})
	c.host.Go("watch", func(ctx context.Context) {
		tick := time.NewTimer(timer.Next(lookEvery))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				tick.Reset(timer.Next(lookEvery))
				c.watch.look(c.host.Now())
			}
		}
	})
	c.host.Ready(true)
	return nil
}

// Serve implements engine.Component.
func (c *Connector) Serve(batch []message.Request) {
	for _, r := range batch {
		txnpb.ServeRosterKeeper(keeperService{c}, r)
	}
}

type keeperService struct{ *Connector }

// Announce implements txnpb.RosterKeeperHandler.
func (k keeperService) Announce(r message.Request, in *txnpb.Roster) {
	k.cfg.Roster(r.Envelope().From, r.Envelope().Epoch, in)
}

// Drain implements engine.Component. The engine itself sees to it that peers have
// got what was sent to them.
func (c *Connector) Drain(context.Context) error { return nil }

// Stop implements engine.Component.
func (c *Connector) Stop() {
	c.fabric.Store(nil)
	for i, l := range c.links {
		if l != nil {
			l.Close()
			c.links[i] = nil
		}
	}
	if c.watch != nil {
		c.watch.end()
	}
}

// ErrStopped is what a Connector answers before Provision and after Stop.
var ErrStopped = errors.New("connector: it does not run")

// Send implements engine.Transport.
func (c *Connector) Send(to uint16, lane message.Lane, record []byte) error {
	f := c.fabric.Load()
	if f == nil {
		return ErrStopped
	}
	err := f.Send(to, fabric.Lane(lane), record)
	if errors.Is(err, fabric.ErrLaneFull) {
		return engine.ErrFull
	}
	return err
}

// SetPeers replaces the other SFUs while the Connector runs: sessions with those
// that stay as they were go on. A Connector made anew takes those of its Config.
func (c *Connector) SetPeers(peers []fabric.Peer) error {
	f := c.fabric.Load()
	if f == nil {
		return ErrStopped
	}
	if err := f.SetPeers(peers); err != nil {
		return fmt.Errorf("connector: %w", err)
	}
	c.watch.setPeers(c.host.Now(), peers)
	return nil
}

// Stats fills st with the interconnect's counters: of links, and of each peer by network
// and lane. What st holds is used again, so that who asks every second makes no garbage.
// It is ErrStopped while the Connector does not run.
func (c *Connector) Stats(st *fabric.Stats) error {
	f := c.fabric.Load()
	if f == nil || f.Stats(st) != nil {
		return ErrStopped
	}
	return nil
}

// Networks says how each network is doing towards each peer, by number and network,
// for the Monitor. It is empty while the Connector does not run.
func (c *Connector) Networks() []monitorpb.NetworkStatus {
	var st fabric.Stats
	if c.Stats(&st) != nil {
		return nil
	}
	var all []monitorpb.NetworkStatus
	for i := range st.Peers {
		p := &st.Peers[i]
		for n := range p.Network {
			s := &p.Network[n]
			if !s.Configured {
				continue
			}
			all = append(all, monitorpb.NetworkStatus{Peer: uint32(p.Peer), Network: p.Via.Port(fabric.Network(n)).String(), Up: s.Up, RttMicros: uint64(s.RTT / time.Microsecond),
				SentFrames: s.FramesSent, ReceivedFrames: s.FramesReceived, LostFrames: s.FramesLost, DuplicateFrames: p.FramesDuplicate,
				SentBytes: s.BytesSent, ReceivedBytes: s.BytesReceived, ProbesMissed: s.ProbesMissed, PacedMicros: uint64(s.Paced / time.Microsecond),
				ClockOffsetMicros: p.ClockOffset.Microseconds(), ClockErrorMicros: uint64((p.ClockError + time.Microsecond - 1) / time.Microsecond)})
		}
	}
	return all
}

// Clocks calls f with the wall clocks of the other SFUs that are known, as of now: Unix
// nanoseconds, and how far off that may be. Like Networks it waits for the fabric.
func (c *Connector) Clocks(f func(sfu uint16, unixNano int64, within time.Duration)) {
	fb := c.fabric.Load()
	if fb == nil {
		return
	}
	clocks, err := fb.Clocks(nil)
	if err != nil {
		return // it has just ended
	}
	for _, p := range clocks {
		f(p.Peer, p.Wall, p.Err)
	}
}

// event takes what happened on the interconnect, on the fabric's goroutine.
func (c *Connector) event(e fabric.Event) {
	c.watch.event(c.host.Now(), e)
	switch e.Kind {
	case fabric.PeerUp:
		c.inlet.PeerUp(e.Peer, e.Incarnation)
	case fabric.PeerLost:
		c.inlet.PeerLost(e.Peer)
	case fabric.PeerSuspect:
		c.inlet.PeerSuspect(e.Peer)
	case fabric.PeerRecovered:
		c.inlet.PeerRecovered(e.Peer)
	}
}

// deliver takes records that arrived, on the fabric's goroutine. Those of one peer
// and lane that follow each other enter the engine together.
func (c *Connector) deliver(batch []fabric.Record) {
	for len(batch) > 0 {
		from, lane := batch[0].Peer, batch[0].Lane
		n := 1
		for n < len(batch) && batch[n].Peer == from && batch[n].Lane == lane {
			n++
		}
		c.inlet.Deliver(from, message.Lane(lane), c.parcel.copy(batch[:n]))
		batch = batch[n:]
	}
}
