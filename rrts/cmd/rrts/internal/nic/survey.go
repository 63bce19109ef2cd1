package nic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"virtualservicesinc.com/net/link"
)

// Heard is a beacon that arrived.
type Heard struct {
	NIC    string // on which it arrived
	Beacon Beacon
}

// Survey sends and collects beacons.
type Survey struct {
	NICs []string // at most maxNICs
	// EtherTypes are the interconnect's; on each NIC both are used, so that what
	// listens for one of them only is not passed by.
	EtherTypes [2]uint16
	Key        Key
	Source     [16]byte // random
	// Ports are what to announce on each of NICs; none where it is nil.
	Ports []byte
	// Namespace is the path of the network namespace that the NICs are in; empty
	// means the process's own.
	Namespace string
}

const (
	// maxNICs bounds a survey; a desktop has a handful.
	maxNICs = 16
	// announceInterval is short against any survey and no load on any wire.
	announceInterval = 50 * time.Millisecond
	// maxHeard bounds what a survey remembers: a beacon of every port of some
	// dozens of machines on every NIC.
	maxHeard = 1024
)

// Run sends and listens until ctx ends. It returns each beacon of others, and of
// this machine's other NICs, once for each NIC that it arrived on.
func (s *Survey) Run(ctx context.Context) ([]Heard, error) {
	if len(s.NICs) > maxNICs {
		return nil, fmt.Errorf("nic: %d NICs, a survey takes %d: name the two", len(s.NICs), maxNICs)
	}
	var (
		joined sync.WaitGroup
		mu     sync.Mutex
		heard  []Heard
		links  []link.Link
		err    error
	)
	for i, name := range s.NICs {
		for _, kind := range s.EtherTypes {
			var l *link.Packet
			l, err = link.OpenPacket(link.PacketConfig{
				Interface: name, EtherType: kind, Match: link.Match{Offset: 0, Value: beaconMagic}, Namespace: s.Namespace,
			})
			if err != nil {
				break
			}
			links = append(links, l)
			joined.Go(func() {
				s.listen(l, func(b Beacon) {
					mu.Lock()
					defer mu.Unlock()
					h := Heard{NIC: name, Beacon: b}
					if len(heard) < maxHeard && !slices.Contains(heard, h) {
						heard = append(heard, h)
					}
				})
			})
			if s.Ports != nil {
				joined.Go(func() { s.announce(ctx, l, s.Ports[i]) })
			}
		}
	}
	if err == nil {
		<-ctx.Done()
	}
	for _, l := range links {
		err = errors.Join(err, l.Close())
	}
	joined.Wait()
	return heard, err
}

func (s *Survey) listen(l link.Link, got func(Beacon)) {
	frames := make([]link.Frame, link.BatchSize)
	for i := range frames {
		frames[i].Data = make([]byte, 0, link.MaxFrame)
	}
	for {
		n, err := l.Receive(frames)
		if err != nil {
			return // closed
		}
		for _, f := range frames[:n] {
			if b, err := parseBeacon(f.Data, &s.Key); err == nil {
				got(b)
			}
		}
	}
}

func (s *Survey) announce(ctx context.Context, l link.Link, port byte) {
	frames := []link.Frame{{Addr: link.Broadcast, Data: Beacon{Port: port, Source: s.Source}.append(nil, &s.Key)}}
	tick := time.NewTicker(announceInterval)
	defer tick.Stop()
	for {
		// A frame that does not leave, because the cable is out, is sent again.
		if _, err := l.Send(frames); errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
