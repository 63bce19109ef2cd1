package store

import "testing"

// TestSensitive: whatever stands in a table is sensitive, unless it is known not to be. The
// prefix of keys is that of the package comment.
func TestSensitive(t *testing.T) {
	plain := map[table]bool{tableState: true, tableMetas: true, tableAccounts: true, tableBirths: true, tableHistory: true, tableTransfers: true,
		tableResolutions: true, tableExpiries: true, tableTransactions: true, tableLifetimes: true, tableNames: true, tableSettled: true,
		tableSpans: true, tableNotes: true, tableAccess: true, tableImports: true}
	for n := range 256 {
		if got := Sensitive([]byte{0, 1, byte(n), 'k'}); got == plain[table(n)] {
			t.Errorf("table %d: %v", n, got)
		}
	}
	if !Sensitive(nil) || !Sensitive([]byte{0, 1}) {
		t.Error("a key without a table is not sensitive")
	}
}
