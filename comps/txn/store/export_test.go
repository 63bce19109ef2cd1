package store

// WithSettleEvents returns cfg with an overlay that is settled after n rows.
func WithSettleEvents(cfg Config, n int) Config {
	cfg.settleEvents = n
	return cfg
}

// Settled waits until nothing is being settled.
func (d *DB) Settled() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.old != nil {
		d.settled.Wait()
	}
}
