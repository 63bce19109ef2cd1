package watchdog

import (
	"context"
	"log/slog"
	"time"
)

var _ Device = (*Chain)(nil)

// Chain is a Device for a machine whose hardware systemd holds (RuntimeWatchdogSec):
// after its time-out systemd is told to reset the machine. Where systemd cannot do even
// that, it does not feed the hardware either.
type Chain struct {
	timeout time.Duration
	timer   *time.Timer
	stop    context.CancelFunc
}

// resetRetry is the pause before systemd is told again.
const resetRetry = 5 * time.Second

// NewChain starts a Chain. reset has the machine reset, and may fail to.
func NewChain(timeout time.Duration, reset func(context.Context) error, log *slog.Logger) *Chain {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Chain{timeout: timeout, stop: cancel}
	c.timer = time.AfterFunc(timeout, func() {
		for ctx.Err() == nil {
			if err := reset(ctx); err != nil {
				log.Error("systemd does not reset the machine", "err", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(resetRetry):
			}
		}
	})
	return c
}

// Timeout implements Device.
func (c *Chain) Timeout() time.Duration { return c.timeout }

// Identity implements Device.
func (c *Chain) Identity() string { return "systemd" }

// Keepalive implements Device.
func (c *Chain) Keepalive() error {
	c.timer.Reset(c.timeout)
	return nil
}

// Disarm implements Device.
func (c *Chain) Disarm() error {
	c.timer.Stop()
	c.stop()
	return nil
}
