package u128

import (
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func toBig(x Int) *big.Int {
	b := x.Bytes()
	return new(big.Int).SetBytes(b[:])
}

var anyInt = rapid.Custom(func(t *rapid.T) Int {
	word := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 255, 256, 1<<63 - 1, 1 << 63, ^uint64(0)}))
	return Int{word.Draw(t, "hi"), word.Draw(t, "lo")}
})

func TestAgainstBig(t *testing.T) {
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	rapid.Check(t, func(t *rapid.T) {
		x, y := anyInt.Draw(t, "x"), anyInt.Draw(t, "y")
		bx, by := toBig(x), toBig(y)
		if got, want := x.Cmp(y), bx.Cmp(by); got != want || x.Less(y) != (want < 0) {
			t.Fatalf("Cmp = %d, want %d", got, want)
		}
		sum, over := x.Add(y)
		want := new(big.Int).Add(bx, by)
		if over != (want.Cmp(limit) >= 0) || toBig(sum).Cmp(want.Mod(want, limit)) != 0 {
			t.Fatalf("Add = %v, %v", sum, over)
		}
		diff, under := x.Sub(y)
		want = new(big.Int).Sub(bx, by)
		if under != (want.Sign() < 0) || toBig(diff).Cmp(want.Mod(want, limit)) != 0 {
			t.Fatalf("Sub = %v, %v", diff, under)
		}
		if s := x.String(); s != bx.String() {
			t.Fatalf("String = %s, want %s", s, bx)
		}
		if back, err := Parse(x.String()); err != nil || back != x {
			t.Fatalf("Parse(String) = %v, %v", back, err)
		}
		wire := x.AppendWire(nil)
		if back, err := ParseWire(wire); err != nil || back != x || len(wire) != x.WireSize() || len(wire) != len(bx.Bytes()) {
			t.Fatalf("wire form % x of %v gives %v, %v", wire, x, back, err)
		}
		if got := Min(x, y); toBig(got).Cmp(bx) > 0 || toBig(got).Cmp(by) > 0 {
			t.Fatalf("Min(%v, %v) = %v", x, y, got)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "-1", "+1", " 1", "1 ", "0x10", "1e3", "340282366920938463463374607431768211456", "9999999999999999999999999999999999999999"} {
		if x, err := Parse(s); !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q) = %v, %v; want ErrSyntax", s, x, err)
		}
	}
	if x, err := Parse("340282366920938463463374607431768211455"); err != nil || x != Max {
		t.Errorf("Parse(max) = %v, %v", x, err)
	}
	if _, err := ParseWire(make([]byte, 17)); !errors.Is(err, ErrLength) {
		t.Errorf("ParseWire(17 bytes): %v", err)
	}
}
