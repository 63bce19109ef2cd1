package demo

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/drill"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func TestMain(m *testing.M) {
	status := m.Run()
	arenatest.Remove()
	os.Exit(status)
}

// TestDemo runs a short demo on real processes, and then breaks what the audit
// looks at, one thing at a time: each must be found.
func TestDemo(t *testing.T) {
	payments, err := drill.ReadPayments("../../../../../packaging/demo/payments.csv")
	if err != nil {
		t.Fatal(err)
	}
	a, err := arena.New(arena.Config{SFUs: sfus, Relay: true, Rrtsd: arenatest.Rrtsd(t), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	r := &run{cfg: Config{Payments: payments[:1500]}, arena: a,
		out: &term.Out{Std: io.Discard, Err: testWriter{t}}}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	report, err := r.run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", *report)
	if report.Audit != "ok" || report.Submitted != 1500 || report.Lost != 0 || report.Duplicated != 0 ||
		report.Committed+report.Aborted != report.Submitted || len(report.Events) != 4 {
		t.Fatalf("the demo: %+v", *report)
	}

	// A client was told of a commit that is nowhere.
	phantom := drill.Told{Tx: &txnpb.Transaction{Id: u128.From64(77)}, State: txnpb.StateCommitted, Csn: 1}
	phantom.Tx.Transfers = []ledgerpb.Transfer{{Id: u128.From64(78)}}
	r.told = append(r.told, phantom)
	expectAudit(t, r, 1, 0, "lost")
	r.told = r.told[:len(r.told)-1]

	// A transfer stands in the ledger that no client was told of.
	last := r.told[len(r.told)-1]
	r.told = r.told[:len(r.told)-1]
	expectAudit(t, r, 0, 1, "no client was told of")
	r.told = append(r.told, last)

	// The ledger holds another amount than the client submitted.
	changed := *last.Tx
	changed.Transfers = []ledgerpb.Transfer{last.Tx.Transfers[0]}
	changed.Transfers[0].Amount = u128.From64(1 << 40)
	r.told[len(r.told)-1].Tx = &changed
	expectAudit(t, r, 1, 0, "not in the ledger as it was submitted")
	r.told[len(r.told)-1].Tx = last.Tx
	expectAudit(t, r, 0, 0)

	// One SFU has a transaction more than the others.
	s, err := a.OpenStore(1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := machine.Open(s, machine.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	index, term := m.Applied()
	extra := *last.Tx
	extra.Id = u128.Int{Hi: uint64(time.Now().UnixMilli()) << 16, Lo: 1}
	extra.Transfers = []ledgerpb.Transfer{last.Tx.Transfers[0]}
	extra.Transfers[0].Id = u128.Int{Hi: extra.Id.Hi, Lo: 2}
	e := txnpb.Entry{ApplyVersion: 1, Proposed: uint64(time.Now().UnixNano()), Submissions: []txnpb.Submission{{Transaction: message.Marshal(&extra)}}}
	if _, err := m.Apply(index+1, term, message.Marshal(&e), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expectAudit(t, r, 0, 1, "another state than the first SFU", "no client was told of")
}

// expectAudit audits again and looks for what should be found, and nothing else.
func expectAudit(t *testing.T, r *run, lost, duplicated int, findings ...string) {
	t.Helper()
	var report Report
	found, err := r.arena.Audit(r.told)
	if err != nil {
		t.Fatal(err)
	}
	report.take(&found)
	verdict := "ok"
	if len(findings) > 0 {
		verdict = "failed"
	}
	if report.Audit != verdict || report.Lost != lost || report.Duplicated != duplicated {
		t.Fatalf("the audit says %+v, want %s, lost %d, duplicated %d", report, verdict, lost, duplicated)
	}
	for _, want := range findings {
		if !strings.Contains(strings.Join(report.Findings, "\n"), want) {
			t.Fatalf("no finding says %q:\n%s", want, strings.Join(report.Findings, "\n"))
		}
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
