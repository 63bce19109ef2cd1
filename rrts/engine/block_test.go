package engine

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/block"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// TestBlocks: what is long, holds nothing sensitive and gets shorter goes as a block to a
// peer that reads them, whichever way it is sent, and arrives as it was.
func TestBlocks(t *testing.T) {
	long := strings.Repeat("pay the bearer on demand ", 200)
	synctest.Test(t, func(t *testing.T) {
		var heard diary
		h, all := cluster(t, func(sfu uint16) []stub {
			return []stub{{name: "named", services: provides(named), serve: func(_ *stub, r message.Request) {
				heard.add("%s", r.Envelope().Body)
				b := raw(bytes.Clone(r.Envelope().Body))
				if strings.HasPrefix(string(b), "plain") {
					message.Responder[*raw]{Request: r}.ReplyPlain(&b)
				} else {
					r.Reply(&b)
				}
			}}}
		})
		one := all[0]
		var blocks, others int
		h.sent = func(record []byte) {
			var e message.Envelope
			if err := e.Parse(record); err != nil {
				t.Error(err)
			} else if e.Kind == message.KindBlock {
				blocks++
			} else {
				others++
			}
		}
		call := func(body string, method uint16, plain bool) func() {
			return func() {
				p := &pending{wait: make(chan Reply, 1)}
				one.call(p, &Call{Service: namedService, Method: method, Target: 2, Body: []byte(body), Plain: plain})
				one.expect(<-p.wait, message.OK, body)
			}
		}
		notice := func(body string, method uint16, plain bool) func() {
			return func() {
				if err := one.notify(&Notice{To: 2, Service: namedService, Method: method, Body: []byte(body), Plain: plain}); err != nil {
					t.Error(err)
				}
				settle()
			}
		}
		for _, c := range []struct {
			name           string
			do             func()
			blocks, others int
		}{
			{"a call and its reply", call(long, 1, false), 2, 0},
			{"a short one", call("short", 1, false), 0, 2},
			{"one that is sensitive", call(long, 5, false), 0, 2},
			{"one that could be and is not", call(long, 5, true), 1, 1},
			{"and neither is its reply", call("plain "+long, 5, true), 2, 0},
			{"a notice", notice(long, 3, false), 1, 0},
			{"a sensitive notice", notice(long, 6, false), 0, 1},
			{"one that could be and is not", notice(long, 6, true), 1, 0},
		} {
			blocks, others = 0, 0
			c.do()
			if blocks != c.blocks || others != c.others {
				t.Errorf("%s: %d blocks and %d others, want %d and %d", c.name, blocks, others, c.blocks, c.others)
			}
		}
		if got := heard.take(); len(got) != 8 || got[0] != long || got[5] != long || got[7] != long {
			t.Errorf("SFU 2 heard %d, the first %.20q", len(got), got)
		}
		if s := one.Status(); s.BlockedBytes < 5*uint64(len(long)) || s.BlockBytes == 0 || s.BlockBytes > s.BlockedBytes/4 {
			t.Errorf("%d bytes were sent as %d", s.BlockedBytes, s.BlockBytes)
		}
		// SFU 2 comes back with software that does not read them.
		older := enginepb.Announcement{Version: 1 << 40, SfuName: "sfu2", Offers: []enginepb.Offer{{Service: namedService, Ready: true}}}
		e := message.Envelope{Kind: message.KindNotice, Service: enginepb.EngineService, Method: enginepb.EngineAnnounceMethod, To: 1, Body: message.Marshal(&older)}
		h.ports[2].Send(1, message.LaneControl, e.AppendTo(nil))
		settle()
		blocks, others = 0, 0
		notice(long, 3, false)()
		if blocks != 0 || others != 1 {
			t.Errorf("%d blocks were sent to a peer that does not read them", blocks)
		}
		endAll(all)
	})
}

// TestBadBlocks: a block that holds nothing, too much, or another block costs a counter.
func TestBadBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, all := cluster(t, func(sfu uint16) []stub { return []stub{answering(sfu, "named", named)} })
		send := func(body []byte) {
			e := message.Envelope{Kind: message.KindBlock, Body: body}
			h.ports[2].Send(1, message.LaneRequest, e.AppendTo(nil))
		}
		bodyOf := func(e message.Envelope) []byte {
			small, ok := block.Make(new([]byte), e.AppendTo(nil))
			var outer message.Envelope
			if err := outer.Parse(small); err != nil || !ok {
				t.Fatal(err, ok)
			}
			return outer.Body
		}
		good := bodyOf(message.Envelope{Kind: message.KindRequest, Service: namedService, Method: 1, Call: 7, To: 1, Body: make([]byte, 4096)})
		nested := bodyOf(message.Envelope{Kind: message.KindBlock, To: 1, Body: make([]byte, 4096)})
		for _, body := range [][]byte{nil, []byte("\xff\xff\xff\xff\xff"), binary.AppendUvarint(nil, maxRecord+1), good[:len(good)-1], nested} {
			send(body)
		}
		settle()
		if s := all[0].Stats(); s.Malformed != 5 {
			t.Errorf("%d were malformed, not 5", s.Malformed)
		}
		send(good) // nothing is wrong with it
		settle()
		if s := all[0].Stats(); s.Malformed != 5 || all[1].Stats().Late != 1 {
			t.Errorf("a good block: %d malformed, %d answered", s.Malformed, all[1].Stats().Late)
		}
		endAll(all)
	})
}
