package connector

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
)

// board is a board of alarms.
type board struct {
	now   time.Duration
	stand map[string]engine.Severity
	saw   *alarmtest.Record // nil where nobody asks
}

func (b *board) Now() time.Duration { return b.now }

func (b *board) Alarm(name string, s engine.Severity, detail string) {
	if _, twice := b.stand[name]; twice || detail == "" {
		panic(name + " was raised twice, or without a word")
	}
	b.stand[name] = s
	if b.saw != nil {
		b.saw.Raise(name)
	}
}

func (b *board) ClearAlarm(name string) {
	if _, stands := b.stand[name]; !stands {
		panic(name + " was cleared and did not stand")
	}
	delete(b.stand, name)
	if b.saw != nil {
		b.saw.End(name)
	}
}

func (b *board) names() []string {
	names := []string{}
	for n := range b.stand {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// everywhere are links to all networks.
func everywhere() (links fabric.Links) {
	for port := range links {
		links[port] = link.NewNetwork(link.NetworkConfig{}).Link(1)
	}
	return links
}

// TestWatch plays what the fabric tells and looks at the alarms after each step.
func TestWatch(t *testing.T) {
	type step struct {
		event fabric.Event
		after time.Duration // before the step; the watch looks every second of it
		want  []string
	}
	up := func(sfu uint16) step { return step{event: fabric.Event{Kind: fabric.PeerUp, Peer: sfu}} }
	path := func(sfu uint16, n fabric.Network, kind fabric.EventKind, want ...string) step {
		return step{event: fabric.Event{Kind: kind, Peer: sfu, Network: n}, want: want}
	}
	lost := func(sfu uint16, why session.Reason, want ...string) step {
		return step{event: fabric.Event{Kind: fabric.PeerLost, Peer: sfu, Reason: why}, want: want}
	}
	wait := func(d time.Duration, want ...string) step { return step{after: d, want: want} }
	linkTo := func(p fabric.Port, kind fabric.EventKind, want ...string) step {
		return step{event: fabric.Event{Kind: kind, Port: p, Why: "no carrier"}, want: want}
	}
	var saw alarmtest.Record
	both := []step{up(2), path(2, fabric.A, fabric.PathUp), path(2, fabric.B, fabric.PathUp)}
	for name, steps := range map[string][]step{
		"never heard":         {wait(9 * time.Second), wait(2*time.Second, "peer-lost@2", "peer-lost@3"), {event: fabric.Event{Kind: fabric.PeerUp, Peer: 2}, want: []string{"peer-lost@3"}}},
		"silent and back":     append(both, lost(2, session.Silence, "peer-lost@2"), up(2)),
		"stopped":             append(both, lost(2, session.Closed), wait(time.Minute, "peer-lost@3")),
		"restarted":           append(both, lost(2, session.Replaced), up(2)),
		"gone while replaced": append(both, lost(2, session.Replaced), wait(11*time.Second, "peer-lost@2", "peer-lost@3")),
		"one path falls": append(both, path(2, fabric.A, fabric.PathDown, "network-a-down@2"), path(2, fabric.A, fabric.PathUp),
			path(2, fabric.B, fabric.PathDown, "network-b-down@2"), lost(2, session.Silence, "peer-lost@2")),
		"both paths fall": append(both, path(2, fabric.A, fabric.PathDown, "network-a-down@2"),
			path(2, fabric.B, fabric.PathDown, "network-a-down@2"), path(2, fabric.A, fabric.PathUp), wait(4*time.Second, "network-b-down@2")),
		"one path never comes up": {up(2), path(2, fabric.B, fabric.PathUp), wait(2 * time.Second), wait(2*time.Second, "network-a-down@2")},
		"own link falls": append(both, linkTo(fabric.PortA, fabric.LinkDown, "network-a-down"), path(2, fabric.A, fabric.PathDown, "network-a-down"),
			wait(5*time.Second, "network-a-down"), linkTo(fabric.PortA, fabric.LinkUp), wait(time.Second, "network-a-down@2"), path(2, fabric.A, fabric.PathUp)),
		"own link falls after the path": append(both, path(2, fabric.A, fabric.PathDown, "network-a-down@2"), linkTo(fabric.PortA, fabric.LinkDown, "network-a-down")),
		"machine link": {linkTo(fabric.PortMachine, fabric.LinkDown, "network-machine-down"), linkTo(fabric.PortMachine, fabric.LinkUp),
			up(4), path(4, fabric.A, fabric.PathUp), wait(5 * time.Second)},
		"UDP": {path(5, fabric.A, fabric.PathDown, "network-a-down@5"), linkTo(fabric.PortA, fabric.LinkDown, "network-a-down", "network-a-down@5"),
			path(5, fabric.A, fabric.PathUp, "network-a-down"), path(6, fabric.A, fabric.PathDown, "network-a-down"), linkTo(fabric.PortA, fabric.LinkUp),
			lost(6, session.Silence, "peer-lost@6")},
		"not redundant": {{event: fabric.Event{Kind: fabric.NotRedundant}, want: []string{"network-not-redundant"}}, {event: fabric.Event{Kind: fabric.Redundant}}},
		"crossed": append(both, path(2, fabric.A, fabric.CrossWired, "network-cross-wired@2"), path(2, fabric.B, fabric.CrossWired, "network-cross-wired@2"),
			lost(2, session.Closed)),
		"crossed, and right again": append(both, path(2, fabric.A, fabric.CrossWired, "network-cross-wired@2"), path(3, fabric.A, fabric.PathDown, "network-cross-wired@2"),
			wait(9*time.Second, "network-cross-wired@2"), path(2, fabric.A, fabric.CrossWired, "network-cross-wired@2"),
			wait(crossedFor-time.Second, "network-cross-wired@2", "peer-lost@3"), wait(2*time.Second, "peer-lost@3")),
		"buffers":  {{event: fabric.Event{Kind: fabric.BuffersSmall, Port: fabric.PortB, Why: "net.core.rmem_max"}, want: []string{"network-buffers-small@B"}}},
		"stranger": {up(77), lost(77, session.Silence)},
	} {
		t.Run(name, func(t *testing.T) {
			b := &board{stand: map[string]engine.Severity{}, saw: &saw}
			w := newWatch(b, everywhere(), []fabric.Peer{{SFU: 2}, {SFU: 3}, {SFU: 4, Via: fabric.ViaMachine}, {SFU: 5, Via: fabric.ViaUDP}, {SFU: 6, Via: fabric.ViaUDP, OnlyA: true}})
			for sfu := uint16(4); sfu <= 6; sfu++ {
				w.event(0, fabric.Event{Kind: fabric.PeerUp, Peer: sfu})
				w.event(0, fabric.Event{Kind: fabric.PathUp, Peer: sfu, Network: fabric.A})
			}
			w.event(0, fabric.Event{Kind: fabric.PathUp, Peer: 5, Network: fabric.B})
			for i, s := range steps {
				for end := b.now + s.after; b.now < end; {
					b.now += lookEvery
					w.look(b.now)
				}
				if s.event.Kind != 0 {
					w.event(b.now, s.event)
				}
				if s.want == nil {
					s.want = []string{}
				}
				if got := b.names(); !slices.Equal(got, s.want) {
					t.Fatalf("after step %d, %v: %v, want %v", i, s.event, got, s.want)
				}
			}
			w.end()
			w.event(b.now, fabric.Event{Kind: fabric.NotRedundant})
			w.look(b.now + time.Hour)
			if got := b.names(); len(got) != 0 {
				t.Fatalf("after the end: %v", got)
			}
		})
	}
	saw.Proves(t)
}

// TestWatchOneNetwork: a network that is not there is not down.
func TestWatchOneNetwork(t *testing.T) {
	b := &board{stand: map[string]engine.Severity{}}
	w := newWatch(b, fabric.Links{fabric.PortA: everywhere()[fabric.PortA]}, []fabric.Peer{{SFU: 2}})
	w.event(0, fabric.Event{Kind: fabric.PeerUp, Peer: 2})
	w.event(0, fabric.Event{Kind: fabric.PathUp, Peer: 2, Network: fabric.A})
	w.look(time.Minute)
	if got := b.names(); len(got) != 0 {
		t.Fatal(got)
	}
}

func TestWatchSetPeers(t *testing.T) {
	b := &board{stand: map[string]engine.Severity{}}
	w := newWatch(b, everywhere(), []fabric.Peer{{SFU: 2}})
	w.look(peerGrace)
	w.setPeers(peerGrace, []fabric.Peer{{SFU: 2}, {SFU: 3}})
	if got := fmt.Sprint(b.names()); got != "[peer-lost@2]" {
		t.Fatal(got)
	}
	w.setPeers(peerGrace, []fabric.Peer{{SFU: 3}})
	if got := fmt.Sprint(b.names()); got != "[]" {
		t.Fatal(got)
	}
	w.look(2 * peerGrace)
	if got := fmt.Sprint(b.names()); got != "[peer-lost@3]" {
		t.Fatal(got)
	}
}
