// Package session is one peer's end of the interconnect: handshake, keys, loss
// recovery, lanes, redundancy and failure detection. It is a state machine: frames,
// records and the time go in; frames, records and events come out. It opens no
// socket, reads no clock and starts no goroutine.
package session
