package entry

import (
	"testing"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestPlain: an entry is as plain as the least plain of its transactions.
func TestPlain(t *testing.T) {
	submission := func(tx txnpb.Transaction) txnpb.Submission {
		tx.Id = u128.From64(7)
		return txnpb.Submission{Principal: 9, Role: 1, Transaction: message.Marshal(&tx)}
	}
	payment := submission(txnpb.Transaction{Transfers: []ledgerpb.Transfer{{Id: u128.From64(8)}}, Memo: "rent"})
	user := submission(txnpb.Transaction{Users: []txnpb.UserChange{{PublicName: "ada", Verifier: "$argon2id$"}}})
	owing := submission(txnpb.Transaction{Effects: []txnpb.Effect{{Service: "mail"}}})
	for name, c := range map[string]struct {
		of   []txnpb.Submission
		want bool
	}{
		"payments":              {[]txnpb.Submission{payment, payment}, true},
		"a user among payments": {[]txnpb.Submission{payment, user, payment}, false},
		"an effect at the end":  {[]txnpb.Submission{payment, owing}, false},
		"nothing":               {nil, true},
	} {
		b := message.Marshal(&txnpb.Entry{ApplyVersion: ApplyVersion, Submissions: c.of, Resolves: []txnpb.ResolveRequest{{Principal: 3}},
			Change: &txnpb.RosterChange{Promote: 5}})
		if Plain(b) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
		if c.want && len(b) > 3 && Plain(b[:len(b)-1]) {
			t.Errorf("%s, cut off: plain", name)
		}
	}
}
