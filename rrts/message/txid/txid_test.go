package txid

import (
	"testing"

	"virtualservicesinc.com/rrts/message/u128"
)

// TestTransfer: these numbers never change, or a repeated transaction would no
// longer be recognised by its transfers.
func TestTransfer(t *testing.T) {
	tx := u128.Int{Hi: 0x0199_c0de_cafe_7abc, Lo: 0x8000_0000_0000_0001}
	for place, want := range map[uint32]u128.Int{
		0:         {Hi: 0x0199_c0de_cafe_8483, Lo: 0xaa2c_b9b7_a912_d5cc},
		1:         {Hi: 0x0199_c0de_cafe_82d7, Lo: 0xb0fd_e697_483c_38f8},
		1<<32 - 1: {Hi: 0x0199_c0de_cafe_87ee, Lo: 0x8ad9_883b_cf35_bb85},
	} {
		got := Transfer(tx, place)
		if got != want {
			t.Errorf("place %d: %#x %#x", place, got.Hi, got.Lo)
		}
	}
	seen := map[u128.Int]bool{tx: true}
	for place := range uint32(10_000) {
		id := Transfer(tx, place)
		if id.Hi>>16 != tx.Hi>>16 || id.Hi>>12&15 != 8 || id.Lo>>62 != 2 {
			t.Fatalf("place %d: %v is no UUIDv8 of its time", place, id)
		}
		if seen[id] {
			t.Fatalf("place %d: %v again", place, id)
		}
		seen[id] = true
	}
	if other := Transfer(u128.Int{Hi: tx.Hi, Lo: tx.Lo + 1}, 0); seen[other] {
		t.Errorf("another transaction's transfer is %v too", other)
	}
}
