// Package session is one peer's end of the interconnect: handshake, keys, loss
// recovery, lanes, redundancy and failure detection. It is a state machine: frames,
// records and the time go in; frames, records and events come out. It opens no
// socket, reads no clock, starts no goroutine and takes no lock.
//
// # Usage
//
// A session belongs to one goroutine, which owns the links and a monotonic clock.
// Its loop, for all of its sessions:
//
//	for {
//		wait until frames arrive, the owner has work, or NextTimeout of a session
//		now = clock
//		for each frame: Responder.Open and Accept, or Receive of the session in the slot
//		for each session whose NextTimeout is due: Advance(now)
//		for each record to send: Send(now, lane, record)
//		for each session that was touched:
//			for Next(now, buf) has a frame: put it into the networks' batches
//			for each lane: hand on what Take returns
//			for each of Events: tell who must know; after an Up, Take again
//		send the batches
//	}
//
// Sessions find each other by themselves: from the first Advance on, a session
// that has no connection sends initiations, and the caller broadcasts them. What the
// peer's frames bear as receiver, wire.Header.SFU and Slot, says which session they
// are for; an initiation does not, and goes through the Responder.
//
// # Promises
//
// Between an Up and its Lost every record that Send took arrives once, unchanged,
// and in order within its lane, whatever the networks do; nothing of one connection
// arrives in another. After Lost nothing more is known of what was on its way. Lost
// comes exactly once after each Up.
//
// Loss of either network loses nothing and delays nothing on the control and
// commit lanes, nor on the request lane while it is not crowded; the bulk lane
// stalls for at most 10 ms. This does not wait for anybody to notice the loss.
//
// A frame that is forged, replayed, truncated or for somebody else changes nothing
// but one counter and costs no allocation. No decision depends on wall time.
//
// # Handshake
//
//	SFU 1 (lower number)                         SFU 2
//	 initiation: e, s, Hello   ───────────────▶  answers; its keys are pending
//	 keys are current, Up      ◀───────────────  response: e, Hello
//	 first data frame          ───────────────▶  keys are current, Up
//
// The initiator knows that the responder is alive from the response, which binds
// its fresh key. The responder knows nothing from the initiation, which may have been
// recorded: until a frame under the new keys has arrived the old ones stay, and so
// do the streams. If both begin at once, the lower number's handshake wins.
//
// A handshake that names the connection it wants to go on with, to a responder that
// still has it, replaces the keys only; packet numbers and streams go on. Any other
// begins a new connection. Whether the peer restarted is told by its incarnation, not
// by the handshake.
//
// # Redundancy and recovery
//
// A data frame is sealed once. Frames of the control and commit lanes leave on both
// networks, always; those of the request lane while both networks have half of
// their window free and little waits; those of the bulk lane on the network with the
// most room, in runs. An ack without data leaves on both, or, when few frames wait for
// it, on each network in turn. That of records of the control lane alone waits up to 50 ms
// for the next of them to ride with. The receiver opens every copy, counts it for its network, and takes
// the first.
//
// A packet is lost on a network when three later packets of that network arrived,
// or when it is older than 9/8 of a round trip and any later packet arrived; it is
// lost when it is lost on all networks that it left on. Its fragments then leave
// under a new packet number, on the other network if they were on one. A packet that
// was taken for lost and arrives after all takes the conclusions back, and makes the
// judgement by age more patient for some seconds. If no ack
// comes at all, the oldest two packets leave again on all networks, after 3 ms at
// least. Retransmissions are a tenth of the traffic at most, beyond a small constant;
// what a dead network lost is not counted. A network that delivers nothing while the
// other does is stale within a few round trips, long before its probes say that it
// is down: data keeps off it until something arrives there.
//
// # Pacing
//
// A [Pacer] is what this process must think of the queue of a NIC: what its sessions have
// given to it, less what a wire of the NIC's speed has carried since. Frames of the request
// and bulk lanes, and those sent again, leave while that is less than a millisecond's worth;
// then they wait in their sessions until there is room for a batch of them (Held). So a
// frame of the control or commit lane, which never waits, finds at most a millisecond of
// theirs before it, to however many peers they go; a NIC refuses nothing because of our own
// bursts; and striping puts bulk on the network whose NIC has room. All is charged, also
// what does not wait: when the higher lanes fill a NIC, the lower ones keep off it.
//
// Where the NIC's speed is not known, or a processor does not fill it ([FastNIC]), nothing
// waits. The congestion windows bound what is under way to each peer besides: they are for
// the switch and the peer, which a NIC's queue says nothing of.
//
// # Failure detection
//
// Each network carries probes of its own, both ways; each probe carries the answer
// to the peer's last one. Any packet that wants an ack stands for the next probe: that it
// arrived there, and that the peer was heard there since, proves as much; a real probe
// still leaves once in 200 ms, or when something stays unanswered. If the probe is due within
// four fifths of its interval the packet stands for it as it leaves, and nobody wakes for it. Probes are due at
// multiples of their interval, and up to two fifths of it earlier when the caller is
// awake anyway (Early): what happens together costs one wake-up. A network is down when its carrier is, or when four
// probes stay unanswered. When it comes back it is held down for a while, longer
// with each failure, which keeps bulk traffic and NetworkUp back; redundant copies
// use it all the time. The peer is suspected, and later lost, when no new authentic
// frame came from it on any network. A session that was not called for longer than
// its probes allow knows that its own process was paused, takes the pause out of the
// peer's silence and stretches its judgement.
package session
