// Package netbench is `rrts bench net`: what the interconnect reaches between two
// hosts, beside what plain TCP, TLS and a bare packet socket reach there in the same
// run. Both ends are processes of their own, and what is measured is the fabric that
// SFUs use, on packet sockets, encrypted, duplicated where the lane says so.
//
//	host 1                                      host 2
//	rrts bench net --peer …                     rrts bench net --serve …
//	  fabric ── NIC ───────── network A ───────── NIC ── fabric
//	         ── NIC ───────── network B ───────── NIC ──
//	  TCP    ── NIC ───────── 10.77.8.0/30 ────── NIC ── TCP
//
// Without --peer and --serve the hosts are two network namespaces joined by veth
// pairs ([Lab]); with them they are machines, and the same code runs.
//
// The measuring side ([Measure]) rules the serving side ([Serve]) through the
// interconnect itself. Every record begins with a byte that says what it is:
//
//	'd' | number (8) | …   one of a stream: counted and checked, not answered
//	'e' | number (8) | …   comes back as it is, but as an 'r'
//	'q' | JSON             a request; its answer is an 'a' with JSON
package netbench
