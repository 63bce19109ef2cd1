// Package sealed is what a client and the login service say to each other through a
// gateway that must not read it: login names and passwords, sealed with HPKE (RFC
// 9180) to keys that one login service made and nobody else has.
//
// It stands below rrts/message because the SDK and the login Component both need it,
// and Components and clients meet in messages only.
//
// # Who knows which key
//
// Every login service makes its own login schema: fresh keys in several suites, under
// an epoch that rises. The private keys are in the memory of the process that made
// them and nowhere else: not in the log, on no disk, and not with the other login
// services, so that there is nothing to share and nobody to share it with. What is
// sealed under a schema can be read by the SFU that is named in it; a gateway takes it
// there.
//
//	client                     gateway (SFU 2)             login service (SFU 1)
//	  │                          │                             │ makes keys, keeps the
//	  │── Schema ───────────────▶│────────── any SFU ─────────▶│ private ones in memory
//	  │◀─ schema of SFU 1 ───────│◀────────────────────────────│ signed: only login
//	  │ checks the signature     │                             │ services have that key
//	  │ seals name, password     │                             │
//	  │── SealedRequest ────────▶│ adds the TLS binding and    │
//	  │   (sfu 1, epoch, suite)  │ the client's address ──────▶│ opens, spends the nonce,
//	  │◀─ session token ─────────│◀────────────────────────────│ checks the password
//	  │   or a newer schema:     │                             │
//	  │   sealed again under it  │                             │
//
// A hostile gateway could hand out a schema of its own and read what is sealed to it.
// So schemas are signed with a key that login services derive from the pepper, which
// gateways without a login service do not have; its public half stands in
// client-kit.toml. A gateway in the same SFU as the login service that made the schema
// shares its memory: against that one this protects nothing.
//
// # The schema
//
// Numbers are big-endian. Fixed: another layout has another first byte.
//
//	 0      1            17      19       27  28
//	+------+------------+-------+--------+---+----------+-- … --+---------------+
//	| 0x01 | cluster id | sfu   | epoch  | n | suite 1  |       | signature, 64 |
//	|      | 16 bytes   | u16   | u64 ms | u8|          |       | Ed25519       |
//	+------+------------+-------+--------+---+----------+-- … --+---------------+
//
//	suite: | KEM u16 | KDF u16 | AEAD u16 | key length u16 | public key |
//
// The epoch is when the schema was made, in milliseconds since 1970, and greater than
// that of every schema before. KEM, KDF and AEAD are the numbers of HPKE's registry,
// the public key is in the KEM's own encoding; what stands first is preferred, and a
// client takes the first suite that it knows. The signature is of
//
//	"rrts login schema 1" 0x00, and all of the schema before the signature
//
// # What is sealed
//
// HPKE in base mode, one message:
//
//	info = "rrts sealed login 1" 0x00 | method u16 | SHA-256 of the whole schema
//	aad  = the binding: 32 bytes of the TLS 1.3 exporter with the label
//	       "EXPORTER-rrts-login" and no context; empty at a Unix socket
//	text = length u16 | the encoded message | zeros up to a multiple of 256 bytes
//
// so that it opens for one method, under one schema, from one TLS session, and its
// length does not tell that of the password.
package sealed
