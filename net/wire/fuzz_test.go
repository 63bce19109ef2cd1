package wire

import (
	"bytes"
	"testing"
)

// FuzzHeader: whatever ParseHeader accepts, Put writes again byte by byte.
func FuzzHeader(f *testing.F) {
	for _, typ := range []Type{TypeInitiation, TypeResponse, TypeData} {
		h := Header{Type: typ, Length: InitiationSize, Cluster: 5, SFU: 2, Slot: 1, Number: 77}
		switch typ {
		case TypeInitiation:
			h.Slot = 0
		case TypeResponse:
			h.Length = ResponseSize
		}
		frame := make([]byte, h.Length)
		h.Put(frame)
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, err := ParseHeader(frame)
		if err != nil {
			return
		}
		if h.Length > len(frame) || h.Length < Overhead {
			t.Fatalf("length %d of %d", h.Length, len(frame))
		}
		var again [HeaderSize]byte
		h.Put(again[:])
		if !bytes.Equal(again[:], frame[:HeaderSize]) {
			t.Fatalf("%x became %x", frame[:HeaderSize], again)
		}
	})
}

// FuzzHello: whatever Parse accepts, AppendTo writes again byte by byte.
func FuzzHello(f *testing.F) {
	f.Add(samples()[1].bytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Hello
		if h.Parse(b) == nil && !bytes.Equal(h.AppendTo(nil), b) {
			t.Fatalf("%x became %x", b, h.AppendTo(nil))
		}
	})
}

// FuzzChunks: decoding never reads past the payload, its fields keep their
// promises, and what it accepts is encoded again byte by byte.
func FuzzChunks(f *testing.F) {
	var all []byte
	for _, s := range samples()[2:] {
		f.Add(s.bytes)
		all = append(all, s.bytes...)
	}
	f.Add(append(all, 0, 0, 0))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var d Decoder
		d.Reset(payload)
		for d.Next() {
			switch d.Type {
			case ChunkFragment:
				if n := uint64(len(d.Fragment.Data)); n == 0 || d.Fragment.Position+n < n || d.Fragment.Lane >= Lanes {
					t.Fatalf("fragment %+v", d.Fragment)
				}
			case ChunkAck:
				above := uint64(1<<64 - 1)
				for i, r := range d.Ack.Ranges {
					if r.First > r.Last || i > 0 && r.Last+1 >= above {
						t.Fatalf("ranges %v", d.Ack.Ranges)
					}
					above = r.First
				}
			}
		}
		if d.Err() != nil {
			return
		}
		d.Reset(payload)
		again := reencode(&d)
		if !bytes.HasPrefix(payload, again) || len(bytes.Trim(payload[len(again):], "\x00")) != 0 {
			t.Fatalf("%x became %x", payload, again)
		}
	})
}
