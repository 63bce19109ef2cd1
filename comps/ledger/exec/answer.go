package exec

import (
	"fmt"
	"strconv"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// appendResults appends the answer to a request with n events. The error says
// that the results are not of such a request.
func appendResults(b []byte, k *kind, n int, r *txnpb.Results) ([]byte, error) {
	if int(r.Count) != n {
		return b, fmt.Errorf("exec: results of %d events, the request has %d", r.Count, n)
	}
	rest := r.Exceptions
	b = append(b, `{"results":[`...)
	for i := range n {
		e := txnpb.Exception{Timestamp: r.Timestamp + uint64(i)}
		if len(rest) > 0 && rest[0].Index == uint32(i) {
			e, rest = rest[0], rest[1:]
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"status":`...)
		if k == &createAccounts {
			b = appendName(b, ledgerpb.CreateAccountStatus(e.Status))
		} else {
			b = appendName(b, ledgerpb.CreateTransferStatus(e.Status))
		}
		b = append(b, `,"timestamp":`...)
		b = strconv.AppendUint(b, e.Timestamp, 10)
		b = append(b, '}')
	}
	if len(rest) > 0 {
		return b, fmt.Errorf("exec: a result of event %d out of order, the request has %d", rest[0].Index, n)
	}
	return append(b, ']', '}'), nil
}

// The answers to lookups and queries: one list under its name.

func answerAccounts(b []byte, a *txnpb.QueryAnswer) []byte {
	return appendAnswer(b, "accounts", accountFields, a.Accounts)
}

func answerTransfers(b []byte, a *txnpb.QueryAnswer) []byte {
	return appendAnswer(b, "transfers", transferFields, a.Transfers)
}

func answerBalances(b []byte, a *txnpb.QueryAnswer) []byte {
	return appendAnswer(b, "balances", balanceFields, a.Balances)
}

func answerEvents(b []byte, a *txnpb.QueryAnswer) []byte {
	return appendAnswer(b, "events", eventFields, a.Events)
}

func appendAnswer[T any](b []byte, name string, fields []field[T], list []T) []byte {
	b = append(b, `{"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return append(appendList(b, fields, list), '}')
}
