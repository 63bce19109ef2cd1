// Package message is what every message of RRTS has in common: the Envelope that
// carries it, the codec that generated code calls, the descriptors by which
// engines route, and the text by which a message may reach a log.
//
// Messages are described in .proto files (rrts/schema); rrtsgen makes their Go
// types. A program sends one so:
//
//	txn := txnpb.TxnClient{Caller: caller}
//	outcome, err := txn.Status(ctx, &txnpb.StatusRequest{Id: id})
//
// and a Component answers it by implementing txnpb.TxnHandler and giving its
// requests to txnpb.ServeTxn.
//
// # Wire format
//
// Bytes are standard protobuf, so every language's protobuf can talk to RRTS. A
// message is a sequence of fields, each a tag and a value:
//
//	tag    varint: field number << 3 | wire type
//	value  wire type 0: varint, 1 to 10 bytes of 7 bits, low ones first, the high
//	                    bit set in all but the last
//	       wire type 1: 8 bytes, little-endian
//	       wire type 2: varint length, then that many bytes: a string, bytes, a
//	                    message, or all elements of a repeated number
//	       wire type 5: 4 bytes, little-endian
//
// This package writes fields in the order of their numbers and leaves out zero
// values, byte for byte like google.golang.org/protobuf with Deterministic set. It
// reads fields in any order; the last of a number counts, messages merge, unknown
// fields are skipped. On top of protobuf it has 128-bit integers (package u128) as
// bytes fields. Of protobuf it has no groups (those it meets are skipped), maps,
// oneofs and extensions.
//
// # Envelope
//
// An Envelope is itself such a message (envelope.proto). Every tag takes one byte
// and the body comes last, so that a header can be written in front of a body that
// lies elsewhere:
//
//	08 kind       10 service    18 method     20 call       28 remaining_millis
//	30 code       3a detail     42 trace(16)  48 from       50 to
//	58 epoch      60 group      68 principal  70 role       7a length body…
//
// A request of a client, 14 bytes around its body (call 300, 5 s left):
//
//	08 01 | 10 05 | 18 05 | 20 ac 02 | 28 88 27 | 7a 40 | … 64 bytes
//	kind    service method  call       remaining  body
//
// # Promises
//
// Parse never panics, never reads beyond its input, nests at most MaxDepth deep
// and allocates no more than the input accounts for: a slice is made as long as the
// elements that were counted in the input, and (rrts.max_items) bounds what an
// element costs beyond its bytes. Every Parse error is ErrMalformed. Encoding and
// parsing a message of numbers allocates nothing; fields of type []byte alias the
// input and are good as long as it is, strings are copies.
//
// The text of a message names sensitive fields without their values, whichever way
// a logger takes to it.
package message
