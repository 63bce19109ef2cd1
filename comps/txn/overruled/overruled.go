// Package overruled finds the transactions that a replica holds and that the group which
// went on without it, by a forced recovery, does not: what its clients may have been told
// is committed and what the others know nothing of.
//
// A forced recovery names the log of who went on by its terms, and raft's logs agree up to
// the last entry that has the same term in both. Everything behind that is overruled.
// Transactions come out as one JSON object a line:
//
//	{"entry":812,"state":"committed","csn":1235,"user":3,"committed":"2026-11-27T12:00:00Z",
//	 "transaction":{"id":"…","mode":"atomic","transfers":[…]}}
//
// where "transaction" is what `rrts tx submit` reads, and "state" is what this replica
// answered: "committed", "aborted", or "unknown" for one that it never applied and so
// told nobody about. A client may have submitted the same transaction again to those that
// went on: its id says whether they know it.
package overruled

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Summary is what was found.
type Summary struct {
	// Transactions is how many are overruled, and Committed how many of them this replica
	// had committed, with CSNs from FirstCSN to LastCSN.
	Transactions, Committed int
	FirstCSN, LastCSN       uint64
	// Whole says that all of them were found: the log still held the place where the two
	// part.
	Whole bool
}

func (s Summary) String() string {
	var text string
	switch {
	case s.Transactions == 0:
		text = "no transaction of this SFU is overruled"
	case s.Committed == 0:
		text = fmt.Sprintf("%d transactions that this SFU had not committed are overruled", s.Transactions)
	default:
		text = fmt.Sprintf("%d transactions are overruled, %d of which this SFU had committed (CSN %d to %d)", s.Transactions, s.Committed, s.FirstCSN, s.LastCSN)
	}
	if !s.Whole {
		text += "; its log does not reach back to where the two part, there may be more"
	}
	return text
}

// Write writes what is overruled of the log of a replica, and the state with it, which
// nobody else uses meanwhile. What was committed and is not in the state yet is applied
// first.
func Write(to io.Writer, log *raftlog.Log, state store.State, self uint64, f *txnpb.Force) (Summary, error) {
	last, err := log.LastIndex()
	if err == nil {
		err = replay(log, state, self, last)
	}
	if err != nil {
		return Summary{}, err
	}
	first, err := log.FirstIndex()
	if err != nil {
		return Summary{}, err
	}
	after, whole := fork(log.Terms(math.MaxInt), first, last, f)
	w := writer{to: bufio.NewWriter(to), state: state, sum: Summary{Whole: whole}}
	for i := max(after+1, first); i <= last; {
		entries, err := log.Entries(i, last+1, readBytes)
		if err != nil {
			return w.sum, fmt.Errorf("overruled: %w", err)
		}
		for _, e := range entries {
			if err := w.entry(e); err != nil {
				return w.sum, fmt.Errorf("overruled: entry %d: %w", e.GetIndex(), err)
			}
		}
		i += uint64(len(entries))
	}
	return w.sum, w.to.Flush()
}

// replay applies what is committed: as far as the log says so, and where this replica
// decided alone, all of it.
func replay(log *raftlog.Log, state store.State, self, last uint64) error {
	m, err := machine.Open(state, machine.Config{}, nil)
	if err != nil {
		return err
	}
	hard, _, err := log.InitialState()
	if err != nil {
		return err
	}
	for {
		applied, _ := m.Applied()
		voters := m.Group().Conf.Voters
		alone := len(voters) == 1 && voters[0] == self && !m.Group().Joint()
		if applied >= last || applied >= hard.GetCommit() && !alone {
			return nil
		}
		entries, err := log.Entries(applied+1, applied+2, readBytes)
		if err != nil {
			return fmt.Errorf("overruled: %w", err)
		}
		e := entries[0]
		if e.GetType() == raftpb.EntryNormal {
			_, err = m.Apply(e.GetIndex(), e.GetTerm(), e.GetData(), nil)
		} else {
			err = m.Reconfigure(e.GetIndex(), e.GetTerm(), e.GetData())
		}
		if err != nil {
			return fmt.Errorf("overruled: %w", err)
		}
	}
}

// readBytes bounds what is read of the log at a time.
const readBytes = 4 << 20

// fork returns the last entry that is the same in both logs: in this one, which shows its
// terms and the entries from first to last, and in the other. whole is false where they
// part before what one of them knows.
func fork(own []raftlog.Term, first, last uint64, f *txnpb.Force) (index uint64, whole bool) {
	if last == 0 || len(f.Terms) == 0 {
		return 0, first == 1
	}
	begin := f.Terms[0].FirstIndex
	switch {
	case last < begin:
		return last, false
	case first > f.LastIndex:
		return first - 1, first == f.LastIndex+1
	}
	from, to := max(first, begin), min(last, f.LastIndex)
	same := sort.Search(int(to-from)+1, func(n int) bool { // from the first that differs on all do
		i := from + uint64(n)
		a := sort.Search(len(own), func(n int) bool { return own[n].First > i }) - 1
		b := sort.Search(len(f.Terms), func(n int) bool { return f.Terms[n].FirstIndex > i }) - 1
		return own[a].Term != f.Terms[b].Term
	})
	if same == 0 {
		return first - 1, from == 1
	}
	return from + uint64(same) - 1, true
}

// writer writes rows.
type writer struct {
	to    *bufio.Writer
	state store.State
	sum   Summary
	batch txnpb.Entry
	tx    txnpb.Transaction
	line  []byte
}

func (w *writer) entry(e *raftpb.Entry) error {
	if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
		return nil
	}
	if err := w.batch.Parse(e.GetData()); err != nil {
		return err
	}
	for i := range w.batch.Submissions {
		if err := w.submission(e.GetIndex(), &w.batch.Submissions[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) submission(index uint64, s *txnpb.Submission) error {
	w.tx = txnpb.Transaction{}
	if err := w.tx.Parse(s.Transaction); err != nil {
		return nil // it was refused as malformed wherever it was applied
	}
	row := &txnpb.StoredOutcome{Outcome: &txnpb.Outcome{}}
	if index <= w.state.Applied() {
		found, err := machine.Lookup(w.state, w.tx.Id)
		if err != nil {
			return err
		}
		if found != nil {
			row = found
		}
	}
	w.sum.Transactions++
	if row.Outcome.State == txnpb.StateCommitted {
		w.sum.Committed++
		if csn := row.Outcome.Csn; w.sum.FirstCSN == 0 || csn < w.sum.FirstCSN {
			w.sum.FirstCSN = csn
		}
		w.sum.LastCSN = max(w.sum.LastCSN, row.Outcome.Csn)
	}
	b := append(w.line[:0], `{"entry":`...)
	b = strconv.AppendUint(b, index, 10)
	b = append(b, `,"state":"`...)
	b = append(b, row.Outcome.State.String()...)
	b = append(b, `","csn":`...)
	b = strconv.AppendUint(b, row.Outcome.Csn, 10)
	b = append(b, `,"user":`...)
	b = strconv.AppendUint(b, s.Principal, 10)
	if row.Committed != 0 {
		b = append(b, `,"committed":"`...)
		b = time.Unix(0, int64(row.Committed)).UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
	}
	if n := len(w.tx.Users); n > 0 {
		b = append(b, `,"user_changes":`...)
		b = strconv.AppendInt(b, int64(n), 10)
	}
	b = append(b, `,"transaction":`...)
	b = exec.AppendTransaction(b, &w.tx)
	w.line = append(b, '}', '\n')
	_, err := w.to.Write(w.line)
	return err
}

// Row is one line as Write wrote it, for who reads it.
type Row struct {
	Entry     uint64 `json:"entry"`
	State     string `json:"state"`
	CSN       uint64 `json:"csn"`
	User      uint64 `json:"user"`
	Committed string `json:"committed,omitempty"`
	// UserChanges is how many users it would have changed; what it would have made of
	// them is not in the file.
	UserChanges int             `json:"user_changes,omitempty"`
	Transaction json.RawMessage `json:"transaction"`
}
