package fabric

import (
	"errors"
	"time"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
)

// Stats is a snapshot of a fabric.
type Stats struct {
	Dropped Dropped
	Links   [Ports]LinkStats
	Peers   []PeerStats // in the order of their numbers
}

// LinkStats is one link's part of Stats.
type LinkStats struct {
	There bool
	link.Status
	link.Counters
}

// PeerStats is one peer's part of Stats. Per network it says frames, bytes, loss
// and round-trip time; see session.Stats. For a peer on the same machine, network
// A is the link between the SFUs of the machine; for one by UDP, UDP is A and B.
type PeerStats struct {
	Peer uint16
	Via  Via
	Addr [2]link.Addr // by network, where known
	session.Stats
}

// Stats fills st; slices that are there are used again. It must not be called from
// Deliver or Event; after Run it returns ErrClosed.
func (f *Fabric) Stats(st *Stats) error {
	for port, l := range f.cfg.Links {
		st.Links[port] = LinkStats{}
		if l != nil {
			st.Links[port] = LinkStats{There: true, Status: l.Status(), Counters: l.Counters()}
		}
	}
	return f.peek(func(time.Duration) { f.core.Stats(st) })
}

// PeerClock is what is known of a peer's wall clock.
type PeerClock struct {
	Peer uint16
	Wall int64         // Unix nanoseconds, when it was asked for
	Err  time.Duration // how far off that may be
}

// Clocks appends the wall clocks of the peers that are known to all. Its rules are
// those of Stats.
func (f *Fabric) Clocks(all []PeerClock) ([]PeerClock, error) {
	err := f.peek(func(now time.Duration) {
		for _, p := range f.core.peers {
			if wall, within := p.session.PeerWall(now); within != 0 {
				all = append(all, PeerClock{p.SFU, wall, within})
			}
		}
	})
	return all, err
}

// SetPeers replaces the peers while the fabric runs. The sessions of those that
// stay as they were go on; the others end, with their PeerLost, before SetPeers
// returns. It must not be called before Run, nor from Deliver or Event; after Run it
// returns ErrClosed.
func (f *Fabric) SetPeers(peers []Peer) error {
	var fault error
	err := f.ask(func(now time.Duration) {
		f.drainLocked(now)
		if fault = f.core.SetPeers(now, peers); fault == nil {
			f.notePeers(peers)
		}
	})
	return errors.Join(err, fault)
}

// notePeers makes the outbox know the peers and keeps the accounts of those that
// stay.
func (f *Fabric) notePeers(peers []Peer) {
	sfus := make([]uint16, len(peers))
	for i, p := range peers {
		sfus[i] = p.SFU
	}
	var limit [lanes]int
	for lane := range limit {
		limit[lane] = f.cfg.Session.LaneBytes[lane]
		if limit[lane] == 0 {
			limit[lane] = session.DefaultLaneBytes[lane]
		}
	}
	f.outbox.setPeers(sfus, limit)
	old := f.given
	f.given = make(map[uint16]*[lanes]int, len(sfus))
	for _, sfu := range sfus {
		f.given[sfu] = old[sfu]
		if f.given[sfu] == nil {
			f.given[sfu] = new([lanes]int)
		}
	}
}

// Stats fills the sessions' and the core's own part of st.
func (c *Core) Stats(st *Stats) {
	st.Dropped = c.dropped
	st.Peers = st.Peers[:0]
	for _, p := range c.peers {
		ps := PeerStats{Peer: p.SFU, Via: p.Via, Addr: p.addr}
		p.session.Stats(&ps.Stats)
		st.Peers = append(st.Peers, ps)
	}
}
