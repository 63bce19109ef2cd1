package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"virtualservicesinc.com/rrts/message"
)

func envelope(call uint64, body string) *message.Envelope {
	return &message.Envelope{Kind: message.KindRequest, Service: 2, Method: 1, Call: call, Body: []byte(body)}
}

// stream returns the frames of n Envelopes whose bodies are 0, 1, … n−1 times 37
// bytes long.
func stream(n int) []byte {
	var b []byte
	for i := range n {
		b = Append(b, envelope(uint64(i), string(bytes.Repeat([]byte{'x'}, 37*i))))
	}
	return b
}

func TestReaderTakesFramesHoweverTheyArrive(t *testing.T) {
	const frames = 200
	input := stream(frames)
	for name, src := range map[string]io.Reader{
		"at once":          bytes.NewReader(input),
		"byte by byte":     iotest.OneByteReader(bytes.NewReader(input)),
		"halves":           iotest.HalfReader(bytes.NewReader(input)),
		"with its end":     iotest.DataErrReader(bytes.NewReader(input)),
		"in 1,000s":        &chunks{b: input, n: 1000},
		"with empty reads": &chunks{b: input, n: 1000, empty: 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(src, 64<<10)
			for i := range frames {
				ready := r.Ready()
				before := r.w
				b, err := r.Next()
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				if ready && r.w != before {
					t.Fatalf("frame %d was ready, and more was read", i)
				}
				var e message.Envelope
				if err := e.Parse(b); err != nil || e.Call != uint64(i) || len(e.Body) != 37*i {
					t.Fatalf("frame %d: %v, %v", i, e, err)
				}
			}
			if b, err := r.Next(); err != io.EOF {
				t.Fatalf("after the last frame: %d bytes, %v", len(b), err)
			}
		})
	}
}

// chunks returns b in pieces of n bytes, with empty reads before each.
type chunks struct {
	b              []byte
	n, empty, next int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	if c.next < c.empty {
		c.next++
		return 0, nil
	}
	c.next = 0
	n := copy(p, c.b[:min(len(c.b), c.n)])
	c.b = c.b[n:]
	return n, nil
}

func TestReaderRefuses(t *testing.T) {
	tests := []struct {
		name  string
		input []byte
		want  string
	}{
		{"length 0", []byte{0, 0, 0, 0}, "frame: malformed: length 0"},
		{"length over the limit", []byte{0, 0, 0x10, 1, 'x'}, "frame: malformed: length 4097 is more than 4096"},
		{"the largest length", []byte{0xff, 0xff, 0xff, 0xff}, "frame: malformed: length 4294967295 is more than 4096"},
		{"an HTTP request", []byte("GET / HTTP/1.1\r\n\r\n"), "frame: malformed: length 1195725856 is more than 4096"},
		{"the end inside a header", []byte{0, 0}, "frame: malformed: the stream ends inside a frame"},
		{"the end inside a body", []byte{0, 0, 0, 2, 1}, "frame: malformed: the stream ends inside a frame"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewReader(bytes.NewReader(tt.input), 4096).Next()
			if !errors.Is(err, ErrFrame) || err.Error() != tt.want {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
		})
	}
	stuck := readerFunc(func([]byte) (int, error) { return 0, nil })
	if _, err := NewReader(stuck, 4096).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Fatalf("a stream that never gives anything: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestReaderMemory: a declared length allocates nothing, and what a large frame
// needed is given back.
func TestReaderMemory(t *testing.T) {
	const limit = 4 << 20
	header := binary.BigEndian.AppendUint32(nil, limit)
	r := NewReader(io.MultiReader(bytes.NewReader(header), iotest.ErrReader(errors.New("cut"))), limit)
	if _, err := r.Next(); err == nil || err.Error() != "cut" {
		t.Fatal(err)
	}
	if len(r.buf) > firstBuffer {
		t.Fatalf("%d bytes held for a frame of which nothing has come", len(r.buf))
	}
	big := Append(nil, envelope(1, string(make([]byte, 1<<20))))
	r = NewReader(bytes.NewReader(Append(big, envelope(2, ""))), limit)
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Fatal(err)
	}
	if len(r.buf) > keptBuffer {
		t.Fatalf("%d bytes kept after a large frame", len(r.buf))
	}
}

func TestAppendMessageIsAppend(t *testing.T) {
	inner := envelope(9, "inner")
	outer := *envelope(1, "")
	outer.Body = message.Marshal(inner)
	want := Append(nil, &outer)
	outer.Body = nil
	if got := AppendMessage(nil, &outer, inner); !bytes.Equal(got, want) {
		t.Fatalf("got  %x\nwant %x", got, want)
	}
	if n := len(Append(nil, &message.Envelope{
		Kind: message.KindFailure, Service: 65535, Method: 65535, Call: ^uint64(0), RemainingMillis: ^uint32(0),
		Code: message.Code(^uint32(0)), Detail: string(bytes.Repeat([]byte{'d'}, MaxDetail)), Trace: [16]byte{1},
		From: 65535, To: 65535, Epoch: ^uint32(0), Group: 65535, Principal: ^uint64(0), Role: 255,
	})); n > Overhead {
		t.Fatalf("the largest header takes %d bytes, Overhead says %d", n, Overhead)
	}
}

// FuzzReader feeds the Reader hostile bytes in hostile pieces: what it returns is
// what stands in the stream, it never holds more than it was given, and what it
// takes comes out again as it was.
func FuzzReader(f *testing.F) {
	f.Add(stream(5), uint8(1))
	f.Add(stream(3), uint8(7))
	f.Add([]byte{0, 0, 0, 0}, uint8(3))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3}, uint8(2))
	f.Add([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), uint8(255))
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		const limit = 1 << 12
		r := NewReader(&chunks{b: in, n: int(piece) + 1}, limit)
		var again []byte
		for {
			b, err := r.Next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, ErrFrame) {
					t.Fatal(err)
				}
				break
			}
			if len(b) == 0 || len(b) > limit {
				t.Fatalf("a frame of %d bytes", len(b))
			}
			again = append(binary.BigEndian.AppendUint32(again, uint32(len(b))), b...)
		}
		if !bytes.HasPrefix(in, again) {
			t.Fatalf("frames differ from the stream:\n%x\n%x", again, in)
		}
		if len(r.buf) > 4*limit {
			t.Fatalf("%d bytes held", len(r.buf))
		}
	})
}
