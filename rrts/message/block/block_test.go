package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// limit is what the tests take.
const limit = 1 << 20

// payments is a record with as many payments by as many clients, as a gateway sends them.
func payments(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	batch := new(txnpb.SubmitBatch)
	for range n {
		tx := txnpb.Transaction{Id: id(rng), Transfers: []ledgerpb.Transfer{{Id: id(rng), DebitAccountId: u128.From64(rng.Uint64N(1 << 14)),
			CreditAccountId: u128.From64(rng.Uint64N(1 << 14)), Amount: u128.From64(1 + rng.Uint64N(200)), Ledger: 1, Code: 1}}}
		batch.Submissions = append(batch.Submissions, txnpb.Submission{Transaction: message.Marshal(&tx), Principal: 1 + rng.Uint64N(64), Role: 1, RemainingMillis: 10000})
	}
	e := message.Envelope{Kind: message.KindRequest, Service: txnpb.TxnService, Method: txnpb.TxnSubmitMethod, Call: 77, From: 1, To: 2, Body: message.Marshal(batch)}
	return e.AppendTo(nil)
}

// id is a UUIDv7 of one millisecond.
func id(rng *rand.Rand) u128.Int {
	return u128.Int{Hi: 0x01a2_1f04_8d1e_7000 | rng.Uint64N(1<<12), Lo: rng.Uint64()}
}

// unpack opens what Make made.
func unpack(t testing.TB, small []byte) []byte {
	t.Helper()
	var e message.Envelope
	if err := e.Parse(small); err != nil || e.Kind != message.KindBlock {
		t.Fatal(e, err)
	}
	if n := e.HeaderSize(len(e.Body)); n > headRoom {
		t.Fatalf("a header of %d bytes", n)
	}
	record, err := Open(e.Body, limit)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// TestRecords: records of every length come back as they were, in the same memory or not,
// and are shorter by what the package comment says.
func TestRecords(t *testing.T) {
	var buf []byte
	for _, n := range []int{50, 100, 1000, 8000} {
		record := payments(n)
		small, ok := Make(&buf, record)
		if !ok || !bytes.Equal(unpack(t, small), record) {
			t.Fatalf("%d payments: %v, or they did not come back", n, ok)
		}
		if share := float64(len(small)) / float64(len(record)); share > 0.7 {
			t.Errorf("%d payments, %d bytes: %.0f %% are left", n, len(record), 100*share)
		}
	}
	for n := From; n < From+600; n++ { // the header's length changes on the way
		record := bytes.Repeat([]byte("0123456789abcdef"), n)[:n]
		if small, ok := Make(new([]byte), record); !ok || !bytes.Equal(unpack(t, small), record) {
			t.Fatalf("%d bytes: %v, or they did not come back", n, ok)
		}
	}
}

// TestStored: what is short, and what does not get shorter, is left alone.
func TestStored(t *testing.T) {
	if _, ok := Make(new([]byte), make([]byte, From-1)); ok {
		t.Error("a short record was made a block")
	}
	noise := make([]byte, 64<<10)
	rng := rand.NewChaCha8([32]byte{})
	rng.Read(noise)
	var buf []byte
	_, ok := Make(&buf, noise)
	if ok {
		t.Error("noise got shorter")
	}
	record := payments(500)
	if n := testing.AllocsPerRun(100, func() { _, ok = Make(&buf, record) }); n > 0 || !ok {
		t.Errorf("%v allocations for each record, %v", n, ok)
	}
}

// TestMalformed: what Make cannot have made is refused, before it takes memory.
func TestMalformed(t *testing.T) {
	small, _ := Make(new([]byte), payments(100))
	var e message.Envelope
	if err := e.Parse(small); err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{
		"nothing":          nil,
		"an empty record":  {0},
		"a long record":    append(binary.AppendUvarint(nil, limit+1), e.Body[2:]...),
		"a huge record":    append(binary.AppendUvarint(nil, 1<<40), e.Body[2:]...),
		"an endless one":   bytes.Repeat([]byte{0xff}, 20),
		"half a block":     e.Body[:len(e.Body)/2],
		"more than it is":  append(bytes.Clone(e.Body), 0),
		"a false distance": {8, 0xfd, 0xff, 0xff},
	}
	for name, body := range bad {
		if _, err := Open(body, limit); !errors.Is(err, ErrBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
	huge := bad["a huge record"]
	if n := testing.AllocsPerRun(10, func() { Open(huge, limit) }); n > 5 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzOpen: no body of a block does harm, and what opens is not longer than the limit.
func FuzzOpen(f *testing.F) {
	for _, n := range []int{50, 500} {
		small, _ := Make(new([]byte), payments(n))
		var e message.Envelope
		if err := e.Parse(small); err != nil {
			f.Fatal(err)
		}
		f.Add(e.Body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		record, err := Open(body, limit)
		if err != nil && !errors.Is(err, ErrBlock) || len(record) > limit {
			t.Fatal(len(record), err)
		}
	})
}

func BenchmarkMake(b *testing.B) {
	record := payments(500)
	var buf, small []byte
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		small, _ = Make(&buf, record)
	}
	b.ReportMetric(100*float64(len(small))/float64(len(record)), "%left")
}

func BenchmarkOpen(b *testing.B) {
	record := payments(500)
	small, _ := Make(new([]byte), record)
	var e message.Envelope
	if err := e.Parse(small); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(e.Body, limit); err != nil {
			b.Fatal(err)
		}
	}
}
