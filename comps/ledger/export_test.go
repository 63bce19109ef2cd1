package ledger

// ShrinkCaches sets all of the caches' bounds to n, so that tests see evictions.
func ShrinkCaches(l *Ledger, n int) {
	l.cfg = Config{MaxCachedAccounts: n, MaxCachedPendings: n, MaxCachedIDs: n}
	l.ids.Load(l.state.TransferIDs, n)
}
