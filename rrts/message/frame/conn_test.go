package frame

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// tlsPair returns configurations of two ends that trust each other.
func tlsPair(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"gateway"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true,
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true, RootCAs: roots, ServerName: "gateway"}
}

var testLimits = Limits{Frame: 4 << 20, Backlog: 1 << 20, Stall: 5 * time.Second}

// pair returns the two ends of a connection over the named network ("tcp" is with
// TLS, "unix" without).
func pair(t testing.TB, network string, limits Limits) (server, client *Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	var sc, cc *tls.Config
	if network == "unix" {
		address = t.TempDir() + "/s"
	} else {
		sc, cc = tlsPair(t)
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *Conn, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			t.Error(err)
			close(accepted)
			return
		}
		c, err := Server(t.Context(), raw, sc, limits)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	raw, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client, err = Client(t.Context(), raw, cc, limits)
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	if server == nil {
		t.FailNow()
	}
	t.Cleanup(client.Close)
	t.Cleanup(server.Close)
	return server, client
}

func TestConnCarriesFramesOfManyWriters(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			const writers, each = 8, 500
			server, client := pair(t, network, testLimits)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						if err := client.Send(envelope(uint64(w*each+i), "payment")); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			next := [writers]uint64{}
			for range writers * each {
				b, err := server.Next()
				if err != nil {
					t.Fatal(err)
				}
				var e message.Envelope
				if err := e.Parse(b); err != nil {
					t.Fatal(err)
				}
				w := e.Call / each
				if e.Call%each != next[w] {
					t.Fatalf("writer %d: frame %d came, %d was next", w, e.Call%each, next[w])
				}
				next[w]++
			}
			wg.Wait()
		})
	}
}

// TestConnOutlastsASlowReader: more than the kernel takes is brought out as the
// peer reads, in order, and no writer ever waits.
func TestConnOutlastsASlowReader(t *testing.T) {
	limits := testLimits
	limits.Backlog, limits.Stall = 64<<20, time.Minute
	server, client := pair(t, "tcp", limits)
	body := string(make([]byte, 100<<10))
	const frames = 200 // 20 MB: far more than the kernel's buffers
	start := time.Now()
	for i := range frames {
		if err := server.Send(envelope(uint64(i), body)); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(start); d > limits.Stall/2 { // nobody reads: a writer that waits, waits for ever
		t.Errorf("the writer was held up for %v", d)
	}
	if server.Backlog() == 0 {
		t.Fatal("nothing waits: the test does not test")
	}
	for i := range frames {
		b, err := client.Next()
		if err != nil {
			t.Fatal(err)
		}
		var e message.Envelope
		if err := e.Parse(b); err != nil || e.Call != uint64(i) || len(e.Body) != len(body) {
			t.Fatalf("frame %d: %v %v", i, e, err)
		}
	}
	// The connection is as good as new.
	if err := server.Send(envelope(7, "after")); err != nil {
		t.Fatal(err)
	}
	if b, err := client.Next(); err != nil || len(b) > 100 {
		t.Fatal(len(b), err)
	}
}

func TestConnBoundsWhatWaits(t *testing.T) {
	server, _ := pair(t, "tcp", testLimits)
	body := string(make([]byte, 64<<10))
	sent := 0
	for ; sent < 1000; sent++ {
		if err := server.Send(envelope(1, body)); err != nil {
			if !errors.Is(err, ErrBacklog) {
				t.Fatal(err)
			}
			break
		}
		if b := server.Backlog(); b > testLimits.Backlog {
			t.Fatalf("%d bytes wait, %d may", b, testLimits.Backlog)
		}
	}
	if sent == 1000 {
		t.Fatal("a peer that never reads was sent 64 MB")
	}
	// Being over the bound is no end: whoever queued decides.
	if err := server.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestConnCutsAStalledReader(t *testing.T) {
	limits := testLimits
	limits.Backlog, limits.Stall = 64<<20, 50*time.Millisecond
	server, _ := pair(t, "tcp", limits)
	for range 200 {
		if err := server.Send(envelope(1, string(make([]byte, 100<<10)))); err != nil {
			break
		}
	}
	if _, err := server.Next(); err == nil {
		t.Fatal("the peer said something")
	}
	if err := server.Err(); !errors.Is(err, ErrSlow) {
		t.Fatalf("cut with %v, want %v", err, ErrSlow)
	}
	if err := server.Queue(envelope(1, "")); !errors.Is(err, ErrSlow) {
		t.Fatalf("Queue after the cut: %v", err)
	}
}

// TestConnCloseAfter: what was queued arrives, and then a clean end, although the
// peer still speaks.
func TestConnCloseAfter(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			server, client := pair(t, network, testLimits)
			const frames = 40
			for i := range frames {
				if err := server.Queue(envelope(uint64(i), string(make([]byte, 20<<10)))); err != nil {
					t.Fatal(err)
				}
			}
			if err := client.Send(envelope(1, "crossing")); err != nil {
				t.Fatal(err)
			}
			server.CloseAfter(5*time.Second, envelope(frames, "farewell"))
			if err := server.Queue(envelope(1, "late")); !errors.Is(err, ErrClosed) {
				t.Fatalf("Queue after CloseAfter: %v", err)
			}
			for i := range frames + 1 {
				b, err := client.Next()
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				var e message.Envelope
				if err := e.Parse(b); err != nil || e.Call != uint64(i) {
					t.Fatalf("frame %d: %v, %v", i, e, err)
				}
			}
			if _, err := client.Next(); err != io.EOF {
				t.Fatalf("the end: %v", err)
			}
			if _, err := server.Next(); err != nil {
				t.Fatalf("what the peer said is lost: %v", err)
			}
			client.Close()
			if _, err := server.Next(); err == nil {
				t.Fatal("no end")
			}
		})
	}
}

func TestConnRefusesOldTLS(t *testing.T) {
	sc, cc := tlsPair(t)
	cc.MinVersion, cc.MaxVersion = 0, tls.VersionTLS12
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if raw, err := net.Dial("tcp", l.Addr().String()); err == nil {
			Client(context.Background(), raw, cc, testLimits)
		}
	}()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Server(t.Context(), raw, sc, testLimits); err == nil {
		t.Fatal("TLS 1.2 was accepted")
	}
}

// TestConnAllocations: a round trip allocates only what crypto/tls does, once for
// each record that it reads.
func TestConnAllocations(t *testing.T) {
	server, client := pair(t, "tcp", testLimits)
	go func() {
		for {
			b, err := server.Next()
			if err != nil {
				return
			}
			var e message.Envelope
			if e.Parse(b) != nil || server.Send(&e) != nil {
				return
			}
		}
	}()
	e := envelope(1, "a payment of about the usual length, which is some hundred bytes of protobuf with two accounts in it")
	roundTrip := func() {
		if err := client.Send(e); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget on purpose")
	}
	if n := testing.AllocsPerRun(2000, roundTrip); n > 2 {
		t.Errorf("a round trip allocates %v times", n)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, network := range []string{"tcp", "unix"} {
		b.Run(network, func(b *testing.B) {
			server, client := pair(b, network, testLimits)
			go func() {
				for {
					f, err := server.Next()
					if err != nil {
						return
					}
					var e message.Envelope
					if e.Parse(f) != nil || server.Send(&e) != nil {
						return
					}
				}
			}()
			e := envelope(1, string(make([]byte, 120)))
			b.ReportAllocs()
			for b.Loop() {
				if err := client.Send(e); err != nil {
					b.Fatal(err)
				}
				if _, err := client.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
