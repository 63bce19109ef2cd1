package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"virtualservicesinc.com/rrts/message/u128"
)

// numbers are both ends of every length that a varint can have.
func numbers() []uint64 {
	n := []uint64{0, math.MaxUint64}
	for bit := 1; bit < 64; bit++ {
		n = append(n, 1<<bit-1, 1<<bit, 1<<bit+1)
	}
	return n
}

func TestVarint(t *testing.T) {
	for _, v := range numbers() {
		b := AppendVarint([]byte("x"), v)
		if want := binary.AppendUvarint([]byte("x"), v); !bytes.Equal(b, want) {
			t.Errorf("%d: %x, want %x", v, b, want)
		}
		if SizeVarint(v) != len(b)-1 {
			t.Errorf("%d: size is %d, want %d", v, SizeVarint(v), len(b)-1)
		}
		if got, i := Varint(b, 1); got != v || i != len(b) {
			t.Errorf("%d: read as %d up to %d of %d", v, got, i, len(b))
		}
		for cut := 1; cut < len(b); cut++ {
			if _, i := Varint(b[:cut], 1); i >= 0 {
				t.Errorf("%d: cut off at %d it is still read", v, cut)
			}
		}
		if s := int64(v); Unzigzag(Zigzag(s)) != s || Zigzag(s) != protowire.EncodeZigZag(s) {
			t.Errorf("zigzag of %d is %d", s, Zigzag(s))
		}
	}
	for _, long := range []string{"\x80\x00", "\xff\x80\x80\x00"} { // not the shortest form, but protobuf
		if _, i := Varint([]byte(long), 0); i != len(long) {
			t.Errorf("%x is refused", long)
		}
	}
}

func TestBytes(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 20000} {
		p := bytes.Repeat([]byte{7}, n)
		b := append(AppendBytes(nil, p), 99)
		if s := AppendString(nil, string(p)); !bytes.Equal(s, b[:len(b)-1]) || SizeBytes(n) != len(s) {
			t.Errorf("%d bytes: AppendString and AppendBytes, or SizeBytes, differ", n)
		}
		got, i := Bytes(b, 0)
		if !bytes.Equal(got, p) || i != len(b)-1 {
			t.Errorf("%d bytes are read as %d up to %d", n, len(got), i)
		}
		if cap(got) != n {
			t.Errorf("%d bytes have a capacity of %d: appending would write into the input", n, cap(got))
		}
		if _, i := Bytes(b[:len(b)-2], 0); i >= 0 && n > 0 {
			t.Errorf("%d bytes, cut off, are still read", n)
		}
		// A length that is known only afterwards gives the same bytes.
		c := append([]byte("ab"), 0)
		if c = CloseBytes(append(c, p...), 3); !bytes.Equal(c[2:], b[:len(b)-1]) || !bytes.HasPrefix(c, []byte("ab")) {
			t.Errorf("%d bytes: CloseBytes differs", n)
		}
	}
}

func TestU128(t *testing.T) {
	values := []u128.Int{{}, u128.Max, {Hi: 1}, {Hi: 0x0102030405060708, Lo: 0x090a0b0c0d0e0f10}}
	for _, v := range numbers() {
		values = append(values, u128.From64(v), u128.Int{Hi: v, Lo: 5})
	}
	for _, x := range values {
		want := AppendBytes(nil, x.AppendWire(nil))
		for _, room := range []int{0, 1, 9, 64} { // both ways of writing it
			b := AppendU128(make([]byte, 0, room), x)
			if !bytes.Equal(b, want) {
				t.Errorf("%v with room for %d: %x, want %x", x, room, b, want)
			}
		}
		if got, i := U128(want, 0); got != x || i != len(want) {
			t.Errorf("%v is read as %v", x, got)
		}
	}
	if got, i := U128([]byte{3, 0, 0, 5}, 0); got != u128.From64(5) || i != 4 {
		t.Errorf("leading zeros: %v, %d", got, i)
	}
	if _, i := U128(AppendBytes(nil, make([]byte, 17)), 0); i >= 0 {
		t.Error("17 bytes are read")
	}
}

func TestCounts(t *testing.T) {
	if n := CountVarints([]byte{1, 0x80, 2, 3, 0xff}); n != 3 {
		t.Errorf("CountVarints is %d, want 3", n)
	}
	b := []byte{0x0a, 0, 0x0a, 2, 1, 1, 0x0a, 0, 0x12, 0, 0x0a, 0}
	if n := CountRun(b, 2, 0x0a); n != 3 {
		t.Errorf("CountRun is %d, want 3", n)
	}
	if n := CountRun([]byte{0x0a, 0, 0x0a, 9}, 2, 0x0a); n != 1 {
		t.Errorf("CountRun before a malformed field is %d, want 1", n)
	}
}

func TestFindBytes(t *testing.T) {
	e := Envelope{Service: 5, Detail: "d", Body: []byte("first")}
	b := e.AppendTo(nil)
	b = append(b, (&Envelope{Body: []byte("last")}).AppendTo(nil)...)
	if p, err := FindBytes(b, 15); err != nil || string(p) != "last" {
		t.Errorf("field 15 is %q, %v", p, err)
	}
	if p, err := FindBytes(b, 8); err != nil || p != nil {
		t.Errorf("field 8 is %q, %v", p, err)
	}
	for cut := 1; cut <= 4; cut++ { // within the last field
		if _, err := FindBytes(b[:len(b)-cut], 15); !errors.Is(err, ErrMalformed) {
			t.Errorf("without the last %d bytes: %v", cut, err)
		}
	}
	if _, err := FindBytes([]byte{0x80}, 15); !errors.Is(err, ErrMalformed) {
		t.Errorf("half a tag: %v", err)
	}
}

type stringer struct{}

func (stringer) String() string { return "<s>" }

func TestText(t *testing.T) {
	text := NewText("T")
	for i, v := range []any{uint64(1), uint32(2), int64(-3), int32(-4), true, 1.5, float32(0.1), "a\"b", []byte{0xab, 1}, stringer{}} {
		text.Add(fmt.Sprintf("f%d", i), v)
	}
	text.Redact("secret")
	AddList(&text, "list", []uint32{1, 2})
	AddList(&text, "long", make([]uint32, 9000))
	const want = `T{f0:1 f1:2 f2:-3 f3:-4 f4:true f5:1.5 f6:0.1 f7:"a\"b" f8:ab01 f9:<s> secret:[redacted] list:[1 2] long:[0 0 0 0 0 0 0 0 … 9000 in all]}`
	if got := text.String(); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// TestTextIsBounded: whatever a message holds, a log line stays one.
func TestTextIsBounded(t *testing.T) {
	text := NewText("T")
	for range 1000 {
		text.Add("s", strings.Repeat("ä", 1000))
		text.Add("b", make([]byte, 1000))
		AddList(&text, "l", []string{strings.Repeat("x", 1000), strings.Repeat("x", 1000)})
	}
	got := text.String()
	if len(got) > textMax+2*textString+100 {
		t.Errorf("the text has %d bytes", len(got))
	}
	if !strings.HasSuffix(got, " …}") || !strings.Contains(got, `ä"… (2000 bytes)`) || !strings.Contains(got, "00… (1000 bytes)") {
		t.Errorf("what was cut is not marked: %s", got)
	}
	empty := NewText("T")
	if empty.String() != "T{}" {
		t.Errorf("without fields: %s", empty.String())
	}
}

func TestRegistry(t *testing.T) {
	a := &Schema{File: "a.proto",
		Services: []*ServiceDescriptor{{Number: 7, Name: "A", Methods: []MethodDescriptor{{Number: 3, Name: "M"}}}},
		Messages: []Type{{Name: "x.E", New: func() Message { return new(Envelope) }}}}
	r, err := NewRegistry(a)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Service(7); s == nil || s.Name != "A" {
		t.Errorf("service 7 is %v", s)
	}
	if m := r.Method(7, 3); m == nil || m.Name != "M" {
		t.Errorf("method 7/3 is %v", m)
	}
	if r.Service(8) != nil || r.Method(8, 3) != nil || r.Method(7, 4) != nil || r.New("x.F") != nil {
		t.Error("unknown numbers or names are found")
	}
	if _, ok := r.New("x.E").(*Envelope); !ok {
		t.Error("x.E is not made")
	}
	b := &Schema{File: "b.proto", Services: []*ServiceDescriptor{{Number: 7, Name: "B"}}, Messages: a.Messages}
	_, err = NewRegistry(a, b)
	for _, want := range []string{"b.proto: service number 7 of B is already that of A", "b.proto: there are two messages x.E"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

func TestBadField(t *testing.T) {
	var err error = BadField("x.M.f")
	if !errors.Is(fmt.Errorf("gateway: %w", err), ErrMalformed) || err.Error() != "message: malformed: x.M.f" {
		t.Errorf("%v", err)
	}
	if errors.Is(err, u128.ErrLength) {
		t.Error("it is every error")
	}
}
