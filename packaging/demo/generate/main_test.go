package main

import (
	"bytes"
	"encoding/csv"
	"os"
	"strconv"
	"testing"
	"unicode/utf8"
)

func TestFileIsCurrent(t *testing.T) {
	var want bytes.Buffer
	if err := write(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../payments.csv")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Bytes(), got) {
		t.Error("payments.csv is not what generate writes; run: go run ./packaging/demo/generate > packaging/demo/payments.csv")
	}
}

// TestFileKeepsItsWord holds the file to what ../README.md says of it.
func TestFileKeepsItsWord(t *testing.T) {
	f, err := os.Open("../payments.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != payments+1 {
		t.Fatalf("%d rows", len(rows)-1)
	}
	references := map[string]bool{}
	currency := map[string]string{}
	kinds := map[string]int{}
	busiest := map[string]int{}
	for i, r := range rows[1:] {
		reference, debtor, creditor, cents, cur, code, purpose := r[0], r[1], r[2], r[3], r[4], r[5], r[6]
		if references[reference] || len(reference) != 14 {
			t.Fatalf("row %d: reference %s", i+1, reference)
		}
		references[reference] = true
		if debtor == creditor || len(debtor) != 8 || len(creditor) != 8 {
			t.Fatalf("row %d: from %s to %s", i+1, debtor, creditor)
		}
		for _, a := range []string{debtor, creditor} {
			if currency[a] == "" {
				currency[a] = cur
				kinds[a[:1]]++
			}
			if currency[a] != cur {
				t.Fatalf("row %d: account %s has %s and %s", i+1, a, currency[a], cur)
			}
			busiest[a]++
		}
		if n, err := strconv.Atoi(cents); err != nil || n < 1 || n > 10_000_00 {
			t.Fatalf("row %d: amount %s", i+1, cents)
		}
		if n, err := strconv.Atoi(code); err != nil || n < codePurchase || n > codeFee {
			t.Fatalf("row %d: code %s", i+1, code)
		}
		if !utf8.ValidString(purpose) || purpose == "" {
			t.Fatalf("row %d: purpose %q", i+1, purpose)
		}
	}
	if len(currency) != 503 || kinds["1"] != customers || kinds["2"] != shops || kinds["3"] != employers || kinds["4"] != landlords || kinds["9"] != banks {
		t.Errorf("%d accounts: %v", len(currency), kinds)
	}
	if busiest["20000001"] < payments/5 {
		t.Errorf("the supermarket has %d payments", busiest["20000001"])
	}
}
