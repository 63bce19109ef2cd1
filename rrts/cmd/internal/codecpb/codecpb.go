// Package codecpb has messages with every kind of field (kindspb, sharedpb, barepb), the
// code that protoc-gen-go makes of them (googlepb), to compare with, and samples of the
// shapes that the cluster carries. The tests of rrtsgen and `rrts bench codec` use it.
package codecpb

import (
	"math/rand/v2"

	"virtualservicesinc.com/rrts/cmd/internal/codecpb/kindspb"
)

// Transfer is a payment of 123.45 between two accounts, the n-th of its kind.
func Transfer(n uint64) *kindspb.Transfer {
	t := &kindspb.Transfer{UserData64: 7, Ledger: 1, Code: 10}
	t.Id.Hi, t.Id.Lo = 0x0198c0de<<32|n, 0x8123456789abcdef+n
	t.DebitAccountId.Lo, t.CreditAccountId.Lo, t.Amount.Lo = 1000+n, 2000+n, 12345
	return t
}

// Batch is n payments.
func Batch(n int) *kindspb.Batch {
	b := new(kindspb.Batch)
	for i := range n {
		b.Transfers = append(b.Transfers, *Transfer(uint64(i)))
	}
	return b
}

// Scalars has a field of every scalar type.
func Scalars() *kindspb.Scalars {
	return &kindspb.Scalars{B: true, I32: 1, I64: -1, U32: 300, U64: 1 << 40, S32: -5, S64: 1 << 20, F32: 1, F64: 2, Sf32: -3, Sf64: -4,
		Fl: 1.5, D: 2.5, Mood: kindspb.MoodGlad, Color: 1, U64Far: 9, Last: 1}
}

// Strings has a name and some bytes.
func Strings() *kindspb.Bytes {
	return &kindspb.Bytes{S: "a public name", B: make([]byte, 200)}
}

// Packed is a list of n numbers of every length.
func Packed(n int) *kindspb.Repeated {
	rng := rand.New(rand.NewPCG(5, 6))
	m := new(kindspb.Repeated)
	for range n {
		m.U64 = append(m.U64, rng.Uint64()>>rng.IntN(64))
	}
	return m
}
