package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// samples is one of everything that the package encodes, with its bytes.
func samples() []struct {
	name  string
	bytes []byte
} {
	header := Header{Type: TypeData, Phase: 2, Length: 77, Cluster: 0xc0ffee01, SFU: 3, Slot: 9, Number: 0x0102030405060708}
	head := make([]byte, HeaderSize)
	header.Put(head)
	hello := Hello{Incarnation: 7, Attempt: 2, Resume: 0xabcdef, SFU: 1, Slot: 4, Phase: 3,
		Ciphers: CipherAESGCM | CipherChaChaPoly, Credit: [Lanes]uint32{1, 2, 3, 4}}
	ack := Ack{
		Network: [2]Receipt{{Next: 1001, DelayMicros: 250, Received: 900}, {Next: 0}},
		Ranges:  []Range{{990, 1000}, {980, 980}, {0, 977}},
	}
	return []struct {
		name  string
		bytes []byte
	}{
		{"header", head},
		{"hello", hello.AppendTo(nil)},
		{"fragment", append(AppendFragmentHead(nil, 1, 1<<40, 3), "abc"...)},
		{"ack", AppendAck(nil, &ack)},
		{"credit", AppendCredit(nil, Credit{Lane: 3, Position: 1 << 33})},
		{"floor", AppendFloor(nil, 12345)},
		{"probe", AppendProbe(nil, &Probe{Network: 1, Want: true, Sequence: 5, SentNanos: 6})},
		{"reply", AppendReply(nil, &Reply{Network: 1, Sequence: 5, SentNanos: 6, HeldNanos: 7, WallNanos: 8, Size: 1500})},
		{"close", AppendClose(nil, 3)},
	}
}

// TestGolden holds the bytes on the wire to what they have always been.
func TestGolden(t *testing.T) {
	var got bytes.Buffer
	for _, s := range samples() {
		fmt.Fprintf(&got, "%s %s\n", s.name, hex.EncodeToString(s.bytes))
	}
	const file = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the wire format changed (-golden +now):\n%s", diff)
	}
}

// TestChunks decodes all chunks of one payload and encodes them again.
func TestChunks(t *testing.T) {
	var payload []byte
	for _, s := range samples()[2:] {
		payload = append(payload, s.bytes...)
	}
	var d Decoder
	d.Reset(append(payload, make([]byte, 9)...)) // with padding
	if again := reencode(&d); d.Err() != nil || !bytes.Equal(again, payload) {
		t.Errorf("err %v\n got %x\nwant %x", d.Err(), again, payload)
	}
}

// reencode walks d and encodes what it finds.
func reencode(d *Decoder) []byte {
	var b []byte
	for d.Next() {
		switch d.Type {
		case ChunkFragment:
			b = AppendFragmentHead(b, d.Fragment.Lane, d.Fragment.Position, len(d.Fragment.Data))
			b = append(b, d.Fragment.Data...)
		case ChunkAck:
			b = AppendAck(b, &d.Ack)
		case ChunkCredit:
			b = AppendCredit(b, d.Credit)
		case ChunkFloor:
			b = AppendFloor(b, d.Floor)
		case ChunkProbe:
			b = AppendProbe(b, &d.Probe)
		case ChunkReply:
			b = AppendReply(b, &d.Reply)
		case ChunkClose:
			b = AppendClose(b, d.Reason)
		}
	}
	return b
}

// TestSizes holds the size constants to the encoders.
func TestSizes(t *testing.T) {
	sizes := map[string]int{"header": HeaderSize, "hello": HelloSize, "fragment": FragmentOverhead + 3, "ack": ackHead + 2*4,
		"credit": CreditSize, "floor": FloorSize, "probe": ProbeSize, "reply": ReplySize, "close": CloseSize}
	for _, s := range samples() {
		if len(s.bytes) != sizes[s.name] {
			t.Errorf("%s: %d bytes, the constant says %d", s.name, len(s.bytes), sizes[s.name])
		}
	}
	if InitiationSize != 180 || ResponseSize != 132 {
		t.Errorf("handshake frames of %d and %d bytes", InitiationSize, ResponseSize)
	}
}

// TestTruncated cuts every sample at every length: all of them are refused.
func TestTruncated(t *testing.T) {
	for _, s := range samples()[2:] {
		for n := 1; n < len(s.bytes); n++ {
			var d Decoder
			d.Reset(s.bytes[:n])
			for d.Next() {
			}
			if !errors.Is(d.Err(), ErrChunk) {
				t.Errorf("%s cut to %d bytes was accepted", s.name, n)
			}
		}
	}
}

func TestMalformedChunks(t *testing.T) {
	tests := []struct {
		name string
		hex  string
	}{
		{"unknown type", "08"},
		{"pad with something in it", "000001"},
		{"fragment of lane 4", "0104" + "0000000000000000" + "0001" + "61"},
		{"empty fragment", "0100" + "0000000000000000" + "0000"},
		{"fragment past the end of the stream", "0100" + "ffffffffffffffff" + "0001" + "61"},
		{"fragment longer than the payload", "0100" + "0000000000000000" + "0002" + "61"},
		{"ack without a range", "0200" + zeros(32) + "0000000000000005" + "0000"},
		{"ack with 33 ranges", "0221" + zeros(32) + "00000000000000ff" + "0000" + zeros(32*4)},
		{"ack whose first range begins below 0", "0201" + zeros(32) + "0000000000000005" + "0006"},
		{"ack whose second range begins below 0", "0202" + zeros(32) + "0000000000000005" + "0000" + "0003" + "0001"},
		{"credit of lane 9", "0309" + zeros(8)},
		{"probe of network 2", "0502" + zeros(13)},
		{"probe that wants 2", "050002" + zeros(12)},
		{"reply held for a negative time", "0600" + zeros(12) + "ff" + zeros(17)},
	}
	for _, test := range tests {
		b, err := hex.DecodeString(test.hex)
		if err != nil {
			t.Fatal(test.name, err)
		}
		var d Decoder
		d.Reset(b)
		for d.Next() {
		}
		if !errors.Is(d.Err(), ErrChunk) {
			t.Errorf("%s was accepted", test.name)
		}
	}
}

func zeros(n int) string { return hex.EncodeToString(make([]byte, n)) }

// TestAckClipped: what a chunk cannot say is left out from the old end.
func TestAckClipped(t *testing.T) {
	many := make([]Range, 40)
	for i := range many {
		many[i] = Range{uint64(1000 - 10*i), uint64(1004 - 10*i)}
	}
	tests := []struct {
		name     string
		in, want []Range
	}{
		{"long range", []Range{{0, 100_000}, {0, 1}}, []Range{{34_465, 100_000}}},
		{"longest range", []Range{{1, 65_536}}, []Range{{1, 65_536}}},
		{"long second range", []Range{{200_000, 200_000}, {0, 199_990}}, []Range{{200_000, 200_000}, {134_455, 199_990}}},
		{"long gap", []Range{{100_000, 100_000}, {0, 5}}, []Range{{100_000, 100_000}}},
		{"longest gap", []Range{{65_542, 65_542}, {0, 5}}, []Range{{65_542, 65_542}, {0, 5}}},
		{"many ranges", many, many[:MaxRanges]},
	}
	for _, test := range tests {
		b := AppendAck(nil, &Ack{Ranges: test.in})
		if len(b) > MaxAckSize {
			t.Errorf("%s: %d bytes", test.name, len(b))
		}
		var d Decoder
		d.Reset(b)
		if !d.Next() {
			t.Errorf("%s: %v", test.name, d.Err())
			continue
		}
		if diff := cmp.Diff(test.want, d.Ack.Ranges); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestHeader(t *testing.T) {
	want := Header{Type: TypeData, Phase: 3, Length: 40, Cluster: 0xdeadbeef, SFU: 65535, Slot: 1, Number: 1 << 63}
	frame := make([]byte, 60) // padded by Ethernet
	want.Put(frame)
	got, err := ParseHeader(frame)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	refused := map[string]func(b []byte) []byte{
		"short":                    func(b []byte) []byte { return b[:Overhead-1] },
		"cut":                      func(b []byte) []byte { return b[:39] },
		"length below the minimum": func(b []byte) []byte { b[3] = Overhead - 1; return b },
		"other version":            func(b []byte) []byte { b[0] = 2<<4 | 3; return b },
		"type 0":                   func(b []byte) []byte { b[0] = Version << 4; return b },
		"type 4":                   func(b []byte) []byte { b[0] = Version<<4 | 4; return b },
		"unknown flag":             func(b []byte) []byte { b[1] = 4; return b },
		"slot 0":                   func(b []byte) []byte { b[10], b[11] = 0, 0; return b },
		"initiation with a slot":   func(b []byte) []byte { b[0] = Version<<4 | 1; b[3] = InitiationSize; return grow(b) },
		"initiation of 40 bytes":   func(b []byte) []byte { b[0] = Version<<4 | 1; b[11] = 0; b[1] = 0; return b },
		"response of 40 bytes":     func(b []byte) []byte { b[0] = Version<<4 | 2; return b },
		"longer than MaxFrame":     func(b []byte) []byte { b[2], b[3] = 0x24, 0x01; return grow(b) },
	}
	for name, change := range refused {
		if h, err := ParseHeader(change(bytes.Clone(frame))); !errors.Is(err, ErrFrame) {
			t.Errorf("%s was accepted: %+v", name, h)
		}
	}
}

func grow(b []byte) []byte { return append(b, make([]byte, 2*MaxFrame)...) }

func TestHello(t *testing.T) {
	want := Hello{Incarnation: 1, Attempt: 2, Resume: 3, SFU: 4, Slot: 5, Phase: 1, Ciphers: CipherChaChaPoly, Credit: [Lanes]uint32{9, 8, 7, 6}}
	good := want.AppendTo(nil)
	var got Hello
	if err := got.Parse(good); err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"short":          func(b []byte) []byte { return b[:47] },
		"long":           func(b []byte) []byte { return append(b, 0) },
		"incarnation 0":  func(b []byte) []byte { b[7] = 0; return b },
		"SFU 0":          func(b []byte) []byte { b[25] = 0; return b },
		"slot 0":         func(b []byte) []byte { b[27] = 0; return b },
		"phase 4":        func(b []byte) []byte { b[28] = 4; return b },
		"no cipher":      func(b []byte) []byte { b[29] = 0; return b },
		"unknown cipher": func(b []byte) []byte { b[29] = 4; return b },
		"reserved":       func(b []byte) []byte { b[31] = 1; return b },
	} {
		if err := got.Parse(change(bytes.Clone(good))); !errors.Is(err, ErrHello) {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestNoAllocation: decoding is free of allocations, for good frames and for bad ones.
func TestNoAllocation(t *testing.T) {
	var payload []byte
	for _, s := range samples()[2:] {
		payload = append(payload, s.bytes...)
	}
	bad := append(bytes.Clone(payload), 0xff)
	frame := append(samples()[0].bytes, make([]byte, 100)...)
	short := frame[:30]
	var d Decoder
	var sink int
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range [][]byte{payload, bad} {
			d.Reset(p)
			for d.Next() {
				sink += int(d.Type)
			}
			if d.Err() != nil {
				sink++
			}
		}
		for _, f := range [][]byte{frame, short} {
			if h, err := ParseHeader(f); err == nil {
				sink += h.Length
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations (%d)", n, sink)
	}
}
