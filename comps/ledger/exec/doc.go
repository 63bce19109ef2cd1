// Package exec runs scripts of JSON lines against a ledger: the exec format of
// `rrts ledger exec`.
//
//	sum, err := exec.Run(ctx, os.Stdin, os.Stdout, target)
//
// The package knows the format and nothing of where the ledger lives: a Target
// executes the requests, such as a store in a directory or a cluster.
//
// # Requests
//
// One request a line, one answer a line, in order; empty lines are passed over.
//
//	{"create_accounts":[{…},…]}          {"results":[{"status":"created","timestamp":1},…]}
//	{"create_transfers":[{…},…]}         {"results":[…]}
//	{"lookup_accounts":["1","2",…]}      {"accounts":[{…},…]}
//	{"lookup_transfers":["1","2",…]}     {"transfers":[{…},…]}
//	{"get_account_transfers":{…}}        {"transfers":[…]}
//	{"get_account_balances":{…}}         {"balances":[…]}
//	{"query_accounts":{…}}               {"accounts":[…]}
//	{"query_transfers":{…}}              {"transfers":[…]}
//	{"get_change_events":{…}}            {"events":[…]}
//	{"get_balances":{…}}                 {"accounts":[…]}
//	{"tick":{"nanoseconds":1000000000}}  {"results":[]}
//
// get_balances, which is no part of the public data model, tells of accounts as they
// were just after a "timestamp" or just after the transaction of a "csn".
//
// Each create line is one transaction of its own in which every event has its own
// result and only linked chains are atomic; it holds at most 8,192 events. Ids
// that nobody knows are left out of a lookup's answer. A tick moves a virtual
// clock forward and expires what is due; it creates nothing, so it has no results.
//
// # Values
//
// Fields have the names of the data model (ledger.proto): in a request a field that
// is left out is zero, in an answer every field stands.
//
//	128-bit numbers  a decimal string: "340282366920938463463374607431768211455"
//	                 a request may also write a number, of which every digit counts
//	other numbers    a number, up to 2^64−1: read it with a parser that keeps all
//	                 digits; a request may also write a decimal string
//	flags            a list of names: ["linked","pending"]
//	status, type     a name: "created", "two_phase_posted"
//
// # Errors
//
// A line that is not exactly one well-formed request answers
//
//	{"error":"line 7: create_transfers[2].amount: …"}
//
// with the line's number, the field and the cure. Nothing of that line is executed,
// those after it are. The same answer comes for a line that the target refuses. If
// the target itself fails, that line's answer is an error too, and it is the last.
package exec
