package join

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Limits of a connection.
const (
	// shakeTime is for a peer that has proved nothing.
	shakeTime = 10 * time.Second
	// requestTime is for a guest between the Offer and its Request: it looks at its
	// NICs, and may ask its operator.
	requestTime = 10 * time.Minute
	// doneTime is for a guest that writes its files.
	doneTime = time.Minute
	// maxConns bounds the connections at once; strangers cost no more.
	maxConns = 32
	// readSize is what is read at once, in bytes.
	readSize = 64 << 10
)

// ErrUnconfirmed is what Serve returns when a guest was granted everything and then
// not heard of again: it may be ready or not.
var ErrUnconfirmed = errors.New("join: the new machine was given its configuration and did not confirm it; look there whether its SFU is set up, and otherwise remove it with rrts sfu remove and add it again")

// Host waits for one new machine.
type Host struct {
	Secret Secret
	Offer  Offer
	// Admit decides on a request that came with the secret. It is called by one
	// goroutine at a time, and not again after it has granted once. An error is told
	// to the guest, which may come again.
	Admit func(context.Context, *Request) (*Grant, error)
	// Log gets a line for each step and each refused connection, from any goroutine; nil
	// means silence.
	Log func(format string, args ...any)

	turn    chan struct{} // holds a token: who has it may ask Admit
	granted bool          // owned by who has the token
}

// Serve answers connections until one guest has joined, and returns nil then. It ends
// with ctx, whose deadline is how long the secret is good. It closes the listener and
// returns when nothing of it runs any more.
func (h *Host) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.turn = make(chan struct{}, 1)
	h.turn <- struct{}{}
	if h.Log == nil {
		h.Log = func(string, ...any) {}
	}
	var joined sync.WaitGroup
	defer joined.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()

	result := make(chan error, maxConns)
	room := make(chan struct{}, maxConns)
	conns := make(chan net.Conn)
	joined.Go(func() {
		defer close(conns)
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			select {
			case conns <- c:
			case <-ctx.Done():
				c.Close()
				return
			}
		}
	})
	for {
		select {
		case c, ok := <-conns:
			if !ok {
				if err := context.Cause(ctx); err != nil {
					return fmt.Errorf("join: no machine has joined: %w", err)
				}
				return errors.New("join: the listener was closed")
			}
			select {
			case room <- struct{}{}:
			default:
				h.Log("%v turned away: %d connections wait already", c.RemoteAddr(), maxConns)
				c.Close()
				continue
			}
			joined.Go(func() {
				defer func() { <-room }()
				err := h.answer(ctx, c)
				if err == nil || errors.Is(err, ErrUnconfirmed) {
					result <- err
					return
				}
				h.Log("%v: %v", c.RemoteAddr(), err)
			})
		case err := <-result:
			return err
		}
	}
}

// answer serves one connection to its end.
func (h *Host) answer(ctx context.Context, c net.Conn) error {
	p, release := newPeer(ctx, c)
	defer release()
	var err error
	if p.session, err = NewHost(h.Secret, rand.Reader); err != nil {
		return err
	}
	p.within(shakeTime)
	if err := p.shake(); err != nil {
		return err
	}
	if err := p.write(h.Offer); err != nil {
		return err
	}
	p.within(requestTime)
	request, err := read[Request](p)
	if err != nil {
		return err
	}
	// A guest is known by its first record; others that have the line wait here.
	select {
	case <-h.turn:
		defer func() { h.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if h.granted {
		return p.refuse(errors.New("the line was used already"))
	}
	grant, err := h.Admit(ctx, request)
	if err != nil {
		return p.refuse(err)
	}
	h.granted = true
	p.within(doneTime)
	if err := p.write(grant); err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	done, err := read[Done](p)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	case done.Failed != "":
		return fmt.Errorf("%w: it says: %s", ErrUnconfirmed, done.Failed)
	}
	return nil
}

// refuse tells the guest why not; the error is for the host's operator.
func (p *peer) refuse(why error) error {
	p.within(shakeTime)
	return errors.Join(fmt.Errorf("join: refused: %w", why), p.write(Grant{Refused: why.Error()}))
}

// Join is the new machine's side. ask answers the offer; install puts the grant on
// disk. Both may take their time. Join closes the connection.
func Join(ctx context.Context, c net.Conn, secret Secret, ask func(*Offer) (*Request, error), install func(*Grant) error) error {
	p, release := newPeer(ctx, c)
	defer release()
	var first []byte
	var err error
	if p.session, first, err = NewGuest(secret, rand.Reader); err != nil {
		return err
	}
	p.within(shakeTime)
	if _, err := c.Write(first); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	offer, err := read[Offer](p)
	if errors.Is(err, errEnded) && !p.session.Trusted() {
		// A host says nothing to who has another secret.
		return fmt.Errorf("%w; or the line was used, or is too old: make a new one with rrts node add", ErrSecret)
	}
	if err != nil {
		return err
	}
	request, err := ask(offer)
	if err != nil {
		return err
	}
	p.within(requestTime)
	if err := p.write(request); err != nil {
		return err
	}
	grant, err := read[Grant](p)
	if err != nil {
		return err
	}
	if grant.Refused != "" {
		return fmt.Errorf("join: the cluster refused: %s", grant.Refused)
	}
	installErr := install(grant)
	done := Done{}
	if installErr != nil {
		done.Failed = installErr.Error()
	}
	p.within(doneTime)
	return errors.Join(installErr, p.write(done))
}

// errEnded is a connection that the other side ended.
var errEnded = errors.New("join: the other side ended the connection")

// peer is a connection and its session.
type peer struct {
	conn    net.Conn
	session *Session
	records [][]byte
	buf     []byte
}

// newPeer ties a connection to a context. release closes it.
func newPeer(ctx context.Context, c net.Conn) (*peer, func()) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	return &peer{conn: c, buf: make([]byte, readSize)}, func() { stop(); c.Close() }
}

// within bounds what follows.
func (p *peer) within(d time.Duration) {
	// It fails for a connection that is closed, which is noticed by itself.
	_ = p.conn.SetDeadline(time.Now().Add(d))
}

// feed reads once.
func (p *peer) feed() error {
	n, err := p.conn.Read(p.buf)
	out, records, feedErr := []byte(nil), [][]byte(nil), error(nil)
	if n > 0 {
		out, records, feedErr = p.session.Feed(p.buf[:n])
	}
	p.records = append(p.records, records...)
	if feedErr != nil {
		return feedErr
	}
	if len(out) > 0 {
		if _, err := p.conn.Write(out); err != nil {
			return fmt.Errorf("join: %w", err)
		}
	}
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("join: the other side is silent: %w", err)
	}
	return fmt.Errorf("%w: %w", errEnded, err)
}

func (p *peer) shake() error {
	for !p.session.Trusted() {
		if err := p.feed(); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) write(v any) error {
	record, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	out, err := p.session.Seal(record)
	if err != nil {
		return err
	}
	if _, err := p.conn.Write(out); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return nil
}

// read returns the next record.
func read[T any](p *peer) (*T, error) {
	for len(p.records) == 0 {
		if err := p.feed(); err != nil {
			return nil, err
		}
	}
	record := p.records[0]
	p.records = p.records[1:]
	return parse[T](record)
}
