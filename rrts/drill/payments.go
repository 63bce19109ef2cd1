package drill

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"virtualservicesinc.com/rrts/message/u128"
)

// Payment is one line of the input.
type Payment struct {
	Reference        string
	Debtor, Creditor u128.Int
	Amount           u128.Int // hundredths of the currency
	Ledger           uint32   // ISO 4217 number of the currency
	Code             uint32
}

// columns of the input, in this order; further ones are passed over.
var columns = []string{"reference", "debtor", "creditor", "amount_cents", "currency", "code"}

// currencies by their ISO 4217 numbers, which become ledgers.
var currencies = map[string]uint32{"EUR": 978, "CHF": 756, "USD": 840}

// ReadPayments reads a CSV file. An error names line and column.
func ReadPayments(path string) ([]Payment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("drill: the payments: %w", err)
	}
	defer f.Close()
	payments, err := parsePayments(f)
	if err != nil {
		return nil, fmt.Errorf("drill: %s: %w", path, err)
	}
	return payments, nil
}

func parsePayments(in io.Reader) ([]Payment, error) {
	r := csv.NewReader(in)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("the header line: %w", err)
	}
	if len(header) < len(columns) || !slices.Equal(header[:len(columns)], columns) {
		return nil, fmt.Errorf("the header line is %q, it must begin with %q", header, columns)
	}
	var all []Payment
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		p, err := parsePayment(row)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, errors.New("no payments")
	}
	return all, nil
}

func parsePayment(row []string) (Payment, error) {
	p := Payment{Reference: row[0]}
	for i, field := range []*u128.Int{&p.Debtor, &p.Creditor, &p.Amount} {
		v, err := u128.Parse(row[1+i])
		if err != nil || v.IsZero() {
			return p, fmt.Errorf("%s %q is not a number of at least 1", columns[1+i], row[1+i])
		}
		*field = v
	}
	var ok bool
	if p.Ledger, ok = currencies[row[4]]; !ok {
		return p, fmt.Errorf("currency %q is not EUR, CHF or USD", row[4])
	}
	code, err := strconv.ParseUint(row[5], 10, 16)
	if err != nil || code == 0 {
		return p, fmt.Errorf("code %q is not a number from 1 to 65535", row[5])
	}
	p.Code = uint32(code)
	if p.Debtor == p.Creditor {
		return p, fmt.Errorf("debtor and creditor are both %v", p.Debtor)
	}
	return p, nil
}
