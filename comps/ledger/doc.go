// Package ledger is the double-entry ledger: accounts, transfers between them,
// and the rules by which a transfer is made or refused.
//
// It is a pure state machine. Requests and their timestamps go in, results and
// changed rows come out; it reads committed rows through State, does no I/O and
// reads no clock, and the one random number it draws, the key of a hash, shows in
// nothing. Given the same state and the same calls every replica comes to the same
// results and the same rows.
//
// Field meanings, flags, statuses and their order of precedence are those of
// TigerBeetle's public data model; ledger.proto lists them. What stands out:
//
//   - Every event of a request gets a Result. Its timestamp is the transfer's own
//     when it was created, the original's when it exists already, and otherwise
//     the stamp under which it was refused.
//   - Events that are linked succeed or fail together. The event that broke its
//     chain reports why, the others linked_event_failed.
//   - A transfer that was refused for a reason that may pass (an account that does
//     not exist yet, too small a balance, a closed account) is remembered: its id
//     answers id_already_failed from then on, so a retry never changes an outcome.
//   - A pending transfer holds its amount until it is posted or voided, or until
//     it expires. From its expiry on a post or void answers
//     pending_transfer_expired, whether or not Expire has run.
//
// # Time
//
// The caller stamps. Event i of a request takes the timestamp ts+i, so ts must be
// greater than every stamp used before, including those of refused events.
// Imported events bring their own timestamps, which lie in the past and after
// those of all events of their kind. Change events therefore only ever append:
// no event appears at or before the timestamp of one that was already seen.
//
// # Use
//
//	l, err := ledger.New(state, ledger.Config{})
//	for each batch {
//		results = l.CreateAccounts(ts, accounts, results[:0])
//		results = l.CreateTransfers(ts, transfers, results[:0])
//		…                        // as many requests as the caller puts together
//		store.Commit(l.Changes()) // State must now answer with these rows
//		l.Reset()
//	}
//
// Between two Resets the ledger answers from its own memory for what has changed,
// so State need not know of it before. Begin, Rollback and Commit put several
// calls into one scope that takes effect as a whole or not at all.
//
// A State that cannot be read panics with a *ReadError: there is no right answer
// to go on with, and a wrong balance is worse than none.
//
// # Memory
//
// Accounts (some 140 bytes each), pending transfers and ids are cached within the
// bounds of Config.
// Nothing is evicted before Reset; until then the caches also hold all that the
// calls since the last Reset touched, so the caller bounds what it puts together.
// In steady state a transfer allocates nothing.
package ledger
