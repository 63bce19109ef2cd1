// Package sysd is what a daemon and systemd say to each other.
//
//   - Notifier tells the service manager READY, STATUS, RELOADING, STOPPING and
//     EXTEND_TIMEOUT, and pets its watchdog from real progress only.
//   - NewLogger logs to the journal with fields when stderr is the journal's, and
//     as plain lines otherwise.
//   - Sockets listens, and has systemd hold the sockets while the service is started
//     again.
//   - CredentialsDirectory says where the unit's credentials are.
//
// Without systemd everything works and the first two do less: a program that runs
// under it needs no second way for a terminal.
package sysd

import "os"

// CredentialsDirectory returns the directory in which systemd put the credentials
// of the unit, or "" when there are none.
func CredentialsDirectory() string { return os.Getenv("CREDENTIALS_DIRECTORY") }
