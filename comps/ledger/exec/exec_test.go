package exec

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/memstate"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

var update = flag.Bool("update", false, "write the golden files anew")

// model is a Target on a virtual clock: the ledger over plain maps, committed
// after every request.
type model struct {
	state  *memstate.State
	ledger *ledger.Ledger
	now    uint64 // the last nanosecond that was taken
}

func newModel(t testing.TB) *model {
	t.Helper()
	m := &model{state: memstate.New()}
	var err error
	if m.ledger, err = ledger.New(m.state, ledger.Config{}); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *model) commit() {
	m.state.Apply(m.ledger.Changes())
	m.ledger.Reset()
}

func (m *model) Create(_ context.Context, accounts []ledgerpb.Account, transfers []ledgerpb.Transfer) (*txnpb.Results, error) {
	r := &txnpb.Results{Timestamp: m.now + 1, Count: uint32(len(accounts) + len(transfers))}
	results := m.ledger.CreateAccounts(m.now+1, accounts, nil)
	results = m.ledger.CreateTransfers(m.now+1, transfers, results)
	for i, v := range results {
		r.Exceptions = append(r.Exceptions, txnpb.Exception{Index: uint32(i), Status: v.Status, Timestamp: v.Timestamp})
	}
	m.now += uint64(len(results))
	m.commit()
	return r, nil
}

func (m *model) Query(_ context.Context, q *txnpb.Query) (*txnpb.QueryAnswer, error) {
	a, s := &txnpb.QueryAnswer{}, m.state
	switch {
	case q.LookupAccounts != nil:
		a.Accounts = ledger.LookupAccounts(s, q.LookupAccounts.Ids, nil)
	case q.GetBalances != nil:
		a.Accounts = ledger.LookupAccountsAt(s, q.GetBalances.AccountIds, q.GetBalances.Timestamp, nil)
	case q.LookupTransfers != nil:
		a.Transfers = ledger.LookupTransfers(s, q.LookupTransfers.Ids, nil)
	case q.GetAccountTransfers != nil:
		a.Transfers = ledger.GetAccountTransfers(s, q.GetAccountTransfers, nil)
	case q.GetAccountBalances != nil:
		a.Balances = ledger.GetAccountBalances(s, q.GetAccountBalances, nil)
	case q.QueryAccounts != nil:
		a.Accounts = ledger.QueryAccounts(s, q.QueryAccounts, nil)
	case q.QueryTransfers != nil:
		a.Transfers = ledger.QueryTransfers(s, q.QueryTransfers, nil)
	case q.GetChangeEvents != nil:
		a.Events = ledger.GetChangeEvents(s, q.GetChangeEvents, nil)
	}
	return a, nil
}

func (m *model) Tick(_ context.Context, nanoseconds uint64) error {
	m.now += nanoseconds
	m.now += uint64(m.ledger.Expire(m.now+1, ledger.MaxEvents))
	m.commit()
	return nil
}

// TestScripts plays testdata/*.jsonl. What the command makes of the same scripts
// is held to the same answers.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".jsonl"), func(t *testing.T) {
			script, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			sum, err := Run(t.Context(), bytes.NewReader(script), &got, newModel(t))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(got.Bytes(), []byte("\n")); n != sum.Requests {
				t.Errorf("%d answers to %d requests", n, sum.Requests)
			}
			if n := bytes.Count(got.Bytes(), []byte(`{"error":`)); n != sum.Errors {
				t.Errorf("%d errors, the summary says %d", n, sum.Errors)
			}
			golden := strings.TrimSuffix(f, ".jsonl") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
				t.Errorf("-want +got; run with -update if the new answers are right:\n%s", diff)
			}
		})
	}
}
