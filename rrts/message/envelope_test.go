package message

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

var full = Envelope{
	Kind: KindFailure, Service: 65535, Method: 300, Call: 1 << 63, RemainingMillis: 5000, Code: Draining, Detail: "stopping",
	Trace: [16]byte{0: 1, 15: 2}, From: 7, To: 65534, Epoch: 1<<32 - 1, Group: 4095, Principal: 99, Role: RoleAuditor, Body: []byte("body"),
}

// The bytes of these must never change: they are on the wire between versions.
var envelopes = []struct {
	name string
	e    Envelope
	wire string
}{
	{"empty", Envelope{}, ""},
	{"request of a client", Envelope{Kind: KindRequest, Service: 5, Method: 5, Call: 300, RemainingMillis: 5000, Body: []byte{1, 2, 3}},
		"0801 1005 1805 20ac02 288827 7a03010203"},
	{"reply", Envelope{Kind: KindReply, Call: 1, Body: []byte{0}}, "0802 2001 7a0100"},
	{"notice", Envelope{Kind: KindNotice, Service: 3, Method: 2, From: 1, To: 2, Epoch: 4, Group: 5, Body: make([]byte, 130)},
		"0804 1003 1802 4801 5002 5804 6005 7a8201" + strings.Repeat("00", 130)},
	{"everything", full, "0803 10ffff03 18ac02 2080808080808080808001 288827 3009 3a0873746f7070696e67 " +
		"421001000000000000000000000000000002 4807 50feff03 58ffffffff0f 60ff1f 6863 7003 7a04626f6479"},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEnvelopeWire(t *testing.T) {
	for _, c := range envelopes {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.wire)
			if got := c.e.AppendTo(nil); !bytes.Equal(got, want) {
				t.Errorf("AppendTo:\n%x, want\n%x", got, want)
			}
			if c.e.Size() != len(want) {
				t.Errorf("Size is %d, want %d", c.e.Size(), len(want))
			}
			if h := c.e.AppendHeader(nil, len(c.e.Body)); len(h) != c.e.HeaderSize(len(c.e.Body)) || !bytes.HasPrefix(want, h) {
				t.Errorf("AppendHeader is %x, of %d bytes by HeaderSize", h, c.e.HeaderSize(len(c.e.Body)))
			}
			got := Envelope{Detail: "left over", Role: RoleSFU, Body: []byte("left over")}
			if err := got.Parse(want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.e) {
				t.Errorf("Parse is\n%+v, want\n%+v", got, c.e)
			}
		})
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	for _, c := range []struct{ name, wire string }{
		{"tag cut off", "80"},
		{"number cut off", "0880"},
		{"varint of eleven bytes", "20 8080808080808080808001"},
		{"varint above 64 bits", "20 80808080808080808002"},
		{"kind of 256", "08 8002"},
		{"service of 65536", "10 808004"},
		{"epoch of 1<<32", "58 8080808010"},
		{"code of 1<<31", "30 8080808008"},
		{"role of 256", "70 8002"},
		{"body longer than the input", "7a 04 000000"},
		{"body of 2^64-1 bytes", "7a ffffffffffffffffff01 00"},
		{"trace of 15 bytes", "42 0f" + strings.Repeat("00", 15)},
		{"detail that is not UTF-8", "3a 01 ff"},
		{"field number 0", "00 00"},
		{"field number above 2^29-1", "8080808010 00"},
		{"unknown field cut off", "b801"},
		{"wire type 6", "be01 00"},
		{"end of a group that never began", "bc01"},
		{"group without end", "bb01 0801"},
		{"group with the end of another", "bb01 c401"},
		{"groups a hundred and one deep", strings.Repeat("bb01", MaxDepth+1) + strings.Repeat("bc01", MaxDepth+1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.wire)
			var e Envelope
			err := e.Parse(b)
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("error is %v, want ErrMalformed", err)
			}
			if n := testing.AllocsPerRun(10, func() { e.Parse(b) }); n > 1 { // the Detail
				t.Errorf("refusing it allocates %v times", n)
			}
		})
	}
}

func TestEnvelopeSkips(t *testing.T) {
	for _, c := range []struct{ name, wire string }{
		{"varint", "800101"},
		{"fixed64", "8101 0000000000000000"},
		{"bytes", "8201 02 ffff"},
		{"fixed32", "8501 00000000"},
		{"known number of another type", "0a 01 00"},
		{"group", "8301 0801 13 0801 14 8401"},
		{"groups a hundred deep", strings.Repeat("bb01", MaxDepth) + strings.Repeat("bc01", MaxDepth)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Envelope
			if err := e.Parse(unhex(t, c.wire+"1005")); err != nil || !reflect.DeepEqual(e, Envelope{Service: 5}) {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

func TestEnvelopeAllocates(t *testing.T) {
	e := full
	b := e.AppendTo(nil)
	e.Code, e.Detail = 0, ""
	quiet := e.AppendTo(nil)
	var got Envelope
	for _, c := range []struct {
		name string
		want float64
		f    func()
	}{
		{"AppendTo", 0, func() { b = e.AppendTo(b[:0]) }},
		{"AppendHeader", 0, func() { b = e.AppendHeader(b[:0], 10) }},
		{"Parse", 0, func() { got.Parse(quiet) }},
		{"Marshal", 1, func() { b = Marshal(&e) }},
	} {
		if n := testing.AllocsPerRun(100, c.f); n != c.want {
			t.Errorf("%s allocates %v times, want %v", c.name, n, c.want)
		}
	}
}

// TestEnvelopeText: a body may hold secrets, so no verb prints it.
func TestEnvelopeText(t *testing.T) {
	e := Envelope{Kind: KindRequest, Service: 4, Method: 1, Body: []byte("password")}
	text, err := e.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{e.String(), string(text), fmt.Sprintf("%v %+v %#v %s %x %d", e, &e, e, e, e, &e)} {
		if strings.Contains(s, "password") || strings.Contains(s, "112 97") || !strings.Contains(s, "body_bytes:8") {
			t.Errorf("printed as %s", s)
		}
	}
}

// descriptor is envelope.proto as google.golang.org/protobuf sees it.
func descriptor(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := c.Compile(t.Context(), "envelope.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0].Messages().ByName("Envelope")
}

// FuzzEnvelope parses everything that google.golang.org/protobuf parses, and to
// the same values, save for the numbers and traces that it must refuse.
func FuzzEnvelope(f *testing.F) {
	d := descriptor(f)
	for _, c := range envelopes {
		f.Add(unhex(f, c.wire))
	}
	f.Add([]byte("\x0a\x01\x00\x82\x01\x02\xff\xff\x10\x05"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Envelope
		err := e.Parse(b)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("error is not ErrMalformed: %v", err)
		}
		theirs := dynamicpb.NewMessage(d)
		theirErr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, theirs)
		if err == nil && theirErr != nil {
			t.Fatalf("protobuf refuses what we accept: %v", theirErr)
		}
		if err != nil {
			return // protobuf has neither narrow numbers nor a trace of fixed length
		}
		if e.Trace == ([16]byte{}) {
			theirs.Clear(d.Fields().ByNumber(8)) // protobuf keeps a trace of zeros
		}
		want, merr := proto.MarshalOptions{Deterministic: true}.Marshal(theirs)
		if merr != nil {
			t.Fatal(merr)
		}
		got := e.AppendTo(nil)
		if !bytes.Equal(got, want) {
			t.Fatalf("encodes as\n%x, protobuf as\n%x", got, want)
		}
		if e.Size() != len(got) {
			t.Fatalf("Size is %d, it has %d bytes", e.Size(), len(got))
		}
	})
}

func BenchmarkEnvelope(b *testing.B) {
	e := Envelope{Kind: KindRequest, Service: 5, Method: 5, Call: 300, RemainingMillis: 5000, From: 1, To: 2, Epoch: 4, Body: make([]byte, 120)}
	buf := e.AppendTo(nil)
	wire := bytes.Clone(buf)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = e.AppendTo(buf[:0])
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := e.Parse(wire); err != nil {
				b.Fatal(err)
			}
		}
	})
}
