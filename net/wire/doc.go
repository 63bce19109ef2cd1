// Package wire lays out the frames of the interconnect: pure encode and decode,
// no keys, no state, no I/O.
//
// Every frame has the same outside. All numbers are big-endian.
//
//	 0        1        2                 4
//	+--------+--------+-----------------+-----------------------------------+
//	| ver|typ| flags  |  frame length   |           cluster hash            |
//	+--------+--------+-----------------+-----------------------------------+
//	 8                 10                12
//	+-----------------+-----------------+-----------------------------------+
//	|  receiver: SFU  |  receiver: slot |           packet number …         |
//	+-----------------+-----------------+-----------------------------------+
//	                                     20
//	+-----------------------------------+-----------------------------------+
//	|        … packet number            |  payload …                        |
//	+-----------------------------------+----------------------+------------+
//	|  … payload                                               |  tag (16)  |
//	+----------------------------------------------------------+------------+
//
//	ver     4 bits  Version
//	typ     4 bits  TypeInitiation, TypeResponse or TypeData
//	flags   bits 0–1: key phase, which of the receiver's keys opens the frame
//	        (in a response: the one it completes); the other bits are zero
//	length  the whole frame, these 20 bytes and the tag included: what follows is
//	        a link's padding (Ethernet pads to 60 bytes) and means nothing
//	cluster the first 32 bits of a hash of the cluster's id: a frame of another
//	        cluster on the same wire is told apart without a key
//	SFU     the receiver's number
//	slot    the receiver's own number for this session; 0 in an initiation, which
//	        is for a receiver that may not know the sender yet
//	number  never repeats under one key, is the AEAD nonce, and keeps counting
//	        over a rekey; a handshake frame bears the attempt's number
//
// The 20 clear bytes are the AEAD's additional data in a data frame, and are
// under the tag's MAC in a handshake frame. There is no network bit: the same
// sealed bytes leave on both networks.
//
// # Handshake frames
//
// The handshake is Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s; its prologue is the
// initiation's 20 clear bytes behind a fixed label. The payload of both messages
// is a Hello. The tag is a BLAKE2s-128 MAC under a key made from the cluster's
// pre-shared key and the receiver's public key, so that whoever does not know
// both costs the receiver one hash and no curve arithmetic.
//
//	initiation  20 header | 32 e | 48 s (sealed) | 48 Hello + 16 (sealed) | 16 MAC
//	response    20 header | 32 e | 48 Hello + 16 (sealed)                 | 16 MAC
//
//	Hello   0  incarnation (8)   the sender's, on its disk before it was used
//	        8  attempt (8)       counts the initiator's handshakes of this incarnation
//	       16  resume (8)        the connection whose streams go on; 0 begins new ones
//	       24  SFU (2)           the sender's number
//	       26  slot (2)          what frames to the sender must bear
//	       28  key phase (1)     what frames to the sender must bear under these keys
//	       29  ciphers (1)       initiation: those offered; response: the one chosen
//	       30  zero (2)
//	       32  credit (4 × 4)    first receive window of lanes 0–3, in bytes
//
// # Data frames
//
// The sealed payload is a sequence of chunks, each one type byte and a body whose
// length follows from the type and its own fields. Types are append-only.
//
//	pad       0 | zeros to the end of the payload
//	fragment  1 | lane (1) | stream position (8) | length (2) | bytes
//	ack       2 | count (1) | A: largest+1 (8), delay µs (4), received (4) | B: the same
//	            | top (8) | length−1 (2) | count−1 × { gap−1 (2), length−1 (2) }
//	credit    3 | lane (1) | stream position (8)
//	floor     4 | packet number (8)
//	probe     5 | network (1) | want (1) | sequence (4) | sent ns (8)
//	reply     6 | network (1) | sequence (4) | sent ns (8) | held ns (8) | wall ns (8) | size (2)
//	close     7 | reason (1)
//
// A fragment is part of its lane's byte stream; the stream is a sequence of
// records, each a 32-bit length and that many bytes, so a record may be longer
// than a frame and a frame may hold many records.
//
// An ack lists the packet numbers received on either network, newest range
// first: top is the highest, then downwards a range of length numbers, a gap of
// numbers not received, and so on. For each network it says the highest number
// received there (plus one; 0 is none), how long ago that was, and how many
// frames were received there since the connection began, modulo 2³².
//
// A credit lets the receiver of the chunk send its stream up to, not including,
// the position. A floor says that the sender no longer waits for any packet
// number below it. A probe measures one network both ways: its reply, with the
// next probe of the other side or at once if wanted, brings back when the probe
// was sent, how long it was held, and the length of the longest probe frame seen.
package wire
