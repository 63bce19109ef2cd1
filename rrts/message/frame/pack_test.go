package frame

import (
	"bytes"
	"fmt"
	"testing"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/pack"
)

// TestConnPacks: what is packed and what is not comes in its order, and what must not be
// packed stands on the wire as it is.
func TestConnPacks(t *testing.T) {
	for _, methods := range []uint32{0, pack.Guess, pack.All} {
		t.Run(fmt.Sprint(methods), func(t *testing.T) {
			server, client := pair(t, "tcp", testLimits)
			server.Pack(methods)
			client.Pack(methods)
			secret := []byte("correct horse battery staple")
			const n = 300
			for call := range uint64(n) {
				e := message.Envelope{Kind: message.KindRequest, Service: 5, Method: 5, Call: call, Body: bytes.Repeat([]byte{byte(call), 7}, int(call))}
				var err error
				if call%10 == 3 {
					e.Body = secret
					err = client.QueuePlain(&e)
				} else {
					err = client.Queue(&e)
				}
				if err == nil && call%50 == 9 {
					err = client.Flush()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			client.mu.Lock()
			b := append([]byte{}, client.queued...)
			if methods != 0 {
				b = packed(append(takeBuffer(), client.queued...), client.plain, methods)
			}
			if got, want := bytes.Count(b, secret), len(client.plain); got != want {
				t.Errorf("%d secrets are readable, want %d", got, want)
			}
			if methods&pack.Zstd != 0 && len(b) > len(client.queued)/2 {
				t.Errorf("%d bytes are made of %d", len(b), len(client.queued))
			}
			client.mu.Unlock()
			client.Flush()
			for call := range uint64(n) {
				b, err := server.Next()
				if err != nil {
					t.Fatal(err)
				}
				var e message.Envelope
				if err := e.Parse(b); err != nil || e.Call != call {
					t.Fatalf("call %d, want %d: %v", e.Call, call, err)
				}
				want := bytes.Repeat([]byte{byte(call), 7}, int(call))
				if call%10 == 3 {
					want = secret
				}
				if !bytes.Equal(e.Body, want) {
					t.Fatalf("call %d has another body", call)
				}
			}
		})
	}
}

// TestConnBoundsPacked: no more comes out of a frame than a frame may hold.
func TestConnBoundsPacked(t *testing.T) {
	server, client := pair(t, "unix", testLimits)
	server.Pack(pack.All)
	server.SetFrameLimit(1 << 10)
	big := Append(nil, &message.Envelope{Kind: message.KindRequest, Call: 1, Body: make([]byte, 2<<10)})
	body, ok := pack.Append(nil, pack.Sequence(nil, big), pack.All)
	if !ok || len(body) > 200 {
		t.Fatalf("%d bytes", len(body))
	}
	if err := client.Send(&message.Envelope{Kind: message.KindPacked, Body: body}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Next(); err == nil {
		t.Error("2 KiB come out of a frame of 1 KiB")
	}
}
