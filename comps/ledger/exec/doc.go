// Package exec runs scripts of JSON lines against a ledger: the exec format of
// `rrts ledger exec`.
//
// One request a line, one answer a line, in order. The package knows the format
// and nothing of where the ledger lives: a Target executes the requests.
package exec
