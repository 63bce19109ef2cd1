// Package watchdog guards a machine against what software cannot cure: an engine
// that can be neither killed nor restarted, and a machine that stands still.
//
// It is the last of three steps, each for what the one before could not cure:
//
//	Component hangs or panics   the engine restarts the Component
//	engine hangs (10 s)         systemd restarts the engine (WatchdogSec)
//	engine cannot be killed,    nobody feeds the hardware any more, and it resets
//	or machine stalls (60 s)    the machine
//
// The decisions are state machines without I/O. [Feeder] is shown at every step what
// systemd last said of the engines, and answers whether to feed the hardware and what
// to write to the journal. [Record] says of a boot whether the one before it was ended
// by the watchdog, and stays off after three such within an hour: a machine that resets
// in circles helps nobody.
//
// Around them [Guard] runs the steps. [Hardware] is /dev/watchdogN: from Open on the
// machine lives only as long as Keepalive is called, until Disarm. Where systemd holds
// the hardware (RuntimeWatchdogSec) it is not opened; [Chain] has systemd reset the
// machine, and the hardware resets it when systemd cannot. [Systemd] asks the service
// manager, and /proc, how the engines are.
//
// What must outlive a reset, and what the operator ordered, are files below [StateDir]:
//
//	order.json    written by `rrts watchdog arm`, removed by disarm; read by the guard
//	record.json   written by the guard alone: the boot in which it is armed, the resets
//
// and what the guard does now stands in status.json below [RunDir].
//
// Nothing that the guard waits for may stand still with the disk or with systemd: it is
// locked in memory, asks and writes on goroutines of their own, and each wait of the
// loop that feeds has a bound.
package watchdog
