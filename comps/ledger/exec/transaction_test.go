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

// TestEffects: what is owed, in all kinds of values, read and written.
func TestEffects(t *testing.T) {
	got, err := ParseTransaction([]byte(`{"id":1,"effects":[{"service":"payment","target":"sandbox","operation":"capture","key":"o17",
		"arguments":{"text":"a\u00e9","none":null,"yes":true,"no":false,"n":-3,"d":1.50,"big":{"integer":"99999999999999999999"},
			"dec":{"decimal":"-0.1"},"at":{"time":"2026-01-31T12:00:00Z"},"raw":{"bytes":"AP8="}},
		"done":{"transfers":[{"pending_id":5,"flags":["post_pending_transfer"]}],"effects":[{"service":"mail","operation":"receipt"}]},
		"failed":{"effects":[{"service":"mail","operation":"sorry"}]}}]}`))
	arg := func(name string, kind txnpb.ArgumentKind, value string) txnpb.Argument {
		return txnpb.Argument{Name: name, Kind: kind, Value: []byte(value)}
	}
	want := &txnpb.Transaction{Id: u128.From64(1), Effects: []txnpb.Effect{{
		Service: "payment", Target: "sandbox", Operation: "capture", Key: "o17",
		Arguments: []txnpb.Argument{arg("text", 0, "aé"), {Name: "none", Kind: txnpb.ArgumentKindNull}, arg("yes", txnpb.ArgumentKindBoolean, "true"),
			arg("no", txnpb.ArgumentKindBoolean, "false"), arg("n", txnpb.ArgumentKindInteger, "-3"), arg("d", txnpb.ArgumentKindDecimal, "1.50"),
			arg("big", txnpb.ArgumentKindInteger, "99999999999999999999"), arg("dec", txnpb.ArgumentKindDecimal, "-0.1"),
			arg("at", txnpb.ArgumentKindTime, "2026-01-31T12:00:00Z"), arg("raw", txnpb.ArgumentKindBytes, "\x00\xff")},
		Done: &txnpb.Continuation{Transfers: []ledgerpb.Transfer{{PendingId: u128.From64(5), Flags: uint32(ledgerpb.TransferFlagsPostPendingTransfer)}},
			Effects: []txnpb.Effect{{Service: "mail", Operation: "receipt"}}},
		Failed: &txnpb.Continuation{Effects: []txnpb.Effect{{Service: "mail", Operation: "sorry"}}},
	}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v\nwant %v", got, err, want)
	}
	if again, err := ParseTransaction(AppendTransaction(nil, want)); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("written as %s, that is %v, %v", AppendTransaction(nil, want), again, err)
	}
	deep := `{"effects":[` + strings.Repeat(`{"done":{"effects":[`, 7) + strings.Repeat(`]}}`, 7) + `]}`
	for text, fault := range map[string]string{
		`{"effects":{}}`:                                   "effects: an object stands where a list of effects belongs",
		`{"effects":[{"to":1}]}`:                           `effects[0]: no field "to"; an effect has service,`,
		`{"effects":[{"key":"a","key":"b"}]}`:              "effects[0].key: stands twice",
		`{"effects":[{"arguments":{"a":1e3}}]}`:            `effects[0].arguments.a: "1e3": write the digits`,
		`{"effects":[{"arguments":{"a":[]}}]}`:             "effects[0].arguments.a: a list stands where a value belongs",
		`{"effects":[{"arguments":{"a":{}}}]}`:             "effects[0].arguments.a: an empty object",
		`{"effects":[{"arguments":{"a":{"bytes":"?"}}}]}`:  "effects[0].arguments.a: the bytes are not in base64",
		`{"effects":[{"arguments":{"a":{"number":"1"}}}]}`: `effects[0].arguments.a: "number" is no kind of a value`,
		`{"effects":[{"done":{"mails":[]}}]}`:              `effects[0].done: no field "mails"; what follows has transfers, effects`,
		deep:                                               "effects that follow effects, more than 6 deep",
	} {
		if _, err := ParseTransaction([]byte(text)); err == nil || !strings.Contains(err.Error(), fault) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", text, err, fault)
		}
	}
}
