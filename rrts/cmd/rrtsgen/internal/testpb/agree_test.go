package testpb

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	googlekinds "virtualservicesinc.com/rrts/cmd/internal/codecpb/googlepb/kindspb"
	googleshared "virtualservicesinc.com/rrts/cmd/internal/codecpb/googlepb/sharedpb"
	"virtualservicesinc.com/rrts/cmd/internal/codecpb/kindspb"
	"virtualservicesinc.com/rrts/cmd/internal/codecpb/sharedpb"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
)

// pairs are our type and google.golang.org/protobuf's of every message.
var pairs = []struct {
	ours   func() message.Message
	theirs func() proto.Message
}{
	{func() message.Message { return new(kindspb.Scalars) }, func() proto.Message { return new(googlekinds.Scalars) }},
	{func() message.Message { return new(kindspb.Bytes) }, func() proto.Message { return new(googlekinds.Bytes) }},
	{func() message.Message { return new(kindspb.Repeated) }, func() proto.Message { return new(googlekinds.Repeated) }},
	{func() message.Message { return new(kindspb.Optional) }, func() proto.Message { return new(googlekinds.Optional) }},
	{func() message.Message { return new(kindspb.Wide) }, func() proto.Message { return new(googlekinds.Wide) }},
	{func() message.Message { return new(kindspb.Everything) }, func() proto.Message { return new(googlekinds.Everything) }},
	{func() message.Message { return new(kindspb.Names) }, func() proto.Message { return new(googlekinds.Names) }},
	{func() message.Message { return new(kindspb.Login) }, func() proto.Message { return new(googlekinds.Login) }},
	{func() message.Message { return new(kindspb.None) }, func() proto.Message { return new(googlekinds.None) }},
	{func() message.Message { return new(kindspb.Batch) }, func() proto.Message { return new(googlekinds.Batch) }},
	{func() message.Message { return new(sharedpb.Point) }, func() proto.Message { return new(googleshared.Point) }},
	{func() message.Message { return new(sharedpb.Secret) }, func() proto.Message { return new(googleshared.Secret) }},
}

// unmarshal and marshal are protobuf under our rules: unknown fields are dropped
// and messages nest as deep.
func unmarshal(b []byte, m proto.Message) error {
	return proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: message.MaxDepth}.Unmarshal(b, m)
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// narrow brings the 128-bit integers of a protobuf message into the form that ours
// has, without leading zeros. It reports false when one has more than 16 bytes.
func narrow(m protoreflect.Message) bool {
	ok := true
	number := func(b []byte) protoreflect.Value {
		ok = ok && len(b) <= u128.Size
		return protoreflect.ValueOfBytes(bytes.TrimLeft(b, "\x00"))
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		wide := f.Kind() == protoreflect.BytesKind && (f.Parent().Name() == "Wide" || f.Parent().Name() == "Transfer")
		switch {
		case f.IsList():
			for i := range v.List().Len() {
				switch e := v.List().Get(i); {
				case wide:
					v.List().Set(i, number(e.Bytes()))
				case f.Kind() == protoreflect.MessageKind:
					ok = narrow(e.Message()) && ok
				}
			}
		case wide:
			if n := number(v.Bytes()); len(n.Bytes()) > 0 || f.HasPresence() {
				m.Set(f, n)
			} else {
				m.Clear(f)
			}
		case f.Kind() == protoreflect.MessageKind:
			ok = narrow(v.Message()) && ok
		}
		return true
	})
	return ok
}

// differ compares a message of ours with protobuf's, field by field, so that no
// mistake hides that encoding and decoding both make. It returns where they
// differ, or "".
func differ(ours, theirs reflect.Value) string {
	if o, ok := ours.Interface().(u128.Int); ok {
		if got := theirs.Bytes(); !bytes.Equal(o.AppendWire(nil), got) {
			return fmt.Sprintf(": %v, protobuf has %x", o, got)
		}
		return ""
	}
	switch ours.Kind() {
	case reflect.Pointer:
		if theirs.Kind() == reflect.Slice { // optional bytes
			if ours.IsNil() != theirs.IsNil() {
				return ": present in one only"
			}
			if ours.IsNil() {
				return ""
			}
			return differ(ours.Elem(), theirs)
		}
		if ours.IsNil() || theirs.IsNil() {
			if ours.IsNil() != theirs.IsNil() {
				return ": present in one only"
			}
			return ""
		}
		return differ(ours.Elem(), theirs.Elem())
	case reflect.Struct:
		for i := range ours.NumField() {
			name := ours.Type().Field(i).Name
			f := theirs.FieldByNameFunc(func(n string) bool { // user_data_128 is UserData_128 there
				return strings.ReplaceAll(n, "_", "") == strings.ReplaceAll(name, "_", "")
			})
			if !f.IsValid() {
				return "." + name + ": protobuf has no such field"
			}
			if d := differ(ours.Field(i), f); d != "" {
				return "." + name + d
			}
		}
		return ""
	case reflect.Slice:
		if ours.Len() != theirs.Len() {
			return fmt.Sprintf(": %d elements, protobuf has %d", ours.Len(), theirs.Len())
		}
		for i := range ours.Len() {
			e := theirs.Index(i)
			if e.Kind() == reflect.Pointer {
				e = e.Elem()
			}
			if d := differ(ours.Index(i), e); d != "" {
				return fmt.Sprintf("[%d]%s", i, d)
			}
		}
		return ""
	case reflect.Float32, reflect.Float64:
		if math.Float64bits(ours.Float()) != math.Float64bits(theirs.Float()) {
			return fmt.Sprintf(": %v, protobuf has %v", ours, theirs)
		}
		return ""
	case reflect.Uint32: // numbers and enums, which protobuf has signed
		if theirs.CanInt() {
			if uint32(ours.Uint()) != uint32(theirs.Int()) {
				return fmt.Sprintf(": %v, protobuf has %v", ours, theirs)
			}
			return ""
		}
	}
	if !reflect.DeepEqual(ours.Interface(), theirs.Interface()) {
		return fmt.Sprintf(": %v, protobuf has %v", ours, theirs)
	}
	return ""
}

// agree fails t unless ours and protobuf make the same of b. dirty is a message of
// our type with other contents: parsing must leave nothing of them.
func agree(t *testing.T, b []byte, ours, dirty message.Message, theirs proto.Message) {
	t.Helper()
	err := ours.Parse(b)
	if err != nil && !errors.Is(err, message.ErrMalformed) {
		t.Fatalf("the error is not ErrMalformed: %v", err)
	}
	theirErr := unmarshal(b, theirs)
	fits := narrow(theirs.ProtoReflect())
	switch {
	case err == nil && theirErr != nil:
		t.Fatalf("protobuf refuses what we accept: %v", theirErr)
	case err != nil && theirErr == nil:
		// protobuf checks neither field numbers nor depth inside of unknown groups
		// as it does outside, and has no 128-bit integers.
		if !fits || strings.HasSuffix(err.Error(), ": unknown field") && bytes.ContainsFunc(b, func(r rune) bool { return r&7 == 3 || r > 127 }) {
			return
		}
		t.Fatalf("we refuse what protobuf accepts: %v", err)
	case err != nil:
		return
	}
	if d := differ(reflect.ValueOf(ours).Elem(), reflect.ValueOf(theirs).Elem()); d != "" {
		t.Fatalf("the values differ: %T%s", ours, d)
	}
	want := marshal(t, theirs)
	if got := ours.AppendTo([]byte("head")); string(got) != "head"+string(want) {
		t.Fatalf("encodes as\n%x, protobuf as\n%x", got[4:], want)
	}
	if ours.Size() != len(want) {
		t.Fatalf("Size is %d, it has %d bytes", ours.Size(), len(want))
	}
	if got := message.Marshal(ours); !bytes.Equal(got, want) || cap(got) != len(want) && len(want) > 0 && cap(got) != cap(make([]byte, len(want))) {
		t.Fatalf("Marshal makes %d bytes in %d, AppendTo %d", len(got), cap(got), len(want))
	}
	if err := dirty.Parse(b); err != nil {
		t.Fatalf("a used message does not parse it: %v", err)
	}
	if got := dirty.AppendTo(nil); !bytes.Equal(got, want) {
		t.Fatalf("a used message parses it as\n%x, a new one as\n%x", got, want)
	}
}

// fill gives m random contents: of every field often the values where an encoding
// changes its length.
func fill(rng *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if rng.IntN(3) == 0 {
			continue
		}
		if f.Kind() == protoreflect.MessageKind && (depth == 0 || !f.IsList() && rng.IntN(2) == 0) {
			continue
		}
		if !f.IsList() {
			if f.Kind() == protoreflect.MessageKind {
				fill(rng, m.Mutable(f).Message(), depth-1)
			} else {
				m.Set(f, scalar(rng, f))
			}
			continue
		}
		list := m.Mutable(f).List()
		n := rng.IntN(4)
		if f.Kind() != protoreflect.MessageKind && rng.IntN(10) == 0 {
			n = 150 // a packed length of two bytes
		}
		for range n {
			if f.Kind() == protoreflect.MessageKind {
				fill(rng, list.AppendMutable().Message(), depth-1)
			} else {
				list.Append(scalar(rng, f))
			}
		}
	}
}

func scalar(rng *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	v := rng.Uint64() >> rng.IntN(64)
	switch rng.IntN(4) {
	case 0:
		v = -v
	case 1:
		v = uint64(rng.IntN(3))
	}
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(v&1 == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(v))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(v))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(v))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(v))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(v)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32([]float32{0, float32(math.Copysign(0, -1)), 1.5, float32(math.Inf(1)), float32(v)}[rng.IntN(5)])
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64([]float64{0, math.Copysign(0, -1), -1.5, math.Inf(-1), float64(v)}[rng.IntN(5)])
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.Repeat("ö", int(v%100)))
	default:
		b := make([]byte, v%17)
		for i := range b {
			b[i] = byte(rng.IntN(256) * rng.IntN(2)) // leading zeros, too
		}
		return protoreflect.ValueOfBytes(b)
	}
}

func TestAgreesWithProtobuf(t *testing.T) {
	for _, p := range pairs {
		t.Run(fmt.Sprintf("%T", p.ours()), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			dirty := p.ours()
			for range 300 {
				theirs := p.theirs()
				fill(rng, theirs.ProtoReflect(), 3)
				agree(t, marshal(t, theirs), p.ours(), dirty, p.theirs())
			}
		})
	}
}

// FuzzParse holds every type to protobuf: the same bytes accepted, the same
// values, the same bytes out.
func FuzzParse(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i, p := range pairs {
		for range 3 {
			m := p.theirs()
			fill(rng, m.ProtoReflect(), 2)
			f.Add(uint8(i), marshal(f, m), []byte{0x0a, 0})
		}
	}
	for _, b := range malformed {
		f.Add(uint8(0), []byte(b), []byte{8, 1})
	}
	f.Fuzz(func(t *testing.T, which uint8, b, before []byte) {
		p := pairs[int(which)%len(pairs)]
		dirty := p.ours()
		dirty.Parse(before) // whatever it makes of that
		agree(t, b, p.ours(), dirty, p.theirs())
	})
}

// malformed is what every message refuses.
var malformed = map[string]string{
	"tag cut off":                   "\x80",
	"field number 0":                "\x00\x00",
	"field number too large":        "\x80\x80\x80\x80\x10\x00",
	"unknown field cut off":         "\xc0\xbb\x78",
	"unknown length too large":      "\xc2\xbb\x78\xff\xff\xff\xff\x0f",
	"wire type 6":                   "\xc6\xbb\x78\x00",
	"wire type 7":                   "\xc7\xbb\x78\x00",
	"group without end":             "\xc3\xbb\x78\x08\x01",
	"end of a group without begin":  "\xc4\xbb\x78",
	"varint of more than ten bytes": "\xc0\xbb\x78\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
	"varint above 64 bits":          "\xc0\xbb\x78\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
}

func TestMalformed(t *testing.T) {
	for name, b := range malformed {
		for _, p := range pairs {
			ours := p.ours()
			if err := ours.Parse([]byte(b)); !errors.Is(err, message.ErrMalformed) {
				t.Errorf("%s: %T: error is %v", name, ours, err)
			}
			if unmarshal([]byte(b), p.theirs()) == nil {
				t.Errorf("%s: protobuf accepts it", name)
			}
		}
	}
}
