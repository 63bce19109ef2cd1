package client

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// eventsWait is how long a gateway is asked to wait for an event where there is none, in
// milliseconds; it cuts that to what the call may take.
const eventsWait = 25_000

// Event is one thing that was committed: an account, a transfer, or the expiry of a pending
// transfer.
type Event struct {
	txnpb.Event
	// Position is the place right behind the event: who begins there misses nothing and
	// gets nothing twice.
	Position txnpb.Position
	// Note is what its transaction says of itself; nil for nothing.
	Note *txnpb.Note
}

// Events is a stream of the events that the user may see, in the order in which they were
// committed, from a position on. It moves between gateways like everything else that a
// Client does: none is left out, and none comes twice. One goroutine at a time uses it.
//
//	s := c.Events(position, nil)
//	for e, err := range s.All(ctx) {
//		…
//		position = e.Position // kept with what was made of the event, in one transaction
//	}
//
// The cluster keeps no state of a stream: who is slow, or away for a year, goes on where
// it was.
type Events struct {
	c       *Client
	filter  *txnpb.EventsFilter
	next    txnpb.Position // behind what was asked for
	fromEnd bool
	page    []txnpb.Event
	notes   map[uint64]*txnpb.Note
	at      txnpb.Position // behind what was returned
	end     bool           // nothing was there behind next
}

// Events returns the stream behind a position; the zero Position is the beginning. A nil
// filter selects everything.
func (c *Client) Events(after txnpb.Position, filter *txnpb.EventsFilter) *Events {
	return &Events{c: c, filter: filter, next: after, at: after}
}

// EventsFromNow returns the stream behind everything that has happened when the first
// event is asked for.
func (c *Client) EventsFromNow(filter *txnpb.EventsFilter) *Events {
	return &Events{c: c, filter: filter, fromEnd: true}
}

// OverruledError says that a forced recovery took back what the stream had told behind
// Back: the cluster lost the SFUs that held it for good. The stream goes on behind Back,
// with what stands there now; what was made of events behind it has to be undone.
type OverruledError struct{ Seen, Back txnpb.Position }

func (e *OverruledError) Error() string {
	return fmt.Sprintf("client: the events behind %s, up to %s, were overruled by a forced recovery", FormatPosition(e.Back), FormatPosition(e.Seen))
}

// Position is the place behind the last event that was returned, and behind everything
// after it that the stream does not select.
func (s *Events) Position() txnpb.Position { return s.at }

// Next returns the next event, and waits for it as long as ctx lasts. The other errors are
// an *OverruledError, after which the stream goes on, a *message.Error (Invalid: the
// position or the filter cannot be answered) and why the Client has ended.
func (s *Events) Next(ctx context.Context) (*Event, error) {
	for len(s.page) == 0 {
		if err := s.ask(ctx, eventsWait); err != nil {
			return nil, err
		}
	}
	return s.take(), nil
}

// All yields the events as long as ctx lasts; an error comes last, without an event, but
// for an *OverruledError.
func (s *Events) All(ctx context.Context) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for {
			e, err := s.Next(ctx)
			if _, goesOn := err.(*OverruledError); !yield(e, err) || err != nil && !goesOn {
				return
			}
		}
	}
}

// Past yields the events up to now and does not wait for others: at least all of those
// that this Client was told of in another way.
func (s *Events) Past(ctx context.Context) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for least := s.c.csn.Load(); ; {
			if len(s.page) > 0 {
				if !yield(s.take(), nil) {
					return
				}
				continue
			}
			if s.end && s.next.Csn >= least {
				s.end = false
				return
			}
			wait := uint32(0)
			if s.end { // this replica lags behind: it is asked to wait for more
				wait = eventsWait
			}
			err := s.ask(ctx, wait)
			if _, goesOn := err.(*OverruledError); err != nil && (!yield(nil, err) || !goesOn) {
				return
			}
		}
	}
}

// ask asks for the next page.
func (s *Events) ask(ctx context.Context, wait uint32) error {
	a, err := txnpb.TxnClient{Caller: s.c}.Events(ctx, &txnpb.EventsRequest{
		After: &s.next, FromEnd: s.fromEnd, Filter: s.filter, WaitMillis: wait})
	if err != nil {
		return err
	}
	if a.Next == nil {
		return fmt.Errorf("client: an answer of events without a position")
	}
	seen := s.next
	s.next, s.fromEnd, s.page, s.end = *a.Next, false, a.Events, a.End
	s.notes = make(map[uint64]*txnpb.Note, len(a.Notes))
	for i := range a.Notes {
		s.notes[a.Notes[i].Csn] = &a.Notes[i]
	}
	if len(s.page) == 0 {
		s.at = s.next
	}
	if a.Overruled {
		return &OverruledError{Seen: seen, Back: s.next}
	}
	return nil
}

// take takes the first event of the page.
func (s *Events) take() *Event {
	e := &Event{Event: s.page[0]}
	e.Position = txnpb.Position{Epoch: s.next.Epoch, Group: s.next.Group, Csn: e.Csn, N: e.N}
	if e.Account != nil || e.Type != ledgerpb.ChangeEventTypeTwoPhaseExpired { // an expiry is of no transaction
		e.Note = s.notes[e.Csn]
	}
	s.at = e.Position
	if s.page = s.page[1:]; len(s.page) == 0 {
		s.at = s.next
	}
	return e
}

// FormatPosition writes a position as EPOCH.GROUP.CSN.N.
func FormatPosition(p txnpb.Position) string {
	return fmt.Sprintf("%d.%d.%d.%d", p.Epoch, p.Group, p.Csn, p.N)
}

// ParsePosition reads what FormatPosition wrote.
func ParsePosition(text string) (p txnpb.Position, err error) {
	fields := strings.Split(text, ".")
	var n [4]uint64
	if len(fields) != len(n) {
		return p, fmt.Errorf("client: the position %q is not EPOCH.GROUP.CSN.N", text)
	}
	for i, bits := range [...]int{32, 16, 64, 64} {
		if n[i], err = strconv.ParseUint(fields[i], 10, bits); err != nil {
			return p, fmt.Errorf("client: the position %q is not EPOCH.GROUP.CSN.N", text)
		}
	}
	return txnpb.Position{Epoch: uint32(n[0]), Group: uint32(n[1]), Csn: n[2], N: n[3]}, nil
}
