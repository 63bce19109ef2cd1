// Package monitor is the Monitor: the Component that watches its engine, its process
// and its machine, raises alarms, and tells whoever asks how this SFU is doing. Every
// SFU runs one.
//
// # What it looks at
//
//	each second     the engine's progress, whether this process ran, mailboxes
//	each 5 s        the process, the networks, the replica, the gateway
//	each 10 s       the machine: processors, memory, disks, temperatures, clock
//
// The machine is looked at by one of its SFUs: the one whose Monitor has the machine's
// watch (Config.Watch). When somebody asks for the status, what is older than half a
// second is looked at anew, so that a live view is live and an idle SFU sleeps.
//
// # The parts
//
//	judge      when alarms are raised and end: a state machine without I/O
//	hardware   reads the machine
//	metrics    the figures for Prometheus
//	Book       remembers alarms, and who looks after them, across restarts; with it,
//	           what was told by mail, so that an alarm is one letter when it is raised
//	           and one when it ends
//	mail       hands letters to a mail server
//
// What each alarm means stands in rrts/engine/alarm. Many are raised by others: the
// Cluster Connector tells of networks and peers, txn of leader, journal and disk.
package monitor
