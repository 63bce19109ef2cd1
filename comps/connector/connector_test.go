package connector

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

var echo = &message.ServiceDescriptor{Number: 1000, Name: "Echo", Policy: message.PolicyAny, Methods: []message.MethodDescriptor{
	{Number: 1, Name: "Get", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 32 << 20},
	{Number: 2, Name: "Tell", Lane: message.LaneCommit, Notice: true, MaxBytes: 1 << 20},
}}

// raw is a message that is its own encoding.
type raw []byte

func (r *raw) AppendTo(b []byte) []byte { return append(b, *r...) }
func (r *raw) Size() int                { return len(*r) }
func (r *raw) Parse(b []byte) error     { *r = bytes.Clone(b); return nil }

// echoer answers with what it was asked, and remembers what it was told.
type echoer struct {
	engine.Host
	mu    sync.Mutex
	heard []string
}

func (e *echoer) Name() string                  { return "echo" }
func (e *echoer) Services() []engine.Service    { return []engine.Service{{Descriptor: echo}} }
func (e *echoer) Provision(h engine.Host) error { e.Host = h; return nil }
func (e *echoer) Validate() error               { return nil }
func (e *echoer) Start(context.Context) error   { e.Ready(true); return nil }
func (e *echoer) Drain(context.Context) error   { return nil }
func (e *echoer) Stop()                         {}
func (e *echoer) Serve(batch []message.Request) {
	for _, r := range batch {
		if env := r.Envelope(); env.Kind == message.KindNotice {
			e.mu.Lock()
			e.heard = append(e.heard, string(env.Body))
			e.mu.Unlock()
		} else {
			b := raw(env.Body)
			r.Reply(&b)
		}
	}
}

// sfu is an engine with a Connector and an echoer.
type sfu struct {
	*engine.Engine
	t      testing.TB
	conn   atomic.Pointer[Connector]
	echoer *echoer
	stop   context.CancelFunc
	done   chan error
	opened atomic.Int32
}

func keys(t testing.TB, n uint16) session.KeyPair {
	seed := make([]byte, 32)
	binary.BigEndian.PutUint16(seed[4:], n)
	private, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	return session.KeyPair{Private: [32]byte(private.Bytes()), Public: [32]byte(private.PublicKey().Bytes())}
}

type networks [2]*link.Network

func newNetworks(t *testing.T) networks {
	var w networks
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range w {
		w[i] = link.NewNetwork(link.NetworkConfig{Seed: uint64(i)})
		w[i].SetAll(link.Path{Delay: 50 * time.Microsecond})
		running.Go(func() { w[i].Run(ctx) })
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

func start(t *testing.T, w networks, n uint16, incarnation uint64) *sfu {
	t.Helper()
	return startOn(t, func() (fabric.Links, error) { return fabric.Links{w[0].Link(n), w[1].Link(n)}, nil }, n, incarnation)
}

func startOn(t testing.TB, open func() (fabric.Links, error), n uint16, incarnation uint64) *sfu {
	t.Helper()
	s := &sfu{t: t, done: make(chan error, 1)}
	reg, err := message.NewRegistry(&enginepb.Schema, &message.Schema{File: "test", Services: []*message.ServiceDescriptor{echo}})
	if err != nil {
		t.Fatal(err)
	}
	s.Engine, err = engine.New(engine.Config{SFU: n, Name: fmt.Sprint("sfu", n), Incarnation: incarnation, Registry: reg, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var peers []fabric.Peer
	for p := uint16(1); p <= 3; p++ {
		if p != n {
			peers = append(peers, fabric.Peer{SFU: p, Public: keys(t, p).Public})
		}
	}
	cfg := Config{
		Session: session.Config{Local: n, Key: keys(t, n), PSK: [32]byte{1}, ClusterHash: 7, Incarnation: incarnation, Rand: rand.Reader},
		Peers:   peers,
		Open: func() (fabric.Links, error) {
			s.opened.Add(1)
			return open()
		},
	}
	for _, add := range []func() (engine.Component, error){
		func() (engine.Component, error) {
			c, err := New(cfg)
			s.conn.Store(c)
			return c, err
		},
		func() (engine.Component, error) { s.echoer = new(echoer); return s.echoer, nil },
	} {
		if err := s.Add(add); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.done <- s.Run(ctx) }()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sfu) end() {
	s.t.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		s.t.Error(err)
	}
}

// get asks SFU to for an echo.
func (s *sfu) get(to uint16, body string) (string, error) {
	b, err := s.Caller(to).Call(s.t.Context(), &echo.Methods[0], echo.Number, []byte(body))
	return string(b), err
}

func (s *sfu) alarms() string {
	var names []string
	for _, a := range s.Alarms() {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return fmt.Sprint(names)
}

func three(t *testing.T) (networks, []*sfu) {
	w := newNetworks(t)
	all := []*sfu{nil}
	for n := uint16(1); n <= 3; n++ {
		all = append(all, start(t, w, n, 1))
	}
	time.Sleep(time.Second)
	return w, all
}

// TestThree: three engines over two networks; a call and a notice of every size
// arrive; then one network is cut, and one SFU stops.
func TestThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, all := three(t)
		for _, from := range all[1:] {
			if p := from.Peers(); len(p) != 2 || p[0].Name == "" {
				t.Fatalf("%+v", p)
			}
			for to := uint16(1); to <= 3; to++ {
				for _, size := range []int{0, 1, 500, 5000, 2 << 20} {
					body := strings.Repeat("x", size)
					if got, err := from.get(to, body); err != nil || got != body {
						t.Fatalf("%d bytes: %d bytes, %v", size, len(got), err)
					}
				}
			}
		}
		const told = 2000
		for i := range told {
			if err := all[1].echoer.Notify(engine.Notice{To: 2, Service: echo.Number, Method: 2, Body: fmt.Append(nil, i)}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
		all[2].echoer.mu.Lock()
		heard := all[2].echoer.heard
		all[2].echoer.mu.Unlock()
		if len(heard) != told {
			t.Fatalf("%d of %d notices arrived", len(heard), told)
		}
		for i, h := range heard {
			if h != fmt.Sprint(i) {
				t.Fatalf("notice %s came in place %d", h, i)
			}
		}
		if got := all[1].alarms(); got != "[]" {
			t.Fatal(got)
		}
		if n := all[1].conn.Load().Networks(); len(n) != 4 || n[0].Peer != 2 || n[1].Network != "B" || !n[3].Up || n[0].RttMicros == 0 || n[0].ReceivedFrames == 0 {
			t.Fatalf("%+v", n)
		}

		w[0].SetAll(link.Path{Cut: true})
		for range 100 {
			if _, err := all[1].get(3, "x"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := all[1].alarms(); got != "[network-a-down@2 network-a-down@3]" {
			t.Fatal(got)
		}
		w[0].SetAll(link.Path{Delay: 50 * time.Microsecond})
		time.Sleep(5 * time.Second)
		if got := all[1].alarms(); got != "[]" {
			t.Fatal(got)
		}

		all[3].end()
		time.Sleep(2 * time.Second)
		if got, p := all[1].alarms(), all[1].Peers(); got != "[]" || len(p) != 1 {
			t.Fatal(got, p)
		}
		if _, err := all[1].get(3, "x"); !errors.Is(err, &message.Error{Code: message.Unavailable}) {
			t.Fatal(err)
		}
		again := start(t, w, 3, 2)
		time.Sleep(time.Second)
		if p := all[1].Peers(); len(p) != 2 || p[1].Incarnation != 2 {
			t.Fatal(p)
		}
		if _, err := again.get(1, "x"); err != nil {
			t.Fatal(err)
		}
		again.end()
		all[1].end()
		all[2].end()
	})
}

// TestLost: an SFU goes silent; it is lost, with an alarm, and comes back.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, all := three(t)
		cut := func(p link.Path) {
			for _, n := range w {
				for other := uint16(1); other <= 2; other++ {
					n.SetPath(3, other, p)
					n.SetPath(other, 3, p)
				}
			}
		}
		cut(link.Path{Cut: true})
		time.Sleep(500 * time.Millisecond)
		if p := all[1].Peers(); len(p) != 2 || !p[1].Suspect {
			t.Fatalf("%+v", p)
		}
		time.Sleep(2 * time.Second)
		if p := all[1].Peers(); len(p) != 1 {
			t.Fatalf("%+v", p)
		}
		if got := all[1].alarms(); got != "[peer-lost@3]" {
			t.Fatal(got)
		}
		cut(link.Path{Delay: 50 * time.Microsecond})
		time.Sleep(8 * time.Second)
		if got, p := all[1].alarms(), all[1].Peers(); got != "[]" || len(p) != 2 {
			t.Fatal(got, p)
		}
		if _, err := all[3].get(1, "x"); err != nil {
			t.Fatal(err)
		}
		for _, s := range all[1:] {
			s.end()
		}
	})
}

// TestRestart: a Connector that fails is made anew, with fresh links, and finds its
// peers again; other Components go on.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := three(t)
		one := all[1]
		first := one.conn.Load()
		first.host.Go("saboteur", func(context.Context) { panic("sabotage") })
		synctest.Wait()
		if p := one.Peers(); len(p) != 0 {
			t.Fatal(p)
		}
		if got, err := one.get(1, "x"); err != nil || got != "x" {
			t.Fatal(got, err)
		}
		if err := first.Send(2, message.LaneRequest, nil); !errors.Is(err, ErrStopped) {
			t.Fatal(err)
		}
		if n := first.Networks(); n != nil {
			t.Fatal(n)
		}
		if err := first.SetPeers(nil); !errors.Is(err, ErrStopped) {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if n := one.opened.Load(); n != 2 || one.conn.Load() == first {
			t.Fatal("the links were not opened again", n)
		}
		if got, err := one.get(2, "x"); err != nil || got != "x" {
			t.Fatal(got, err)
		}
		if got, err := all[3].get(1, "x"); err != nil || got != "x" {
			t.Fatal(got, err)
		}
		if got := one.alarms(); got != "[component-failed@connector]" {
			t.Fatal(got)
		}
		for _, s := range all[1:] {
			s.end()
		}
	})
}

// TestSetPeers: peers change while it runs.
func TestSetPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := three(t)
		if err := all[1].conn.Load().SetPeers([]fabric.Peer{{SFU: 2, Public: keys(t, 2).Public}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p := all[1].Peers(); len(p) != 1 || p[0].SFU != 2 {
			t.Fatal(p)
		}
		if err := all[1].conn.Load().SetPeers([]fabric.Peer{{SFU: 1}}); err == nil || !strings.Contains(err.Error(), "connector") {
			t.Fatal(err)
		}
		for _, s := range all[1:] {
			s.end()
		}
	})
}

// TestProvisionFails: what was opened is closed again.
func TestProvisionFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetworks(t)
		if _, err := New(Config{}); err == nil {
			t.Fatal("a Connector without links was made")
		}
		for name, c := range map[string]struct {
			open error
			sess session.Config
			want string
		}{
			"links":  {open: errors.New("no such NIC"), sess: session.Config{Local: 1}, want: "no such NIC"},
			"fabric": {want: "Local must be set"},
		} {
			reg, _ := message.NewRegistry(&enginepb.Schema)
			e, err := engine.New(engine.Config{SFU: 1, Registry: reg, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			e.Add(func() (engine.Component, error) {
				return New(Config{Session: c.sess, Open: func() (fabric.Links, error) { return fabric.Links{w[0].Link(1)}, c.open }})
			})
			if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%s: %v", name, err)
			}
			w[0].Link(1).Close() // panics if the other was not closed
		}
	})
}

func TestParcel(t *testing.T) {
	var p parcel
	var sent, got [][]byte
	for i := range 200 {
		buffer := bytes.Repeat([]byte{byte(i)}, i*7%1200)
		sent = append(sent, bytes.Clone(buffer))
		got = append(got, p.copy([]fabric.Record{{Data: buffer}})...)
		clear(buffer) // the fabric uses it again
	}
	for i := range sent {
		if !bytes.Equal(sent[i], got[i]) {
			t.Fatalf("record %d is damaged", i)
		}
		if len(got[i]) != cap(got[i]) {
			t.Fatalf("record %d could grow into another", i)
		}
	}
	small := []fabric.Record{{Data: make([]byte, 100)}}
	if n := testing.AllocsPerRun(1000, func() { p.copy(small) }); n > 0.1 {
		t.Errorf("%v allocations for a small record", n)
	}
}

// TestLanes: the numbers of lanes are the same on both sides.
func TestLanes(t *testing.T) {
	for m, f := range map[message.Lane]fabric.Lane{message.LaneControl: fabric.LaneControl, message.LaneCommit: fabric.LaneCommit,
		message.LaneRequest: fabric.LaneRequest, message.LaneBulk: fabric.LaneBulk} {
		if fabric.Lane(m) != f {
			t.Errorf("lane %d of messages is %d of the interconnect", m, f)
		}
	}
}
