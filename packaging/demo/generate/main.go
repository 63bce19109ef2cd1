// Command generate writes the demo's payments: four weeks of a small town's money.
//
//	go run ./packaging/demo/generate > packaging/demo/payments.csv
//
// The same bytes come out on every machine: one seed, and whole numbers only (a
// compiler may round floating point differently on another processor).
// ../README.md describes the columns and the town.
package main

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"
)

const (
	seed     = 20260302
	payments = 20000
	days     = 28

	customers = 440 // accounts 10000001…
	shops     = 45  // accounts 20000001…
	employers = 12  // accounts 30000001…
	landlords = 3   // accounts 40000001…
	banks     = 3   // accounts 90000978…, one for each currency
)

// Codes of transfers, as ../README.md lists them.
const (
	codePurchase = 1
	codeRefund   = 2
	codeSalary   = 3
	codeRent     = 4
	codePerson   = 5
	codeSupplier = 6
	codeCash     = 7
	codeFee      = 8
)

var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// currencies by ISO 4217, with how many accounts in a hundred use them.
var currencies = []struct {
	name   string
	number int // also the ledger
	share  int
}{{"EUR", 978, 84}, {"CHF", 756, 10}, {"USD", 840, 6}}

// trades are what shops do: what they sell for how much, in cents.
var trades = []struct {
	name    string
	texts   []string
	low     int
	typical int
	high    int
}{
	{"supermarket", []string{"groceries", "groceries, weekly", "bread and milk", "deposit and groceries"}, 180, 3400, 18900},
	{"bakery", []string{"bakery", "rolls", "birthday cake"}, 120, 480, 4200},
	{"café", []string{"Café Müller, table %d", "two coffees", "breakfast, table %d"}, 250, 720, 5600},
	{"fuel", []string{"fuel pump %d", "fuel pump %d and car wash"}, 1500, 5400, 11900},
	{"online", []string{"order %05d", "order %05d, express"}, 690, 4200, 64900},
	{"pharmacy", []string{"pharmacy", `prescription "%d"`}, 350, 1800, 12900},
	{"restaurant", []string{"dinner, table %d", "lunch menu", "déjeuner, table %d"}, 900, 3800, 24000},
	{"books", []string{"books", "newspaper", "school books, class %d"}, 150, 1900, 9900},
	{"tickets", []string{"monthly ticket", "single ticket", "day ticket, zone %d"}, 170, 290, 8600},
}

type account struct {
	number   int
	currency int // index of currencies
	weight   int // how often it is picked among its kind
	trade    int // of a shop
}

type payment struct {
	at               time.Duration // since monday
	debtor, creditor int
	cents            int
	currency         string
	code             int
	purpose          string
}

type town struct {
	*rand.Rand
	customers, shops, employers, landlords, banks []account
	payments                                      []payment
}

func main() {
	if err := write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write(w io.Writer) error {
	t := &town{Rand: rand.New(rand.NewPCG(seed, payments))}
	t.found()
	t.month()
	for len(t.payments) < payments {
		t.moment()
	}
	t.payments = t.payments[:payments]
	slices.SortStableFunc(t.payments, func(a, b payment) int { return cmp.Compare(a.at, b.at) })

	buffered := bufio.NewWriter(w)
	out := csv.NewWriter(buffered)
	out.Write([]string{"reference", "debtor", "creditor", "amount_cents", "currency", "code", "purpose"})
	for i, p := range t.payments {
		out.Write([]string{
			fmt.Sprintf("%s-%05d", monday.Add(p.at).Format("20060102"), i+1),
			strconv.Itoa(p.debtor), strconv.Itoa(p.creditor), strconv.Itoa(p.cents), p.currency, strconv.Itoa(p.code), p.purpose,
		})
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return err
	}
	return buffered.Flush()
}

// found opens the accounts.
func (t *town) found() {
	t.customers = t.accounts(10000001, customers, 30)
	t.shops = t.accounts(20000001, shops, 1)
	for i := range t.shops {
		t.shops[i].trade = i % len(trades)
	}
	t.employers = t.accounts(30000001, employers, 2)
	t.landlords = t.accounts(40000001, landlords, 1)
	for i := range currencies {
		t.banks = append(t.banks, account{number: 90000000 + currencies[i].number, currency: i, weight: 1})
		// Every currency has one of each kind.
		t.shops[i].currency, t.employers[i].currency, t.landlords[i].currency = i, i, i
	}
}

// accounts opens n accounts. The first is picked about n/flat times as often as the
// last: a few shops have most of the town's trade, and customers differ less.
func (t *town) accounts(first, n, flat int) []account {
	all := make([]account, n)
	for i := range all {
		all[i] = account{number: first + i, weight: 1000000 / (i + flat), currency: t.currency()}
	}
	return all
}

func (t *town) currency() int {
	at := t.IntN(100)
	for i, c := range currencies {
		if at -= c.share; at < 0 {
			return i
		}
	}
	return 0
}

// pick returns one of the accounts in a currency, by weight.
func (t *town) pick(from []account, currency int) account {
	total := 0
	for _, a := range from {
		if a.currency == currency {
			total += a.weight
		}
	}
	at := t.IntN(total)
	for _, a := range from {
		if a.currency == currency {
			if at -= a.weight; at < 0 {
				return a
			}
		}
	}
	panic("unreachable: the weights were counted above")
}

// cents returns an amount that is mostly near typical and seldom near high.
func (t *town) cents(low, typical, high int) int {
	if t.IntN(10) == 0 {
		return typical + t.IntN(high-typical)
	}
	return low + (t.IntN(typical-low)+t.IntN(typical-low)+t.IntN(typical-low))*2/3
}

// clock returns a time of a day between two hours.
func (t *town) clock(day, from, to int) time.Duration {
	return time.Duration(day)*24*time.Hour + time.Duration(from)*time.Hour + time.Duration(t.IntN((to-from)*3600))*time.Second
}

func (t *town) pay(at time.Duration, from, to account, cents, code int, purpose string) {
	t.payments = append(t.payments, payment{at, from.number, to.number, cents, currencies[from.currency].name, code, purpose})
}

// month makes what is due once: salaries, rents, deliveries, fees.
func (t *town) month() {
	for _, c := range t.customers {
		employer := t.pick(t.employers, c.currency)
		t.pay(t.clock(0, 5, 7), employer, c, t.cents(140000, 260000, 780000), codeSalary, "salary February")
		t.pay(t.clock(1, 6, 8), c, t.pick(t.landlords, c.currency), t.cents(38000, 72000, 145000), codeRent, "rent March")
		t.pay(t.clock(27, 22, 23), c, t.banks[c.currency], 390, codeFee, "account fee March")
	}
	for week := range 4 {
		for _, s := range t.shops {
			t.pay(t.clock(week*7+4, 9, 11), s, t.pick(t.employers, s.currency), t.cents(18000, 96000, 890000), codeSupplier, fmt.Sprintf("delivery week %d", 10+week))
		}
	}
}

// moment makes one payment of everyday life, and now and then its refund.
func (t *town) moment() {
	c := t.pick(t.customers, t.currency())
	day := t.IntN(days)
	switch n := t.IntN(100); {
	case n < 6:
		if friend := t.pick(t.customers, c.currency); friend.number != c.number {
			t.pay(t.clock(day, 7, 23), c, friend, t.cents(200, 1800, 25000), codePerson, []string{"thanks!", "dinner, your share", "for the gift", "Übernachtung"}[t.IntN(4)])
		}
	case n < 10:
		t.pay(t.clock(day, 6, 23), c, t.banks[c.currency], 1000*(1+t.IntN(20)), codeCash, fmt.Sprintf("cash machine %d", 1+t.IntN(9)))
	default:
		s := t.pick(t.shops, c.currency)
		trade := trades[s.trade]
		text := trade.texts[t.IntN(len(trade.texts))]
		number := 1 + t.IntN(40)
		if trade.name == "online" {
			number = 40000 + t.IntN(20000)
		}
		if slices.Contains([]byte(text), '%') {
			text = fmt.Sprintf(text, number)
		}
		at, cents := t.clock(day, 7, 22), t.cents(trade.low, trade.typical, trade.high)
		t.pay(at, c, s, cents, codePurchase, text)
		if t.IntN(60) == 0 {
			t.pay(at+time.Duration(600+t.IntN(100000))*time.Second, s, c, cents, codeRefund, "refund: "+text)
		}
	}
}
