// Package connector is the Cluster Connector: the Component that joins the engines
// of a cluster over the interconnect. It is the one place where rrts/engine and
// net/fabric meet.
//
//	e.Add(func() (engine.Component, error) {
//		return connector.New(connector.Config{Session: …, Peers: peers, Open: openLinks})
//	})
//
// It is added first, so that it is the last to stop. What it does, it does as the
// engine's Transport and through the engine's Inlet; of services it answers one,
// RosterKeeper: the others tell it who is in the cluster. Records
// of the interconnect are encoded Envelopes; the four lanes of messages are the
// four lanes of the interconnect.
//
// What the interconnect tells of peers and networks becomes alarms:
//
//	network-a-down, network-b-down       this SFU's link to the network is down
//	network-a-down@N, network-b-down@N   SFU N is heard on the other network only
//	network-not-redundant                fewer than two networks are usable here
//	network-cross-wired@N                frames of one network come from SFU N on the other
//	network-buffers-small@PORT           socket buffers are smaller than asked for
//	peer-lost@N                          SFU N went silent, or was never heard
//
// A peer that says goodbye is not lost but stopped; that is no alarm.
//
// Records are not compressed, on any lane, because it does not pay. Measured on the records
// of three SFUs under load: those of the control lane have 36 bytes and do not get smaller;
// appends and requests of one transaction get 40 % smaller for 13 to 16 µs, many times what
// it costs to seal and send them on both networks; batches of 45 kB get half as long in 220 µs,
// and 40 µs to open them, which is more time than they save on a wire of 1 Gbit/s, and twice
// the processor time of sending them whole.
package connector
