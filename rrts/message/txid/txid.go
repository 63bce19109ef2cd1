// Package txid makes ids out of a transaction's id, the same for the client who
// submits the transaction and for the cluster that executes it.
package txid

import (
	"crypto/sha256"
	"encoding/binary"

	"virtualservicesinc.com/rrts/message/u128"
)

// Transfer returns the id of the transfer with the given place, counted from 0,
// in a transaction that leaves the ids of its transfers out.
//
// It is a UUIDv8 (RFC 9562) as a big-endian number. The time stays in front, so that
// ids sort, and are looked for, by time; a digest makes the rest:
//
//	 0  48 bits  milliseconds since 1970, of the transaction's id
//	48   4 bits  8, the version
//	52  12 bits  of SHA-256(transaction id, 16 bytes ‖ place, 4 bytes, big-endian)
//	64   2 bits  2, the variant
//	66  62 bits  of the digest
func Transfer(transaction u128.Int, place uint32) u128.Int {
	b := transaction.AppendKey(make([]byte, 0, u128.Size+4))
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(b, place))
	const time, version, variant = ^uint64(1<<16 - 1), 8 << 12, 1 << 63
	return u128.Int{
		Hi: transaction.Hi&time | version | binary.BigEndian.Uint64(sum[:8])>>52,
		Lo: variant | binary.BigEndian.Uint64(sum[8:16])>>2,
	}
}
