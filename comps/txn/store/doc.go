// Package store keeps the replicated state of a transaction group on disk: the
// ledger's accounts, its history, the outcomes of transactions, users.
//
//	s, err := store.Open(store.Config{Dir: dir})
//	l, err := ledger.New(s, ledger.Config{})
//	… for each log entry: run it through l, then
//	s.Commit(&store.Batch{Applied: index, Changes: l.Changes(), …}); l.Reset()
//
// It is Pebble without its log: the transaction log is the log. After a crash the
// store holds exactly what it held after some Commit, the one whose Applied its
// Applied returns; the caller applies the entries behind it again. Flush makes all
// that was committed durable, and Flushed is the index below which the log may be cut.
//
// # What a transfer costs
//
// A row costs about a microsecond to write, on every replica, and a transfer
// changes two balances, adds an event to the history and an id to the index of
// ids. So Commit writes the history only, dozens of events to a row, and keeps the
// rest in memory: balances and ids that the rows do not have yet, the overlay. Now
// and then they are settled: written to their rows, each balance once for all the
// events that changed it. After a crash the overlay is found again by reading the
// history from the settled event on, which holds the balances after each event.
//
// The indexes that queries want are built from the history when a query comes, or
// when nothing else happens. They are no part of the replicated state.
//
// # Rows
//
// A key begins with the group's number (two bytes, big-endian: several groups may
// share a store one day) and the table (one byte). Numbers in keys are big-endian.
//
//	table              key behind it                  value
//	 1 state           –                              varints: format, applied index
//	 2 metas           name                           the transaction layer's own
//	 3 accounts        id (16)                        account, see appendAccount
//	 4 births          timestamp (8)                  the account created then, see appendBirth
//	 5 history         first timestamp (8)            a block of events, see appendEvent
//	 6 transfers       id (16)                        timestamp (8), or nothing: a remembered failure
//	 7 resolutions     timestamp (8) of a pending     ledger.PendingStatus (1)
//	 8 expiries        expiry (8), timestamp (8)      –
//	 9 transactions    id (16)                        the transaction layer's own
//	10 lifetimes       hour of ids (8)                hour (8) after which these transactions may go
//	11 users           number (8)                     the transaction layer's own
//	12 logins          login hash                     number (8) of the user
//	13 names           public name                    number (8) of the user
//	14 settled         –                              timestamp (8) of the last settled event
//	15 spans           first stamp (8)                committed transactions, see appendSpans
//	16 notes           CSN (8)                        the transaction layer's own
//	17 access          id (16) of an account          the transaction layer's own
//	18 outbox          the transaction layer's own    the transaction layer's own
//	19 imports         first stamp (8)                what a transaction imported, see appendImports
//	66 index           set, field, value (16), first timestamp (8)
//	                                                  see appendTimes; not in snapshots
//	67 indexed         set                            timestamp (8) up to which the index reaches
//	68 sums            see sum.go                     not in snapshots
//	69 fenced          –                              why the state must not be used; not in snapshots
//
// The state row's format is 1. Tables are append-only; other software may never
// give a number another meaning.
//
// # Files
//
//	Dir/marker.rows.N.ROWS   names the directory that counts
//	Dir/rows-000001/…        Pebble's files
//	Dir/damaged-rows-…/…     the newest ones that were damaged and have been replaced
//
// Restore builds a new directory beside the old one and then moves the marker: a
// crash finds the one or the other.
package store
