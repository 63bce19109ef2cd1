// Package link carries sealed frames over one network: one NIC, or what stands
// in for one.
//
// A [Link] moves frames in batches and knows nothing of what is in them. It
// gives no promise but these: a frame arrives whole or not at all, never in two
// parts and never joined to another; it may be lost, doubled, delayed, overtaken
// and, on Ethernet, longer than it was sent (short frames are padded there, so a
// frame carries its own length); Send waits for room for a millisecond at most and
// no longer. Everything else is the session's work.
//
// The carriers:
//
//	OpenPacket    raw Ethernet frames through packet sockets; needs CAP_NET_RAW
//	OpenUnix      Unix datagrams between the SFUs of one machine
//	OpenUDP       UDP, for development, a witness, and where a shop has one NIC
//	NewLateUDP    the same for who has no address of its own
//	NewNetwork    a network in memory with faults at will, for simulation
//
// On Ethernet a frame lies in the packet like this; the first 14 bytes are the
// kernel's work (the socket is SOCK_DGRAM), so the same sealed bytes leave on
// every network without a copy:
//
//	 0       6       12     14
//	+-------+-------+------+----------------------- - - -+-----------+
//	|  dst  |  src  | type | frame, 1 to MTU bytes       | pad to 60 |
//	+-------+-------+------+----------------------- - - -+-----------+
//
// The type is the network's EtherType (0x88B5 and 0x88B6 unless configured).
// UDP and Unix datagrams hold the frame and nothing else.
//
// Addresses ([Addr]) are plain values. Nothing here is authenticated: where a
// frame says it comes from is only a hint until the session has opened it.
package link

import (
	"errors"
	"time"
)

const (
	// BatchSize is the number of frames that one system call moves. 64 full
	// Ethernet frames take about 0.8 ms on a gigabit wire: more would only add
	// delay for whoever waits behind them.
	BatchSize = 64

	// MaxFrame bounds a frame on every carrier: a jumbo Ethernet payload.
	MaxFrame = 9216

	// errorPause is the wait after a socket told an error on receive: one that
	// fails again and again must not burn a core.
	errorPause = time.Millisecond
)

var (
	// ErrDown is returned by Send while the link cannot carry anything: no NIC,
	// no carrier, no socket.
	ErrDown = errors.New("link: down")
	// ErrFull is returned by Send when the queue below stayed full for as long
	// as Send may wait.
	ErrFull = errors.New("link: send queue full")
	// ErrSize is returned by Send for a frame whose length is not 1 to MTU.
	ErrSize = errors.New("link: frame is empty or longer than the MTU")
	// ErrAddr is returned by Send for an address of another kind of link.
	ErrAddr = errors.New("link: address is not of this link")
)

// Frame is one frame and the address it goes to or came from.
type Frame struct {
	Addr Addr
	Data []byte
}

// Link is one network as one SFU sees it.
//
// One goroutine at a time may call Send and one may call Receive; the two may
// run at the same time, and the other methods may be called by anyone.
type Link interface {
	// Send hands frames to the network in order and returns how many it took,
	// with the first error when it did not take all. A frame that it did not
	// take is lost and counted, the frames behind it are still tried: the
	// caller goes on and never sends again by itself. Send keeps no slice.
	//
	// After Close the error is net.ErrClosed.
	Send(frames []Frame) (int, error)

	// Receive blocks until frames arrive and returns how many it stored, at
	// least one and at most BatchSize, in frames[0], frames[1] and so on. Each
	// Data must have the capacity of the longest frame expected; Receive cuts
	// it to the frame's length and may exchange the Data of two entries. A
	// frame that does not fit is dropped and counted.
	//
	// After Close the error is net.ErrClosed, and no other error is returned:
	// a NIC that went away is waited for.
	Receive(frames []Frame) (int, error)

	// Status reports the link's state.
	Status() Status

	// Changed returns a channel that holds one token after the status may have
	// changed. Tokens are not queued: whoever takes one asks Status again.
	Changed() <-chan struct{}

	// Counters reports what has happened since the link was opened.
	Counters() Counters

	// Close ends the link, unblocks Receive, and returns when every goroutine
	// of the link has ended. It may be called again.
	Close() error
}

// Status is the state of a link.
type Status struct {
	// Up says that frames can leave and arrive as far as this side can know.
	Up bool
	// Why says in words why the link is not up; empty when it is.
	Why string
	// Local is the link's own address; the zero Addr while there is none.
	Local Addr
	// MTU is the longest frame in bytes, at most MaxFrame; 0 while unknown.
	MTU int
	// Speed is what the NIC sends, in Mbit/s; 0 while that is not known, and where the
	// carrier has no NIC of its own.
	Speed int
	// ReceiveBuffer and SendBuffer are the socket's buffers in bytes as the
	// kernel granted them; 0 where the carrier has none or cannot ask.
	ReceiveBuffer, SendBuffer int
	// Small names the limit that is lower than asked for and the sysctl that
	// raises it; empty when all is well. It is worth an alarm: bursts are lost.
	Small string
}
