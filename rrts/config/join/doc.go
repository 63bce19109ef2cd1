// Package join brings a new machine into a cluster over TCP.
//
// A machine that holds the master keys waits for it (Host.Serve), the new machine
// connects (Join). What an operator carries from one to the other is one line with
// a Secret, which is good for one machine and for a while. Everything is encrypted
// and authenticated by Noise NNpsk0 (25519, ChaChaPoly, BLAKE2s) with the Secret as
// the pre-shared key and "RRTS join 1" as the prologue: who does not have the line
// can neither read nor answer. Private keys stay where they were made; the new
// machine sends public ones.
//
//	new machine (guest)                        machine with the master keys (host)
//	-> psk, e                                  proves that the guest has the line
//	<- e, ee                                   … and that the host has it
//	<- Offer      the cluster, the SFU's name and type
//	-> Request    public keys, addresses
//	<- Grant      configuration, certificate, shared keys; or why not
//	-> Done       it is on the guest's disk
//
// On the wire each message is its length in two bytes, big-endian, and the message,
// at most 65,535 bytes. After the handshake a message holds a part of a record: one
// byte, 1 when more parts follow and 0 at the last, then at most 65,518 bytes of it.
// A record is at most MaxRecord bytes; it is JSON.
//
// Session is the protocol as a state machine without I/O; Host and Join give it a
// connection and the time limits.
package join
