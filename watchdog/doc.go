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
// Open takes the hardware: from then on the machine lives only as long as Keepalive
// is called, until Disarm. Feeder decides, without I/O, whether to feed: it is given
// the engines' progress at every step and says what to do and what to write to the
// journal. MayArm refuses after three resets within an hour: a machine that resets
// in circles helps nobody.
package watchdog
