package join

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func seeded(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

var secret = Secret{1, 2, 3}

// TestSecretIsNoFlag: what is typed as an argument does not begin like a flag.
func TestSecretIsNoFlag(t *testing.T) {
	hyphen := Secret{62 << 2}
	if hyphen.Reveal()[0] != '-' {
		t.Fatal(hyphen.Reveal())
	}
	s, err := NewSecret(bytes.NewReader(append(hyphen[:], secret[:]...)))
	if err != nil || s != secret {
		t.Errorf("%s, %v", s.Reveal(), err)
	}
}

func TestSecret(t *testing.T) {
	s, err := NewSecret(seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	text := s.Reveal()
	if len(text) != 43 {
		t.Errorf("%q has %d characters", text, len(text))
	}
	if got, err := ParseSecret(text); err != nil || got != s {
		t.Errorf("read back: %v", err)
	}
	for _, bad := range []string{"", text[1:], text + "A", text[:42] + "=", strings.Replace(text, text[5:6], "!", 1)} {
		if _, err := ParseSecret(bad); err == nil || strings.Contains(err.Error(), text[:20]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, s); got != "(hidden)" {
			t.Errorf("%s shows %q", verb, got)
		}
	}
}

// pair is two sessions and the bytes between them.
func pair(t testing.TB, guestSecret, hostSecret Secret) (guest, host *Session, first []byte) {
	t.Helper()
	guest, first, err := NewGuest(guestSecret, seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	if host, err = NewHost(hostSecret, seeded(2)); err != nil {
		t.Fatal(err)
	}
	return guest, host, first
}

func TestSession(t *testing.T) {
	for _, size := range []int{0, 1, maxPart - 1, maxPart, maxPart + 1, MaxRecord} {
		for _, step := range []int{1, 7, 1 << 20} {
			if step == 1 && size > maxPart+1 {
				continue // a byte at a time of a megabyte says nothing new
			}
			guest, host, first := pair(t, secret, secret)
			toGuest, _ := feedAll(t, host, first, step)
			if _, records := feedAll(t, guest, toGuest, step); len(records) != 0 || !guest.Trusted() || !host.Trusted() {
				t.Fatal("no handshake")
			}
			sent := make([]byte, size)
			seeded(9).Read(sent)
			for _, way := range [][2]*Session{{host, guest}, {guest, host}} {
				sealed, err := way[0].Seal(sent)
				if err != nil {
					t.Fatal(err)
				}
				if size > 16 && bytes.Contains(sealed, sent[:16]) {
					t.Error("readable on the wire")
				}
				if _, records := feedAll(t, way[1], sealed, step); len(records) != 1 || !bytes.Equal(records[0], sent) {
					t.Errorf("%d bytes, %d at a time: %d records", size, step, len(records))
				}
			}
		}
	}
}

// feedAll feeds in steps.
func feedAll(t testing.TB, s *Session, in []byte, step int) (out []byte, records [][]byte) {
	t.Helper()
	for len(in) > 0 {
		n := min(step, len(in))
		o, r, err := s.Feed(in[:n])
		if err != nil {
			t.Fatal(err)
		}
		out, records, in = append(out, o...), append(records, r...), in[n:]
	}
	return out, records
}

func TestSessionRefuses(t *testing.T) {
	_, host, first := pair(t, Secret{9}, secret)
	if out, _, err := host.Feed(first); !errors.Is(err, ErrSecret) || len(out) > 0 {
		t.Errorf("a guest with another secret: %v, answered with %d bytes", err, len(out))
	}

	for i := range first[lengthSize:] {
		_, host, first := pair(t, secret, secret)
		first[lengthSize+i] ^= 1
		if out, _, err := host.Feed(first); !errors.Is(err, ErrSecret) || len(out) > 0 {
			t.Errorf("byte %d of the first message changed: %v, answered with %d bytes", i, err, len(out))
		}
	}

	for _, size := range []int{0, 1, handshakeSize - 1, handshakeSize + 1, maxMessage} {
		_, host, _ := pair(t, secret, secret)
		if _, _, err := host.Feed(binary.BigEndian.AppendUint16(nil, uint16(size))); !errors.Is(err, ErrProtocol) {
			t.Errorf("a first message of %d bytes: %v", size, err)
		}
	}

	guest, host, first := pair(t, secret, secret)
	answer, _ := feedAll(t, host, first, 1)
	answer[len(answer)-1] ^= 1
	if _, _, err := guest.Feed(answer); !errors.Is(err, ErrSecret) {
		t.Errorf("the host's answer changed: %v", err)
	}
	if _, err := guest.Seal(nil); err == nil {
		t.Error("sealed before the handshake")
	}
	if _, err := host.Seal(make([]byte, MaxRecord+1)); err == nil {
		t.Error("sealed more than MaxRecord")
	}

	for name, spoil := range map[string]func(sealed []byte) []byte{
		"changed":      func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"again":        func(b []byte) []byte { return append(b, b...) },
		"empty":        func([]byte) []byte { return []byte{0, 0} },
		"out of order": func(b []byte) []byte { return b[lengthSize+int(binary.BigEndian.Uint16(b)):] },
	} {
		guest, host, first := pair(t, secret, secret)
		toGuest, _ := feedAll(t, host, first, 100)
		feedAll(t, guest, toGuest, 100)
		sealed, err := guest.Seal(make([]byte, maxPart+1))
		if err != nil {
			t.Fatal(err)
		}
		if _, records, err := host.Feed(spoil(sealed)); !errors.Is(err, ErrProtocol) || len(records) > 1 {
			t.Errorf("%s: %v", name, err)
		}
	}

	// One that has the secret cannot fill the memory either.
	guest, host, first = pair(t, secret, secret)
	toGuest, _ := feedAll(t, host, first, 100)
	feedAll(t, guest, toGuest, 100)
	var err error
	for n := 0; err == nil && n < 2*MaxRecord; n += maxPart {
		message, sealErr := guest.send.Encrypt(nil, nil, append([]byte{partMore}, make([]byte, maxPart)...))
		if sealErr != nil {
			t.Fatal(sealErr)
		}
		_, _, err = host.Feed(framed(nil, message))
	}
	if !errors.Is(err, ErrProtocol) {
		t.Errorf("a record without end: %v", err)
	}
}

// pipes is a listener whose connections are in memory, so that they live in virtual
// time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(t *testing.T) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	select {
	case p.conns <- far:
	case <-p.closed:
		near.Close()
	}
	return near
}

// scene is a host that waits, in virtual time.
type scene struct {
	t      *testing.T
	host   *Host
	l      *pipes
	ended  chan error
	admits int
	mu     sync.Mutex
	log    []string
}

func newScene(t *testing.T, admit func(*Request) (*Grant, error)) *scene {
	s := &scene{t: t, l: newPipes(), ended: make(chan error, 1)}
	s.host = &Host{
		Secret: secret, Offer: Offer{Cluster: "shop", SFU: "bravo", Type: "all"},
		Admit: func(_ context.Context, r *Request) (*Grant, error) {
			s.admits++
			return admit(r)
		},
		Log: func(format string, args ...any) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.log = append(s.log, fmt.Sprintf(format, args...))
		},
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		s.ended <- s.host.Serve(ctx, s.l)
	}()
	return s
}

func grant(*Request) (*Grant, error) {
	return &Grant{Cluster: bytes.Repeat([]byte("x"), 200_000), PSK: []byte("psk")}, nil
}

// join is a guest from its connection to its end.
func (s *scene) join(secret Secret, install func(*Grant) error) error {
	return Join(context.Background(), s.l.dial(s.t), secret, func(o *Offer) (*Request, error) {
		if o.Cluster != "shop" || o.SFU != "bravo" {
			s.t.Errorf("offered %+v", o)
		}
		return &Request{Machine: "pc2", Interconnect: []byte{1}}, nil
	}, install)
}

func take(*Grant) error { return nil }

func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked *Request
		s := newScene(t, func(r *Request) (*Grant, error) { asked = r; return grant(r) })
		var got *Grant
		if err := s.join(secret, func(g *Grant) error { got = g; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := <-s.ended; err != nil {
			t.Errorf("the host: %v", err)
		}
		if asked.Machine != "pc2" || len(got.Cluster) != 200_000 || string(got.PSK) != "psk" {
			t.Errorf("asked %+v", asked)
		}
		// The line is of no use any more.
		if err := s.join(secret, take); err == nil || s.admits != 1 {
			t.Errorf("a second use: %v, %d admitted", err, s.admits)
		}
	})
}

func TestWrongSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, grant)
		if err := s.join(Secret{9}, take); !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), "rrts node add") {
			t.Errorf("%v", err)
		}
		if s.admits != 0 {
			t.Error("it was admitted")
		}
		// The right one still works.
		if err := s.join(secret, take); err != nil {
			t.Error(err)
		}
		if err := <-s.ended; err != nil {
			t.Errorf("the host: %v", err)
		}
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, grant)
		start := time.Now()
		err := <-s.ended
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Hour {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if err := s.join(secret, take); err == nil || s.admits != 0 {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestStrangers hold every place for connections and say nothing, or nonsense; a
// guest joins nevertheless.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, grant)
		for range maxConns {
			c := s.l.dial(t)
			defer c.Close()
		}
		synctest.Wait()
		if err := s.join(secret, take); err == nil {
			t.Error("there was room for one more")
		}
		time.Sleep(shakeTime)
		synctest.Wait()
		hog := s.l.dial(t)
		defer hog.Close()
		go hog.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 1000))
		if err := s.join(secret, take); err != nil {
			t.Error(err)
		}
		if err := <-s.ended; err != nil {
			t.Errorf("the host: %v", err)
		}
		silent := 0
		for _, l := range s.log {
			if strings.Contains(l, "silent") {
				silent++
			}
		}
		if silent != maxConns {
			t.Errorf("%d of %d silent connections were noticed: %q", silent, maxConns, s.log)
		}
	})
}

func TestRefusedThenAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := true
		s := newScene(t, func(r *Request) (*Grant, error) {
			if refuse {
				refuse = false
				return nil, errors.New("machine pc2 has an SFU already")
			}
			return grant(r)
		})
		if err := s.join(secret, take); err == nil || err.Error() != "join: the cluster refused: machine pc2 has an SFU already" {
			t.Errorf("%v", err)
		}
		if err := s.join(secret, take); err != nil {
			t.Error(err)
		}
		if err := <-s.ended; err != nil {
			t.Errorf("the host: %v", err)
		}
	})
}

// TestUnconfirmed has guests that fail, or vanish, when they have everything: the
// secret is spent, and the host's operator is told.
func TestUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, grant)
		if err := s.join(secret, func(*Grant) error { return errors.New("disk full") }); err == nil || err.Error() != "disk full" {
			t.Errorf("the guest: %v", err)
		}
		if err := <-s.ended; !errors.Is(err, ErrUnconfirmed) || !strings.HasSuffix(err.Error(), "it says: disk full") {
			t.Errorf("the host: %v", err)
		}

		s = newScene(t, grant)
		c := s.l.dial(t)
		err := Join(t.Context(), c, secret, func(*Offer) (*Request, error) { return &Request{}, nil }, func(*Grant) error { return c.Close() })
		if err == nil {
			t.Error("a guest without a connection succeeded")
		}
		if err := <-s.ended; !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("the host: %v", err)
		}
	})
}

// TestTogether is two machines that got the same line.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(r *Request) (*Grant, error) { time.Sleep(time.Second); return grant(r) })
		results := make(chan error, 2)
		for range 2 {
			go func() { results <- s.join(secret, take) }()
		}
		a, b := <-results, <-results
		if (a == nil) == (b == nil) || s.admits != 1 {
			t.Errorf("%v, %v, %d admitted", a, b, s.admits)
		}
		if err := <-s.ended; err != nil {
			t.Errorf("the host: %v", err)
		}
	})
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"", "{", `{"machine":7}`, `{"machine":"pc2","colour":"red"}`, "[]"} {
		if _, err := parse[Request]([]byte(bad)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzFeed is a stranger's bytes at a host, and a changed host's at a guest.
func FuzzFeed(f *testing.F) {
	guest, host, first := pair(f, secret, secret)
	answer, _ := feedAll(f, host, first, 100)
	feedAll(f, guest, answer, 100)
	sealed, err := guest.Seal([]byte(`{"machine":"pc2"}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(bytes.Clone(first), sealed...))
	f.Add(answer)
	f.Fuzz(func(t *testing.T, in []byte) {
		guest, host, _ := pair(t, secret, secret)
		for _, s := range []*Session{guest, host} {
			_, records, err := s.Feed(in)
			if err != nil && !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrSecret) {
				t.Errorf("%v", err)
			}
			if len(records) > 0 && !s.Trusted() {
				t.Error("a record before the handshake was done")
			}
		}
	})
}
