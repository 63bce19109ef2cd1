package testpb

import (
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	googlekinds "virtualservicesinc.com/rrts/cmd/rrtsgen/internal/testpb/googlepb/kindspb"
	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/testpb/kindspb"
	"virtualservicesinc.com/rrts/message"
)

// benchmarks are messages of the shapes that the cluster carries.
var benchmarks = []struct {
	name   string
	ours   message.Message
	theirs proto.Message
	wire   []byte
}{
	{"transfer", new(kindspb.Transfer), new(googlekinds.Transfer), transferWire},
	{"batch-100", new(kindspb.Batch), new(googlekinds.Batch), batchWire(100)},
	{"scalars", new(kindspb.Scalars), new(googlekinds.Scalars), scalarsWire()},
	{"strings", new(kindspb.Bytes), new(googlekinds.Bytes), (&kindspb.Bytes{S: "a public name", B: make([]byte, 200)}).AppendTo(nil)},
	{"packed-1000", new(kindspb.Repeated), new(googlekinds.Repeated), packedWire(1000)},
}

// transferWire is a payment of 123.45 between two accounts.
var transferWire = transfer(1).AppendTo(nil)

func transfer(n uint64) *kindspb.Transfer {
	t := &kindspb.Transfer{UserData64: 7, Ledger: 1, Code: 10}
	t.Id.Hi, t.Id.Lo = 0x0198c0de<<32|n, 0x8123456789abcdef+n
	t.DebitAccountId.Lo, t.CreditAccountId.Lo, t.Amount.Lo = 1000+n, 2000+n, 12345
	return t
}

func batchWire(n int) []byte {
	var b kindspb.Batch
	for i := range n {
		b.Transfers = append(b.Transfers, *transfer(uint64(i)))
	}
	return b.AppendTo(nil)
}

func scalarsWire() []byte {
	m := &kindspb.Scalars{B: true, I32: 1, I64: -1, U32: 300, U64: 1 << 40, S32: -5, S64: 1 << 20, F32: 1, F64: 2, Sf32: -3, Sf64: -4,
		Fl: 1.5, D: 2.5, Mood: kindspb.MoodGlad, Color: 1, U64Far: 9, Last: 1}
	return m.AppendTo(nil)
}

func packedWire(n int) []byte {
	rng := rand.New(rand.NewPCG(5, 6))
	m := new(kindspb.Repeated)
	for range n {
		m.U64 = append(m.U64, rng.Uint64()>>rng.IntN(64))
	}
	return m.AppendTo(nil)
}

// BenchmarkCodec compares with google.golang.org/protobuf's generated code: encode
// into a buffer that is there, decode into a message that is reused; and with a new
// buffer or message each time. Both take turns in short rounds and the fastest
// round of each counts, so that what else the machine does touches both alike.
func BenchmarkCodec(b *testing.B) {
	for _, c := range benchmarks {
		for _, op := range operations(c.ours, c.theirs, c.wire) {
			b.Run(c.name+"/"+op.name, func(b *testing.B) {
				ours, theirs := time.Duration(1<<62), time.Duration(1<<62)
				for b.Loop() {
					ours = min(ours, round(b, op.ours))
					theirs = min(theirs, round(b, op.theirs))
				}
				b.ReportMetric(float64(ours)/perRound, "ns/ours")
				b.ReportMetric(float64(theirs)/perRound, "ns/protobuf")
				b.ReportMetric(float64(theirs)/float64(ours), "ratio")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// perRound is how many operations a round has: some microseconds, too short for
// most interruptions.
const perRound = 100

func round(b *testing.B, f func() error) time.Duration {
	start := time.Now()
	for range perRound {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

type operation struct {
	name         string
	ours, theirs func() error
}

func operations(ours message.Message, theirs proto.Message, wire []byte) []operation {
	var a, b []byte
	if err := ours.Parse(wire); err != nil {
		panic(err)
	}
	if err := proto.Unmarshal(wire, theirs); err != nil {
		panic(err)
	}
	ours2 := newLike(ours)
	theirs2 := theirs.ProtoReflect().New().Interface()
	return []operation{
		{"encode", func() error { a = ours.AppendTo(a[:0]); return nil },
			func() (err error) { b, err = proto.MarshalOptions{}.MarshalAppend(b[:0], theirs); return err }},
		{"encode-new", func() error { message.Marshal(ours); return nil },
			func() error { _, err := proto.Marshal(theirs); return err }},
		{"decode", func() error { return ours2.Parse(wire) },
			func() error { return proto.Unmarshal(wire, theirs2) }},
		{"decode-new", func() error { return newLike(ours).Parse(wire) },
			func() error { return proto.Unmarshal(wire, theirs.ProtoReflect().New().Interface()) }},
	}
}

func newLike(m message.Message) message.Message {
	switch m.(type) {
	case *kindspb.Transfer:
		return new(kindspb.Transfer)
	case *kindspb.Batch:
		return new(kindspb.Batch)
	case *kindspb.Scalars:
		return new(kindspb.Scalars)
	case *kindspb.Bytes:
		return new(kindspb.Bytes)
	default:
		return new(kindspb.Repeated)
	}
}
