package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
)

const (
	// unheard is how long nobody must be heard on the interconnect before gateways are
	// asked: far longer than peers that are there need to be heard.
	unheard = 3 * time.Second
	// inquiryInterval is how often they are asked again.
	inquiryInterval = 5 * time.Second
	// greetTime bounds one question.
	greetTime = 3 * time.Second
	// maxGreeting bounds its answer, in bytes: 512 addresses of gateways and 64 numbers
	// are well below.
	maxGreeting = 64 << 10
)

// inquire finds out whether this SFU was removed while it was off. Those that are left
// do not hear it on the interconnect any more, so it would wait for them for ever; but
// their gateways tell anybody whose they are. It asks for as long as it hears no other
// SFU, over TLS and the cluster's own authority, and says so to the owner of removed.
func (k *keeper) inquire(ctx context.Context) {
	tick := time.NewTimer(timer.Next(time.Second))
	defer tick.Stop()
	for next := k.now() + unheard; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.Reset(timer.Next(time.Second))
		}
		switch now := k.now(); {
		case k.hears():
			next = now + unheard
		case now >= next:
			if err := k.askGateways(ctx); err != nil {
				select {
				case k.removed <- err:
				default: // it was told on the interconnect meanwhile
				}
				return
			}
			next = k.now() + inquiryInterval
		}
	}
}

// hears reports whether another SFU is heard on any network.
func (k *keeper) hears() bool {
	k.mu.Lock()
	conn := k.conn
	k.mu.Unlock()
	if conn == nil {
		return false
	}
	for _, n := range conn.Networks() {
		if n.Up {
			return true
		}
	}
	return false
}

// askGateways asks the gateways of the other SFUs, one after the other, until one says
// that this SFU is out.
func (k *keeper) askGateways(ctx context.Context) error {
	own := k.cfg.Self.Gateways
	for _, address := range k.gateways() {
		if slices.Contains(own, address) {
			continue
		}
		r, err := k.greet(ctx, address)
		if err != nil {
			k.log.Debug("a gateway was asked whether this SFU is still in the cluster", "gateway", address, "err", err)
			continue
		}
		if err := k.outBy(address, r); err != nil {
			return err
		}
	}
	return nil
}

// outBy returns why this SFU is out by what a gateway says. A list that is older than
// the one known here says nothing: this SFU may be newer than it.
func (k *keeper) outBy(address string, r *gatewaypb.HelloReply) error {
	if string(r.ClusterId) != string(k.cfg.Cluster.ID[:]) {
		return fmt.Errorf("the gateway %s is of another cluster now, %s %x, which was restored from a backup of this one: %w; "+
			"to give this machine a place in it: move /etc/rrts and the state of SFU %s away, and use `rrts node add` where the cluster was restored",
			address, r.Cluster, r.ClusterId, errRemoved, k.cfg.Self.Name)
	}
	_, known := k.numbers()
	if r.Roster <= known || slices.Contains(r.Sfus, uint32(k.cfg.Self.Number)) {
		return nil
	}
	return removed(k.cfg.Self, r.Roster)
}

// greet asks a gateway where it is, without a login.
func greet(ctx context.Context, dir, address string) (*gatewaypb.HelloReply, error) {
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	kit, err := config.LoadClientKit(filepath.Join(dir, "client-kit.toml"))
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	fc, err := frame.Client(ctx, raw, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: kit.Pool(), ServerName: host},
		frame.Limits{Frame: maxGreeting, Backlog: maxGreeting, Stall: greetTime})
	if err != nil {
		return nil, err
	}
	defer fc.Close()
	if err := fc.SetReadDeadline(time.Now().Add(greetTime)); err != nil {
		return nil, err
	}
	const call = 1
	hello := message.Envelope{Kind: message.KindRequest, Service: gatewaypb.GatewayService, Method: gatewaypb.GatewayHelloMethod, Call: call,
		Body: message.Marshal(&gatewaypb.HelloRequest{Protocol: 1, Agent: "rrtsd " + version})}
	if err := fc.Send(&hello); err != nil {
		return nil, err
	}
	for {
		b, err := fc.Next()
		if err != nil {
			return nil, err
		}
		var e message.Envelope
		if err := e.Parse(b); err != nil {
			return nil, err
		}
		switch {
		case e.Call != call: // a notice, as of one that stops
		case e.Kind == message.KindFailure:
			return nil, &message.Error{Code: e.Code, Detail: e.Detail}
		default:
			r := &gatewaypb.HelloReply{}
			return r, r.Parse(e.Body)
		}
	}
}
