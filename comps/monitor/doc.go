// Package monitor is the Monitor: the Component that watches its engine and its
// process, raises alarms, and tells whoever asks how this SFU is doing. Every SFU
// runs one.
//
// Once a second it takes a sample: the process's memory and processor time from
// /proc, the engine's view of itself, the networks. Requests are answered from the
// last sample; alarms and uptime are those of the moment.
//
// Its own alarms:
//
//	engine-stalled        the engine's loop has made no progress for a while
//	process-paused        this process did not run for a while: the machine is
//	                      overloaded, was suspended, or its virtual machine was
//	mailbox-filling@NAME  requests wait for Component NAME until they will be refused
//	backup-missing        the machine has a target for backups, and no recent one
//	monitor-blind         /proc cannot be read
//
// Each has a level and a time at which it is raised, and a lower level and a longer
// time at which it ends, so that a value at the edge is one alarm.
package monitor
