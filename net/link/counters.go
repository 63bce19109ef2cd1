package link

import "sync/atomic"

// Counters is what a link has done since it was opened. Every number only
// grows.
type Counters struct {
	// SentFrames and SentBytes were handed to the network; ReceivedFrames and
	// ReceivedBytes were handed to the caller. Bytes are those of the frames.
	SentFrames, SentBytes         uint64
	ReceivedFrames, ReceivedBytes uint64
	// SendLost counts frames that Send could not hand over: link down, queue
	// full for too long, frame of a wrong size, nobody at the address.
	SendLost uint64
	// SendRetries counts how often Send waited for room and tried again.
	SendRetries uint64
	// Truncated counts frames dropped because they were longer than the
	// caller's buffer.
	Truncated uint64
	// Foreign counts frames dropped because their source address made no sense.
	Foreign uint64
	// Overrun counts frames that the kernel dropped because its receive buffer
	// was full; where the carrier cannot know, it stays 0.
	Overrun uint64
	// Reopened counts how often the socket was opened anew.
	Reopened uint64
}

// counters is the live form of Counters.
type counters struct {
	sentFrames, sentBytes         atomic.Uint64
	receivedFrames, receivedBytes atomic.Uint64
	sendLost, sendRetries         atomic.Uint64
	truncated, foreign            atomic.Uint64
	overrun, reopened             atomic.Uint64
}

func (c *counters) snapshot() Counters {
	return Counters{
		SentFrames:     c.sentFrames.Load(),
		SentBytes:      c.sentBytes.Load(),
		ReceivedFrames: c.receivedFrames.Load(),
		ReceivedBytes:  c.receivedBytes.Load(),
		SendLost:       c.sendLost.Load(),
		SendRetries:    c.sendRetries.Load(),
		Truncated:      c.truncated.Load(),
		Foreign:        c.foreign.Load(),
		Overrun:        c.overrun.Load(),
		Reopened:       c.reopened.Load(),
	}
}

// received counts what Receive is about to return.
func (c *counters) received(frames []Frame) {
	bytes := 0
	for i := range frames {
		bytes += len(frames[i].Data)
	}
	c.receivedFrames.Add(uint64(len(frames)))
	c.receivedBytes.Add(uint64(bytes))
}
