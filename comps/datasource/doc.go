// Package datasource runs named SQL statements against any ODBC data source: reads at
// once, writes exactly once.
//
// A client never sends SQL. The statements stand in the configuration under names, with
// the types of their parameters and of the columns that they answer; what comes in is
// values, which are checked against these types and bound as parameters. A value that
// holds SQL is a value.
//
// # The parts
//
//	Value, Field   what travels, and what a statement says of it; pure
//	Statement      a named statement; pure
//	Source         a data source: its pool of connections, its health
//	Source.Do      a write for an effect, exactly once
//	Source.Query   a read, as a stream of rows
//	Source.Init    makes the table by which writes are exactly once
//	Source.Prune   removes its old rows
//
// Everything goes through database/sql; package odbc below is the driver of the child
// process, and nothing here knows which database is behind it.
//
// # Exactly once
//
// Each data source that is written to has a table of ours:
//
//	rrts_effect
//	effect    VARCHAR(80)  key: cluster id, transaction id and ordinal of the effect
//	fence     BIGINT       under which the row was written last
//	token     BIGINT       drawn anew by each attempt that writes the row
//	done      INTEGER      1: the work is committed; 0: the row only keeps older attempts out
//	affected  BIGINT       the rows that the work changed
//	stamp     BIGINT       seconds since 1970 when the row was written
//
// The first attempt at an effect does the work and inserts the row, done, in one database
// transaction. The row's key is unique, so of all attempts at one effect one can commit.
//
// An attempt that follows another whose outcome is not known, such as one whose answer to
// COMMIT was lost, first finds out:
//
//	raise    INSERT the row, not done, with its own fence and token, and COMMIT.
//	         Where the row is there already: UPDATE it, unless it is done or has a higher
//	         fence, and COMMIT. Both wait for an older attempt that is still under way.
//	confirm  The row is done: UPDATE its token, COMMIT, and so is the effect. What is read as
//	         done alone need not be on the disk yet. Its fence is higher: another SFU has it.
//	work     Otherwise nothing was done, and cannot be any more: what an older attempt
//	         still has in flight meets the row, or its new token, and is rolled back. So
//	         do the work and UPDATE the row to done where it still has the token, in one
//	         transaction.
//
// Before an effect is given up as failed the row is raised, too: an older attempt cannot
// commit after that.
//
// No COMMIT is believed before the row is read with the attempt's token: ODBC drivers have
// called it successful when the connection, and with it the transaction, was lost.
//
// Rows must be kept for as long as an attempt may follow: until the effect is over in the
// ledger, and for as long as a cluster may be restored from a backup in which it is not.
// Source.Prune removes those that are older than "keep" in datasource.toml and than
// everything that the outbox still owes.
//
// This needs tables that can be rolled back. Source.Init tries it on rrts_effect. Of the
// other tables the configuration has to say how those are found that cannot
// (Config.NonTransactional); a statement that names one is refused.
package datasource
