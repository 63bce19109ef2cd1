package exec

import (
	"encoding/json"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// AppendTransaction appends a transaction as the JSON object that ParseTransaction reads.
// Changes of users and of effects, which no file may hold, are left out.
func AppendTransaction(b []byte, tx *txnpb.Transaction) []byte {
	b = append(b, `{"id":"`...)
	b = tx.Id.Append(b)
	b = append(b, `","mode":`...)
	b = appendName(b, tx.Mode)
	if tx.Memo != "" {
		b = append(b, `,"memo":`...)
		b = appendText(b, tx.Memo)
	}
	if len(tx.Metadata) > 0 {
		b = append(b, `,"metadata":`...)
		for i, l := range tx.Metadata {
			b = append(b, "{,"[min(i, 1)])
			b = append(appendText(b, l.Name), ':')
			b = appendText(b, string(l.Value))
		}
		b = append(b, '}')
	}
	b = appendNamed(b, "preconditions", preconditionFields, tx.Preconditions)
	b = appendNamed(b, "accounts", accountFields, tx.Accounts)
	b = appendNamed(b, "access", accessFields, tx.Access)
	b = appendNamed(b, "transfers", transferFields, tx.Transfers)
	if tx.DeriveTransferIds {
		b = append(b, `,"derive_transfer_ids":true`...)
	}
	if len(tx.Effects) > 0 {
		b = append(b, `,"effects":`...)
		b = appendEffects(b, tx.Effects)
	}
	return append(b, '}')
}

// appendNamed appends a list under its name, unless it is empty.
func appendNamed[T any](b []byte, name string, fields []field[T], list []T) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendList(b, fields, list)
}

func appendText(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // no string is refused
	}
	return append(b, quoted...)
}
