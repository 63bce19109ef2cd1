package testpb

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/cmd/internal/codecpb"
	googlekinds "virtualservicesinc.com/rrts/cmd/internal/codecpb/googlepb/kindspb"
	"virtualservicesinc.com/rrts/cmd/internal/codecpb/kindspb"
	"virtualservicesinc.com/rrts/cmd/internal/codecpb/sharedpb"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
)

func TestAllocations(t *testing.T) {
	var scalars kindspb.Scalars
	scalarBytes := codecpb.Scalars().AppendTo(nil)
	var payment kindspb.Transfer
	var batch kindspb.Batch
	batchBytes := codecpb.Batch(100).AppendTo(nil)
	var packed kindspb.Repeated
	packedBytes := codecpb.Packed(100).AppendTo(nil)
	numbers := kindspb.Repeated{B: []bool{true, false}, S32: []int32{-1}, F64: []uint64{1, 2}, Points: []sharedpb.Point{{X: 1}, {Y: 2}}}
	numberBytes := numbers.AppendTo(nil)
	for _, m := range []struct {
		m message.Message
		b []byte
	}{{&scalars, scalarBytes}, {&payment, codecpb.Transfer(1).AppendTo(nil)}, {&batch, batchBytes}, {&packed, packedBytes}, {&packed, numberBytes}} {
		if err := m.m.Parse(m.b); err != nil { // grows the slices
			t.Fatal(err)
		}
		buf := make([]byte, 0, len(m.b))
		for name, f := range map[string]func(){
			"Parse":    func() { m.m.Parse(m.b) },
			"AppendTo": func() { buf = m.m.AppendTo(buf[:0]) },
			"Size":     func() { m.m.Size() },
		} {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%T: %s allocates %v times", m.m, name, n)
			}
		}
	}
	// Hostile input costs nothing either: errors are constants.
	bad := append([]byte(nil), batchBytes...)
	bad[len(bad)-1] = 0x80
	if n := testing.AllocsPerRun(100, func() {
		if batch.Parse(bad) == nil {
			t.Error("a cut varint is accepted")
		}
	}); n != 0 {
		t.Errorf("refusing allocates %v times", n)
	}
}

// TestJustified: a short input that claims much makes no large allocation.
func TestJustified(t *testing.T) {
	const n = 4096
	empty := strings.Repeat("\x92\x01\x00", n) // 4096 messages of no bytes
	for _, c := range []struct {
		name   string
		b      string
		factor int // bytes of memory per byte of input
		m      func() message.Message
	}{
		{"numbers of one byte", string(append([]byte{0x2a, 0x80, 0x20}, make([]byte, n)...)), 10, func() message.Message { return new(kindspb.Repeated) }},
		{"strings of no bytes", strings.Repeat("\x7a\x00", n), 10, func() message.Message { return new(kindspb.Repeated) }},
		{"messages of no bytes", empty, 600 / 3, func() message.Message { return new(kindspb.Repeated) }},
		{"a length beyond the end", "\x2a\xff\xff\xff\xff\x07\x00", 20, func() message.Message { return new(kindspb.Repeated) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const runs = 20
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range runs {
				c.m().Parse([]byte(c.b))
			}
			runtime.ReadMemStats(&after)
			if got := (after.TotalAlloc - before.TotalAlloc) / runs; got > uint64(c.factor*len(c.b)+2048) {
				t.Errorf("%d bytes of input take %d bytes of memory", len(c.b), got)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	ok := kindspb.Bounded{Numbers: []uint32{1, 2, 3}, Fixed: []uint64{1, 2, 3}, Strings: []string{"a", "b", "c"}, Points: make([]sharedpb.Point, 3)}
	var got kindspb.Bounded
	if err := got.Parse(ok.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*kindspb.Bounded{
		"numbers": {Numbers: make([]uint32, 4)}, "fixed": {Fixed: make([]uint64, 4)},
		"strings": {Strings: make([]string, 4)}, "points": {Points: make([]sharedpb.Point, 4)},
	} {
		err := got.Parse(m.AppendTo(nil))
		if want := "message: malformed: testsite.kinds.Bounded." + name + ": more than 3 items"; err == nil || err.Error() != want {
			t.Errorf("error is %v, want %s", err, want)
		}
		// The bound holds for what comes in pieces, too.
		one := (&kindspb.Bounded{Numbers: m.Numbers[:min(1, len(m.Numbers))], Fixed: m.Fixed[:min(1, len(m.Fixed))],
			Strings: m.Strings[:min(1, len(m.Strings))], Points: m.Points[:min(1, len(m.Points))]}).AppendTo(nil)
		if err := got.Parse([]byte(strings.Repeat(string(one), 3))); err != nil {
			t.Errorf("%s in three pieces: %v", name, err)
		}
		if err := got.Parse([]byte(strings.Repeat(string(one), 4))); !errors.Is(err, message.ErrMalformed) {
			t.Errorf("%s in four pieces: %v", name, err)
		}
	}
	if err := got.Parse([]byte("\x08\x01\x08\x02\x08\x03\x08\x04")); !errors.Is(err, message.ErrMalformed) {
		t.Errorf("four numbers that are not packed: %v", err)
	}
	if err := got.Parse([]byte("\x08\x01\x08\x02\x08\x03")); err != nil {
		t.Errorf("three numbers that are not packed: %v", err)
	}
}

func TestDepth(t *testing.T) {
	deep := func(n int) []byte {
		m := new(kindspb.Bytes)
		for range n - 1 {
			m = &kindspb.Bytes{Self: m}
		}
		return m.AppendTo(nil)
	}
	var m kindspb.Bytes
	if err := m.Parse(deep(message.MaxDepth)); err != nil {
		t.Errorf("%d deep: %v", message.MaxDepth, err)
	}
	if err := unmarshal(deep(message.MaxDepth), new(googlekinds.Bytes)); err != nil {
		t.Errorf("protobuf, %d deep: %v", message.MaxDepth, err)
	}
	err := m.Parse(deep(message.MaxDepth + 1))
	if !errors.Is(err, message.ErrMalformed) || !strings.Contains(err.Error(), "nested too deeply") {
		t.Errorf("%d deep: %v", message.MaxDepth+1, err)
	}
}

// TestReuse: elements beyond the length keep what they had allocated, and nothing
// of what they held.
func TestReuse(t *testing.T) {
	m := kindspb.Repeated{Nested: []kindspb.Repeated{{U64: make([]uint64, 50)}, {S: []string{"old"}}}}
	inner := &m.Nested[0].U64[0]
	m.Reset()
	if len(m.Nested) != 0 || cap(m.Nested) != 2 {
		t.Fatalf("Reset left %d of %d", len(m.Nested), cap(m.Nested))
	}
	b := (&kindspb.Repeated{Nested: []kindspb.Repeated{{U64: []uint64{5}}, {}}}).AppendTo(nil)
	if err := m.Parse(b); err != nil {
		t.Fatal(err)
	}
	if len(m.Nested) != 2 || len(m.Nested[0].U64) != 1 || &m.Nested[0].U64[0] != inner || len(m.Nested[1].S) != 0 {
		t.Errorf("the nested message is %v, and has its slice: %v", m, &m.Nested[0].U64[0] == inner)
	}
}

func TestAliases(t *testing.T) {
	b := (&kindspb.Bytes{S: "text", B: []byte("bytes")}).AppendTo(nil)
	var m kindspb.Bytes
	if err := m.Parse(b); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 'x'
	}
	if m.S != "text" || string(m.B) != "xxxxx" {
		t.Errorf("the string is %q and the bytes %q: strings are copied, bytes alias the input", m.S, m.B)
	}
}

func TestText(t *testing.T) {
	pin := uint64(4711)
	five := u128.From64(5)
	for _, c := range []struct {
		m    fmt.Stringer
		want string
	}{
		{kindspb.Scalars{}, "Scalars{}"},
		{kindspb.Scalars{B: true, I32: -1, Fl: 1.5, Mood: kindspb.MoodVerySad, Color: 77, Last: 3},
			"Scalars{b:true i32:-1 fl:1.5 mood:very_sad color:color_77 last:3}"},
		{kindspb.Bytes{S: "a\nb", B: []byte{1, 2}, Point: &sharedpb.Point{X: -1, Label: "p"}}, `Bytes{s:"a\nb" b:0102 point:Point{x:-1 label:"p"}}`},
		{kindspb.Repeated{Points: make([]sharedpb.Point, 9000), Mood: []kindspb.Mood{1}},
			"Repeated{mood:[glad] points:[Point{} Point{} Point{} Point{} Point{} Point{} Point{} Point{} … 9000 in all]}"},
		{kindspb.Wide{X: five, List: []u128.Int{five}, Maybe: &five}, "Wide{x:5 list:[5] maybe:5}"},
		{kindspb.Names{Size_: 1, Inner: &kindspb.NamesInner{Deep: kindspb.NamesInnerDeepUnprefixed}}, "Names{size:1 inner:NamesInner{deep:unprefixed}}"},
		{kindspb.Login{Name: "bob", Password: "hunter2", Codes: [][]byte{[]byte("hunter2")}, Pin: &pin, Secret: &sharedpb.Secret{Key: "hunter2", Version: 2}},
			`Login{name:"bob" password:[redacted] codes:[redacted] pin:[redacted] secret:Secret{key:[redacted] version:2}}`},
	} {
		if got := c.m.String(); got != c.want {
			t.Errorf("got\n%s, want\n%s", got, c.want)
		}
	}
}

// TestSecretsStaySecret: no usual way to a log prints a sensitive field.
func TestSecretsStaySecret(t *testing.T) {
	const secret = "hunter2"
	pin := uint64(4711471147114711)
	m := kindspb.Login{Name: "bob", Password: secret, Codes: [][]byte{[]byte(secret)}, Pin: &pin,
		Secrets: []sharedpb.Secret{{Key: secret, Salt: []byte(secret)}}}
	var out strings.Builder
	for _, v := range []any{m, &m, []kindspb.Login{m}, map[string]*kindspb.Login{"k": &m}, struct{ M kindspb.Login }{m}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "m", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "m", v)
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(j)
	}
	for _, leak := range []string{secret, fmt.Sprint([]byte(secret)), fmt.Sprintf("%x", secret), fmt.Sprintf("%#v", []byte(secret)), fmt.Sprint(pin), "aHVudGVyMg"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%s is in\n%s", leak, out.String())
		}
	}
	if !strings.Contains(out.String(), "bob") {
		t.Errorf("nothing is printed at all: %s", out.String())
	}
}
