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
// What is compressed on its way, on which lane, is the engine's choice, which knows what
// is sensitive: see rrts/message/block. On the control lane nothing is: its records have 36 bytes.
package connector
