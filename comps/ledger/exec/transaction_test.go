package exec

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func TestParseTransaction(t *testing.T) {
	id := u128.From64
	got, err := ParseTransaction([]byte(`{"id":"7","mode":"independent","memo":"a \"b\"","metadata":{"invoice":"17","due":""},
		"preconditions":[{"transfer_id":3,"measure":"phase","comparison":"equal","value":1}],
		"accounts":[{"id":1,"ledger":1,"code":2}],"access":[{"account_id":1,"user":9,"rights":["read","owner"]}],
		"transfers":[{"debit_account_id":1,"credit_account_id":2,"amount":"5","ledger":1,"code":1,"flags":["pending"]}],"derive_transfer_ids":true}`))
	want := &txnpb.Transaction{
		Id: id(7), Mode: txnpb.ModeIndependent, Memo: `a "b"`, Metadata: []txnpb.Label{{Name: "invoice", Value: []byte("17")}, {Name: "due", Value: []byte{}}},
		Preconditions: []txnpb.Precondition{{TransferId: id(3), Measure: txnpb.MeasurePhase, Comparison: txnpb.ComparisonEqual, Value: id(1)}},
		Accounts:      []ledgerpb.Account{{Id: id(1), Ledger: 1, Code: 2}}, Access: []txnpb.AccessChange{{AccountId: id(1), User: 9, Rights: 9}},
		Transfers:         []ledgerpb.Transfer{{DebitAccountId: id(1), CreditAccountId: id(2), Amount: id(5), Ledger: 1, Code: 1, Flags: 2}},
		DeriveTransferIds: true,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v\nwant %v", got, err, want)
	}
	if again, err := ParseTransaction(AppendTransaction(nil, want)); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("written as %s, that is %v, %v", AppendTransaction(nil, want), again, err)
	}
	if tx, err := ParseTransaction([]byte(transactionExample)); err != nil || len(tx.Transfers) != 1 || !tx.DeriveTransferIds {
		t.Errorf("the example is %v, %v", tx, err)
	}
	if tx, err := ParseTransaction([]byte(`{"derive_transfer_ids":false}`)); err != nil || tx.DeriveTransferIds {
		t.Errorf("%v, %v", tx, err)
	}
	for text, fault := range map[string]string{
		`[]`:                              "a list stands where a transaction belongs",
		`{"id":1,"id":1}`:                 "id: stands twice; write it once",
		`{"mode":"both"}`:                 `mode: no "both"; there are atomic, independent`,
		`{"mode":1}`:                      "mode: a number stands where a name belongs, one of atomic, independent",
		`{"memo":1}`:                      "memo: a number stands where a string belongs",
		`{"metadata":[1]}`:                "metadata: a list stands where an object of strings belongs",
		`{"metadata":{"a":1}}`:            "metadata.a: a number stands where a string belongs",
		`{"derive_transfer_ids":1}`:       "derive_transfer_ids: a number stands where true or false belongs",
		`{"users":[]}`:                    `no field "users"; a transaction has id, mode`,
		`{"access":[{"rights":["all"]}]}`: `access[0].rights[0]: no flag "all"; there are read, debit, settle, owner`,
		`{"preconditions":[{"measure":"weight"}]}`:  `preconditions[0].measure: no "weight"; there are exists, timestamp,`,
		`{"preconditions":[{"comparison":"none"}]}`: `preconditions[0].comparison: no "none"; there are at_least, at_most,`,
		`{"transfers":[{"amount":-1}]}`:             `transfers[0].amount: "-1" is not a whole number`,
		`{"id":`:                                    "not JSON at byte 6",
	} {
		if _, err := ParseTransaction([]byte(text)); err == nil || !strings.Contains(err.Error(), fault) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", text, err, fault)
		}
	}
}

func FuzzParseTransaction(f *testing.F) {
	f.Add([]byte(transactionExample))
	f.Add([]byte(`{"metadata":{"a":"b"},"preconditions":[{"measure":"exists"}],"access":[{"rights":["read"]}],"mode":"atomic","memo":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := ParseTransaction(text); err == nil && !json.Valid(text) {
			t.Fatalf("%q was accepted and is not JSON", text)
		} else if err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
