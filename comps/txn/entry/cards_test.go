package entry

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// numbers are one card's number as people write it.
var numbers = []string{"4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "card 378282246310005, thanks"}

// payment owes a payment, and what follows it.
func payment() *txnpb.Transaction {
	effect := func(operation string) txnpb.Effect {
		return txnpb.Effect{Service: paymentpb.EffectService, Target: "stripe", Operation: operation, Key: "2125412541254125412541254125412541254", Arguments: []txnpb.Argument{
			{Name: paymentpb.ArgPayment, Kind: txnpb.ArgumentKindInteger, Value: []byte("2125412541254125412541254125412541254")},
			{Name: paymentpb.ArgAmount, Kind: txnpb.ArgumentKindInteger, Value: []byte("99999999999")},
			{Name: paymentpb.ArgToken, Value: []byte("pm_1MqLiJLkdIwHu7ixUEgbFdYF")},
			{Name: paymentpb.ArgDescription, Value: []byte("order 17")},
		}}
	}
	authorize, order := effect(paymentpb.Authorize), txnpb.Effect{Service: "sql", Target: "shop", Operation: "add-order",
		Arguments: []txnpb.Argument{{Name: "ean", Value: []byte("4006381333931 4111111111111111")}}}
	order.Done = &txnpb.Continuation{Effects: []txnpb.Effect{effect(paymentpb.Capture)}}
	order.Failed = &txnpb.Continuation{Effects: []txnpb.Effect{effect(paymentpb.Void)}}
	authorize.Done = &txnpb.Continuation{Effects: []txnpb.Effect{order}}
	return &txnpb.Transaction{
		Id: u128.From64(4111111111111111), Memo: "held for an order", Metadata: []txnpb.Label{{Name: "order", Value: []byte("17")}},
		Transfers: []ledgerpb.Transfer{{Id: u128.From64(4111111111111111), DebitAccountId: u128.From64(4111111111111111), Amount: u128.From64(4111111111111111), UserData64: 4111111111111111}},
		Effects:   []txnpb.Effect{authorize},
	}
}

// TestRefuseCards: a card's number is refused in every text of a transaction that owes a
// payment, by the name of the field, and what stands there is not repeated.
func TestRefuseCards(t *testing.T) {
	if err := RefuseCards(message.Marshal(payment())); err != nil {
		t.Errorf("ids, amounts and statements of data sources are no cards: %v", err)
	}
	first := func(tx *txnpb.Transaction) *txnpb.Effect { return &tx.Effects[0] }
	second := func(tx *txnpb.Transaction) *txnpb.Effect { return &first(tx).Done.Effects[0] }
	fields := map[string]func(tx *txnpb.Transaction, card string){
		"memo":                             func(tx *txnpb.Transaction, card string) { tx.Memo = card },
		"metadata, the name of label 0":    func(tx *txnpb.Transaction, card string) { tx.Metadata[0].Name = card },
		`metadata, label "order"`:          func(tx *txnpb.Transaction, card string) { tx.Metadata[0].Value = []byte(card) },
		"effect 0: target":                 func(tx *txnpb.Transaction, card string) { first(tx).Target = card },
		"effect 0: operation":              func(tx *txnpb.Transaction, card string) { first(tx).Operation = card },
		"effect 0: key":                    func(tx *txnpb.Transaction, card string) { first(tx).Key = card },
		"effect 0: the name of argument 1": func(tx *txnpb.Transaction, card string) { first(tx).Arguments[1].Name = card },
		`effect 0: argument "surprise"`: func(tx *txnpb.Transaction, card string) {
			first(tx).Arguments[0] = txnpb.Argument{Name: "surprise", Kind: txnpb.ArgumentKindBytes, Value: []byte(card)}
		},
		"effect 0: done: effect 0: done: effect 0: key": func(tx *txnpb.Transaction, card string) { second(tx).Done.Effects[0].Key = card },
		`effect 0: done: effect 0: failed: effect 0: argument "description"`: func(tx *txnpb.Transaction, card string) {
			second(tx).Failed.Effects[0].Arguments[3].Value = []byte(card)
		},
	}
	for i, name := range []string{"payment", "amount", "token", "description"} {
		fields[fmt.Sprintf("effect 0: argument %q", name)] = func(tx *txnpb.Transaction, card string) { first(tx).Arguments[i].Value = []byte(card) }
	}
	for field, put := range fields {
		for _, card := range numbers {
			tx := payment()
			put(tx, card)
			err := RefuseCards(message.Marshal(tx))
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), field+": a card's number") {
				t.Errorf("%s with %q: %v", field, card, err)
			}
			if err != nil && strings.Contains(err.Error(), "1111") {
				t.Errorf("%s: the error repeats the number: %v", field, err)
			}
		}
	}
	plain := payment()
	plain.Effects, plain.Memo = nil, numbers[0]
	if err := RefuseCards(message.Marshal(plain)); err != nil {
		t.Errorf("a transaction that owes no payment: %v", err)
	}
	if err := RefuseCards([]byte{effectsField<<3 | message.WireBytes, 5}); err == nil {
		t.Error("half a field is taken")
	}
}

// BenchmarkRefuseCards is what transactions pay that owe nothing.
func BenchmarkRefuseCards(b *testing.B) {
	for _, n := range []int{1, 8192} {
		tx := message.Marshal(&txnpb.Transaction{Id: u128.From64(1), Transfers: make([]ledgerpb.Transfer, n)})
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := RefuseCards(tx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
