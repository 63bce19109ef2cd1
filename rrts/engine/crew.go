package engine

import (
	"context"
	"sync"
)

// Crew is the goroutines of a Component that its Stop waits for: what they use is closed
// behind them. The zero Crew has none.
type Crew struct{ running sync.WaitGroup }

// Go runs f on a goroutine of the host's, under a context that ends with ctx, too. It is not
// to be called while Wait may find the Crew empty.
func (c *Crew) Go(ctx context.Context, host Host, name string, f func(context.Context)) {
	c.running.Add(1)
	host.Go(name, func(hostCtx context.Context) {
		defer c.running.Done()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(hostCtx, cancel)()
		f(ctx)
	})
}

// Wait returns when all of them have ended.
func (c *Crew) Wait() { c.running.Wait() }
