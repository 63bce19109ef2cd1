package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/rrts/cmd/internal/codecpb"
	googlekinds "virtualservicesinc.com/rrts/cmd/internal/codecpb/googlepb/kindspb"
	"virtualservicesinc.com/rrts/cmd/internal/codecpb/kindspb"
	"virtualservicesinc.com/rrts/message"
)

// perRound is how many operations a round has: some microseconds, too short for most
// interruptions.
const perRound = 100

// CodecResult is one operation on one message, in its JSON form: the time that generated
// code takes for it, and that of google.golang.org/protobuf's generated code.
type CodecResult struct {
	Message        string  `json:"message"`
	Bytes          int     `json:"bytes"`
	Operation      string  `json:"operation"`
	OursNs         float64 `json:"ours_ns"`
	ProtobufNs     float64 `json:"protobuf_ns"`
	Ratio          float64 `json:"ratio"`
	OursAllocs     float64 `json:"ours_allocs"`
	ProtobufAllocs float64 `json:"protobuf_allocs"`
}

// codecCase is a message of a shape that the cluster carries.
type codecCase struct {
	name   string
	ours   func() message.Message
	theirs func() proto.Message
	wire   []byte
}

func codecCases() []codecCase {
	return []codecCase{
		{"transfer", func() message.Message { return new(kindspb.Transfer) }, func() proto.Message { return new(googlekinds.Transfer) }, codecpb.Transfer(1).AppendTo(nil)},
		{"batch-100", func() message.Message { return new(kindspb.Batch) }, func() proto.Message { return new(googlekinds.Batch) }, codecpb.Batch(100).AppendTo(nil)},
		{"scalars", func() message.Message { return new(kindspb.Scalars) }, func() proto.Message { return new(googlekinds.Scalars) }, codecpb.Scalars().AppendTo(nil)},
		{"strings", func() message.Message { return new(kindspb.Bytes) }, func() proto.Message { return new(googlekinds.Bytes) },
			codecpb.Strings().AppendTo(nil)},
		{"packed-1000", func() message.Message { return new(kindspb.Repeated) }, func() proto.Message { return new(googlekinds.Repeated) }, codecpb.Packed(1000).AppendTo(nil)},
	}
}

// operation is what is measured, by both.
type operation struct {
	name         string
	ours, theirs func() error
}

// operations are encoding into a buffer that is there, and decoding into a message that is
// used again; and both with a new buffer or message each time.
func (c *codecCase) operations() ([]operation, error) {
	ours, theirs, again, theirsAgain := c.ours(), c.theirs(), c.ours(), c.theirs()
	if err := ours.Parse(c.wire); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(c.wire, theirs); err != nil {
		return nil, err
	}
	var a, b []byte
	return []operation{
		{"encode", func() error { a = ours.AppendTo(a[:0]); return nil },
			func() (err error) { b, err = proto.MarshalOptions{}.MarshalAppend(b[:0], theirs); return err }},
		{"encode-new", func() error { message.Marshal(ours); return nil },
			func() error { _, err := proto.Marshal(theirs); return err }},
		{"decode", func() error { return again.Parse(c.wire) },
			func() error { return proto.Unmarshal(c.wire, theirsAgain) }},
		{"decode-new", func() error { return c.ours().Parse(c.wire) },
			func() error { return proto.Unmarshal(c.wire, c.theirs()) }},
	}, nil
}

// Codec compares the generated code with google.golang.org/protobuf's, each operation for
// so long. Both take turns in short rounds and the fastest round of each counts, so that
// what else the machine does touches both alike.
func Codec(ctx context.Context, each time.Duration, progress func(format string, a ...any)) ([]CodecResult, error) {
	var all []CodecResult
	for _, c := range codecCases() {
		operations, err := c.operations()
		if err != nil {
			return nil, fmt.Errorf("bench: %s: %w", c.name, err)
		}
		for _, op := range operations {
			progress("%s %s", op.name, c.name)
			r := CodecResult{Message: c.name, Bytes: len(c.wire), Operation: op.name}
			ours, theirs := time.Duration(1<<62), time.Duration(1<<62)
			for end := time.Now().Add(each); time.Now().Before(end); {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				ours, theirs = min(ours, oneRound(op.ours)), min(theirs, oneRound(op.theirs))
			}
			r.OursNs, r.ProtobufNs = round(float64(ours.Nanoseconds())/perRound), round(float64(theirs.Nanoseconds())/perRound)
			r.Ratio = round(r.ProtobufNs / r.OursNs)
			r.OursAllocs, r.ProtobufAllocs = allocations(op.ours), allocations(op.theirs)
			all = append(all, r)
		}
	}
	progress("")
	return all, nil
}

// oneRound is how long perRound calls of f take. None of them fails: what they are given
// was read before.
func oneRound(f func() error) time.Duration {
	start := time.Now()
	for range perRound {
		_ = f()
	}
	return time.Since(start)
}

// allocations is how many a call of f makes, on average.
func allocations(f func() error) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range perRound {
		_ = f()
	}
	runtime.ReadMemStats(&after)
	return float64((after.Mallocs - before.Mallocs) / perRound)
}
