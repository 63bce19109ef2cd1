package cardnumber

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestIn(t *testing.T) {
	for text, want := range map[string]bool{
		"":                              false,
		"4111111111111111":              true,
		"4111111111111112":              false,
		"4111 1111 1111 1111":           true,
		"4111-1111-1111-1111":           true,
		"4111\u00a01111\u20111111–1111": true,
		"４１１１１１１１１１１１１１１１":                   true,
		"4111 - 1111 - 1111 - 1111":          false, // three characters apart
		"4111  1111  1111  1111":             true,
		"378282246310005":                    true, // 15 digits
		"3782 822463 10005":                  true,
		"30569309025904":                     true, // 14
		"6304000000000000":                   true,
		"6759649826438453":                   true,
		"6011000990139424000":                false,
		"my card:4111111111111111.":          true,
		"x4111111111111111y":                 true,
		"12 4111 1111 1111 1111":             true,
		"4111 1111 1111 1111 12/29 737":      true,
		"1 2 3 4111111111111111":             true,
		"41111111 11111111 99999999 999":     true,
		"0000 0000 0000 0000":                false,
		"00000000000000":                     false,
		"411111111111111112345678":           false, // a group of 24 digits
		"41111111111111112345 4":             false,
		"2125412541254125412541254125412":    false,
		"2026-11-27T18:45:00.123456789Z":     false,
		"a\xff4111111111111111":              true,
		"4111,1111,1111,1111":                false,
		"tok_visa":                           false,
		"pm_1MqLiJLkdIwHu7ixUEgbFdYF":        false,
		strings.Repeat("1 ", 1000):           false,
		strings.Repeat("4111 ", 3) + "1 1 1": false,
	} {
		if got := In(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if got := In([]byte(text)); got != want {
			t.Errorf("%q as bytes: %v, want %v", text, got, want)
		}
	}
}

// TestAgainstPlain compares with the plainest way to say it: all runs of groups.
func TestAgainstPlain(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 200_000 {
		var b strings.Builder
		for range 1 + rng.IntN(6) {
			for range 1 + rng.IntN(8) {
				fmt.Fprint(&b, rng.IntN(10))
			}
			b.WriteString([]string{" ", "-", "x", ""}[rng.IntN(4)])
		}
		text := b.String()
		want := false
		for part := range strings.SplitSeq(text, "x") {
			groups := strings.FieldsFunc(part, func(r rune) bool { return r == ' ' || r == '-' })
			for i := range groups {
				for j := i + 1; j <= len(groups); j++ {
					if n := strings.Join(groups[i:j], ""); len(n) >= least && len(n) <= most && n[0] != '0' && luhn(n) {
						want = true
					}
				}
			}
		}
		if want {
			found++
		}
		if got := In(text); got != want {
			t.Fatalf("%q: %v, want %v", text, got, want)
		}
	}
	if found < 1000 {
		t.Errorf("only %d of the texts hold a number", found)
	}
}

// luhn is the formula as its description puts it: from the right, every second digit twice.
func luhn(n string) bool {
	sum, twice := 0, false
	for i := len(n) - 1; i >= 0; i-- {
		d := int(n[i] - '0')
		if twice {
			d *= 2
		}
		sum += d/10 + d%10
		twice = !twice
	}
	return sum%10 == 0
}

func FuzzIn(f *testing.F) {
	f.Add("4111 1111 1111 1111")
	f.Add("12 4111111111111111\xff")
	f.Fuzz(func(t *testing.T, text string) {
		if In(text) != In([]byte(text)) {
			t.Error("string and bytes differ")
		}
		if !In(text + "x4111111111111111") {
			t.Error("a card number behind it is not found")
		}
	})
}

func BenchmarkIn(b *testing.B) {
	text := "an order of 3 books, to be delivered to Main Street 12, 10115 Berlin"
	b.ReportAllocs()
	for b.Loop() {
		In(text)
	}
}
