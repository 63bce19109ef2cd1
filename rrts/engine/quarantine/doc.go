// Package quarantine keeps requests that crashed their Component too often.
//
// A request is known by its content: [ID] is a digest of service, method,
// principal and body, so that the same request is recognised when its caller sends
// it again, through another SFU too. [Suspects] counts the crashes in which a
// request took part. One that was in [Limit] of them becomes a [Record] in a
// [Store], where it stays until the operator lets it be tried again or discards it.
//
// [Dir] is the Store of an SFU: one sealed file for each Record, ID.held:
//
//	magic "RRQ1" | nonce (12 bytes) | AES-256-GCM(Record, with magic and ID authenticated)
//
// and a Record is
//
//	time (8) | crashes (2) | n (2) | component (n) | m (2) | reason (m) | Envelope
//
// with big-endian numbers; the time is nanoseconds since 1970. The magic changes
// when the format does; what this version wrote stays readable.
package quarantine
