package drill

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func TestPaymentsRefused(t *testing.T) {
	const header = "reference,debtor,creditor,amount_cents,currency,code,purpose\n"
	for _, c := range []struct{ csv, want string }{
		{"", "header line"},
		{"a,b\n", "must begin with"},
		{header, "no payments"},
		{header + "r,1,2,10,EUR,1,x\nr,1,2,ten,EUR,1,x\n", `line 3: amount_cents "ten"`},
		{header + "r,0,2,10,EUR,1,x\n", `line 2: debtor "0"`},
		{header + "r,1,1,10,EUR,1,x\n", "line 2: debtor and creditor are both 1"},
		{header + "r,1,2,10,GBP,1,x\n", `line 2: currency "GBP"`},
		{header + "r,1,2,10,EUR,70000,x\n", `line 2: code "70000"`},
		{header + "r,1,2\n", "wrong number of fields"},
	} {
		if _, err := parsePayments(strings.NewReader(c.csv)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gives %v, want %q", c.csv, err, c.want)
		}
	}
}

// TestAnswersFile sees that what clients were told survives a file, and that a file
// that was cut short is noticed.
func TestAnswersFile(t *testing.T) {
	at := time.UnixMicro(1_700_000_000_123_456)
	want := []Answer{
		{Client: 3, Begin: at, End: at.Add(time.Millisecond), Failure: "no answer", Told: Told{
			Tx: &txnpb.Transaction{Id: u128.From64(1), Transfers: []ledgerpb.Transfer{{Id: u128.From64(2), Amount: u128.From64(3), Ledger: 978}}}, State: txnpb.StateCommitted, Csn: 7}},
		{Begin: at, End: at, Told: Told{Tx: &txnpb.Transaction{Id: u128.From64(4)}, State: txnpb.StateAborted, Csn: 8, Reason: "exceeds_credits"}},
	}
	var file bytes.Buffer
	w := NewAnswerWriter(&file)
	for _, a := range want {
		if err := w.Write(a); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadAnswers(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := ReadAnswers(bytes.NewReader(file.Bytes()[:file.Len()-9])); err == nil || !strings.Contains(err.Error(), "line 2 ") {
		t.Errorf("a file that ends within line 2 gives %v", err)
	}
}
