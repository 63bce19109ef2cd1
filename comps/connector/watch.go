package connector

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/engine"
)

const (
	// lookEvery is how often alarms are looked after that no event raises.
	lookEvery = time.Second
	// pathGrace is how long a network to a peer that is up may take to come up too:
	// the first probes, and one hold-down of a network that had failed.
	pathGrace = 3 * time.Second
	// peerGrace is how long a peer may take to be heard at all, after this SFU's
	// start: machines of a cluster are not switched on in the same second.
	peerGrace = 10 * time.Second
	// crossedFor is how long networks count as crossed after that was told last: two of
	// its repetitions may be lost.
	crossedFor = 2*session.CrossWiredAgain + 5*time.Second
)

// alarms is what a watch needs of engine.Host.
type alarms interface {
	Now() time.Duration
	Alarm(name string, severity engine.Severity, detail string)
	ClearAlarm(name string)
}

// watch turns what the fabric tells into alarms.
type watch struct {
	alarms alarms
	there  [fabric.Ports]bool // links that this SFU has

	mu    sync.Mutex
	ended bool
	peers map[uint16]*seen
	down  [fabric.Ports]bool // links that are
	raise map[string]bool
}

// seen is what was seen of one peer.
type seen struct {
	fabric.Peer
	up      bool
	stopped bool // it said goodbye
	since   time.Duration
	path    [2]bool
	crossed time.Duration // when frames of one network last arrived on the other
}

func newWatch(a alarms, links fabric.Links, peers []fabric.Peer) *watch {
	w := &watch{alarms: a, peers: make(map[uint16]*seen), raise: make(map[string]bool)}
	for port, l := range links {
		w.there[port] = l != nil
	}
	w.setPeers(a.Now(), peers)
	return w
}

// setPeers replaces the peers that are looked for.
func (w *watch) setPeers(now time.Duration, peers []fabric.Peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.peers
	w.peers = make(map[uint16]*seen, len(peers))
	for _, p := range peers {
		s := old[p.SFU]
		if s == nil {
			s = &seen{since: now}
		}
		s.Peer = p
		w.peers[p.SFU] = s
		delete(old, p.SFU)
	}
	for sfu := range old {
		w.forgetLocked(sfu)
		w.setLocked(false, peerLost(sfu), 0, "")
	}
}

func peerLost(sfu uint16) string   { return fmt.Sprintf("peer-lost@%d", sfu) }
func crossWired(sfu uint16) string { return fmt.Sprintf("network-cross-wired@%d", sfu) }

func netDown(n fabric.Network) string {
	return fmt.Sprintf("network-%s-down", strings.ToLower(n.String()))
}

func pathDown(n fabric.Network, sfu uint16) string { return fmt.Sprintf("%s@%d", netDown(n), sfu) }

// setLocked raises or clears an alarm of this watch.
func (w *watch) setLocked(on bool, name string, severity engine.Severity, detail string) {
	switch {
	case on && !w.raise[name]:
		w.raise[name] = true
		w.alarms.Alarm(name, severity, detail)
	case !on && w.raise[name]:
		delete(w.raise, name)
		w.alarms.ClearAlarm(name)
	}
}

// forgetLocked clears what is about the way to a peer.
func (w *watch) forgetLocked(sfu uint16) {
	w.setLocked(false, pathDown(fabric.A, sfu), 0, "")
	w.setLocked(false, pathDown(fabric.B, sfu), 0, "")
	w.setLocked(false, crossWired(sfu), 0, "")
}

// event takes in what the fabric tells.
func (w *watch) event(now time.Duration, e fabric.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	switch e.Kind {
	case fabric.LinkDown, fabric.LinkUp:
		w.linkLocked(e)
		return
	case fabric.NotRedundant:
		w.setLocked(true, "network-not-redundant", engine.Warning, "fewer than two networks are usable here")
		return
	case fabric.Redundant:
		w.setLocked(false, "network-not-redundant", 0, "")
		return
	case fabric.BuffersSmall:
		w.setLocked(true, "network-buffers-small@"+e.Port.String(), engine.Warning, e.Why)
		return
	}
	p := w.peers[e.Peer]
	if p == nil {
		return
	}
	switch e.Kind {
	case fabric.PeerUp:
		*p = seen{Peer: p.Peer, up: true, since: now}
		w.setLocked(false, peerLost(e.Peer), 0, "")
	case fabric.PeerLost:
		*p = seen{Peer: p.Peer, stopped: e.Reason == session.Closed, since: now}
		w.forgetLocked(e.Peer)
		// Replaced is followed by PeerUp at once; if not, look finds out.
		w.setLocked(e.Reason == session.Silence, peerLost(e.Peer), engine.Warning, fmt.Sprintf("SFU %d is silent on every network", e.Peer))
	case fabric.PathUp:
		p.path[e.Network] = true
		w.setLocked(false, pathDown(e.Network, e.Peer), 0, "")
	case fabric.PathDown:
		p.path[e.Network] = false
		w.pathLocked(e.Peer, p, e.Network)
	case fabric.CrossWired:
		p.crossed = now
		w.setLocked(true, crossWired(e.Peer), engine.Critical,
			fmt.Sprintf("frames that SFU %d sent on one network arrived on network %v: the cables are crossed or the networks are bridged", e.Peer, e.Network))
	}
}

func (w *watch) linkLocked(e fabric.Event) {
	down := e.Kind == fabric.LinkDown
	if e.Port == fabric.PortMachine {
		w.setLocked(down, "network-machine-down", engine.Warning, "the link between the SFUs of this machine is down: "+e.Why)
		return
	}
	w.down[e.Port] = down
	if e.Port >= fabric.PortUDPA {
		return // a socket is there as long as this SFU is
	}
	n := fabric.Network(e.Port)
	w.setLocked(down, netDown(n), engine.Warning, fmt.Sprintf("the link to network %v is down: %s", n, e.Why))
	if down { // one alarm says it all
		for sfu, p := range w.peers {
			if p.Via.Port(n) == e.Port {
				w.setLocked(false, pathDown(n, sfu), 0, "")
			}
		}
	}
}

// pathLocked raises the alarm of a network on which a peer is not heard, unless the
// cause is known already.
func (w *watch) pathLocked(sfu uint16, p *seen, n fabric.Network) {
	port := p.Via.Port(n)
	if p.up && p.Via != fabric.ViaMachine && !p.OnlyA && w.there[port] && !w.down[port] && p.path[1-n] {
		w.setLocked(true, pathDown(n, sfu), engine.Warning, fmt.Sprintf("SFU %d is heard on network %v only", sfu, p.Via.Port(1-n)))
	}
}

// look raises what no event tells: a peer that is never heard, a network on which a
// peer never came up, one that fell while a link was down here; and ends what is not
// told any more.
func (w *watch) look(now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	for sfu, p := range w.peers {
		if now-p.crossed >= crossedFor {
			w.setLocked(false, crossWired(sfu), 0, "")
		}
		switch {
		case !p.up && !p.stopped && now-p.since >= peerGrace:
			w.setLocked(true, peerLost(sfu), engine.Warning, fmt.Sprintf("SFU %d was not heard for %v", sfu, peerGrace))
		case p.up && now-p.since >= pathGrace:
			for n := range p.path {
				if !p.path[n] {
					w.pathLocked(sfu, p, fabric.Network(n))
				}
			}
		}
	}
}

// end clears every alarm: nobody looks any more.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for name := range w.raise {
		delete(w.raise, name)
		w.alarms.ClearAlarm(name)
	}
}
