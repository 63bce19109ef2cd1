package engine

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// hearing is a Component that takes notices where they arrive, but for those that say
// otherwise.
type hearing struct {
	stub
	heard *diary
}

func (h *hearing) Hear(n message.Request) bool {
	switch body := n.Envelope().Body; {
	case bytes.HasPrefix(body, []byte("serve")):
		return false
	case bytes.HasPrefix(body, []byte("panic")):
		panic("it was told to")
	}
	h.heard.add("hears %s", n.Envelope().Body)
	return true
}

// TestHear: notices of the control lane go to a Hearer where they arrive, though its own
// goroutine is at work; nothing else does, nothing overtakes what waits, and a panic ends
// the Component that it is of and no other.
func TestHear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard diary
		life := 0
		f := newFixture(t, []func() (Component, error){func() (Component, error) {
			life++
			return &hearing{heard: &heard, stub: stub{name: "news", services: provides(news), serve: func(_ *stub, r message.Request) {
				heard.add("serves %s", r.Envelope().Body)
				time.Sleep(time.Second)
			}}}, nil
		}, made(stub{name: "connector", start: func(*stub) error { return nil }})})
		f.begin()
		settle()
		inlet := f.units[1].in.Connect(new(port))
		tell := func(lane message.Lane, method uint16, body string) {
			e := message.Envelope{Kind: message.KindNotice, Service: newsService, Method: method, To: 1, Body: []byte(body)}
			inlet.Deliver(2, lane, [][]byte{e.AppendTo(nil)})
		}
		tell(message.LaneCommit, 3, "one") // another lane
		synctest.Wait()
		tell(message.LaneControl, 7, "two") // while it serves
		heard.expect(t, "serves one", "hears two")
		tell(message.LaneControl, 7, "serve three")
		tell(message.LaneControl, 7, "four") // behind it
		heard.expect(t)
		time.Sleep(5 * time.Second)
		heard.expect(t, "serves serve three", "serves four")
		if s := f.units[0].box.status(); s.handled != 4 {
			t.Errorf("%d handled", s.handled)
		}
		tell(message.LaneControl, 7, "panic")
		time.Sleep(5 * time.Second)
		tell(message.LaneControl, 7, "five")
		heard.expect(t, "hears five")
		if life != 2 {
			t.Errorf("%d lives", life)
		}
		f.end(nil)
	})
}
