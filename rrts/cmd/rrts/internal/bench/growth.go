package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/procfs"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// GrowthConfig describes a measurement of a ledger that grows.
type GrowthConfig struct {
	// Accounts are opened first; the transfers are between any two of them.
	Accounts uint64
	// Transfers is how far the ledger grows: a power of ten, at least 1,000.
	Transfers uint64
	// Batch is the number of operations of a transaction, and Clients how many submit
	// at the same time.
	Batch, Clients int
	// Rest is how long the cluster is left alone before its steady memory is read.
	Rest  time.Duration
	Arena arena.Config
	Out   *term.Out
	// Step is called with each row when it is measured.
	Step func(GrowthStep) error
}

// GrowthStep is what one stretch of the growth cost, in its JSON form: from one power of
// ten to the next.
type GrowthStep struct {
	Accounts   uint64  `json:"accounts"`
	From       uint64  `json:"from"`
	Transfers  uint64  `json:"transfers"`   // in the ledger at its end
	WallUs     float64 `json:"wall_us"`     // a transfer
	CPUUs      float64 `json:"cpu_us"`      // a transfer, of all SFUs together
	SFUCPUUs   float64 `json:"sfu_cpu_us"`  // a transfer, of one SFU in the mean
	RSSMB      float64 `json:"rss_mb"`      // of the largest SFU at its end
	MaxRSSMB   float64 `json:"max_rss_mb"`  // of the largest SFU so far
	StateMB    float64 `json:"state_mb"`    // of one SFU on its disk, journal included
	SteadyMB   float64 `json:"steady_mb"`   // as RSSMB, after the rest; the last step alone has it
	OpeningUs  float64 `json:"opening_us"`  // wall time of an account's opening; the first step alone has it
	OpeningMB  float64 `json:"opening_mb"`  // RSS of the largest SFU when all accounts are open; likewise
	OpeningCPU float64 `json:"opening_cpu"` // CPU µs of an account's opening on one SFU in the mean; likewise
}

// Growth lets a ledger grow, and measures what a transfer costs at each power of ten.
func Growth(ctx context.Context, cfg GrowthConfig) error {
	a, err := arena.New(cfg.Arena)
	if err != nil {
		return err
	}
	return errors.Join(grow(ctx, a, cfg), a.Close())
}

func grow(ctx context.Context, a *arena.Arena, cfg GrowthConfig) error {
	g := &growth{cfg: cfg, arena: a}
	for i := range a.SFUs() {
		if err := a.Start(i); err != nil {
			return err
		}
	}
	ready, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for i := range a.SFUs() {
		if err := a.WaitControl(ready, i); err != nil {
			return err
		}
	}
	for i := range cfg.Clients {
		op, err := a.Operator(ready, i%a.SFUs())
		if err != nil {
			return err
		}
		defer op.Close()
		g.clients = append(g.clients, op)
	}
	cfg.Out.Say("%d SFUs, %d clients: %d accounts, then %d transfers, %d operations a transaction", a.SFUs(), cfg.Clients, cfg.Accounts, cfg.Transfers, cfg.Batch)
	opening, err := g.stretch(ctx, "accounts", 0, cfg.Accounts, g.open)
	if err != nil {
		return err
	}
	for from, to := uint64(0), uint64(1000); to <= cfg.Transfers; from, to = to, 10*to {
		s, err := g.stretch(ctx, "transfers", from, to, g.pay)
		if err != nil {
			return err
		}
		if from == 0 {
			s.OpeningUs, s.OpeningMB, s.OpeningCPU = opening.WallUs, opening.RSSMB, opening.SFUCPUUs
		}
		if 10*to > cfg.Transfers {
			if err := pause(ctx, cfg.Rest); err != nil {
				return err
			}
			if s.SteadyMB, _, err = memory(g.arena); err != nil {
				return err
			}
		}
		if err := cfg.Step(s); err != nil {
			return err
		}
	}
	return nil
}

// growth is one measurement in progress.
type growth struct {
	cfg     GrowthConfig
	arena   *arena.Arena
	clients []*client.Client
}

// stretch lets the clients do what is left up to a number, and measures it.
func (g *growth) stretch(ctx context.Context, what string, from, to uint64, fill func(tx *txnpb.Transaction, c *client.Client, from, to uint64)) (GrowthStep, error) {
	s := GrowthStep{Accounts: g.cfg.Accounts, From: from, Transfers: to}
	before, err := cpu(g.arena)
	if err != nil {
		return s, err
	}
	began := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Uint64
	next.Store(from)
	var running sync.WaitGroup
	for _, c := range g.clients {
		running.Go(func() {
			for ctx.Err() == nil {
				end := next.Add(uint64(g.cfg.Batch))
				begin := end - uint64(g.cfg.Batch)
				if begin >= to {
					return
				}
				tx := c.Transaction()
				tx.Mode = txnpb.ModeIndependent
				fill(tx, c, begin, min(end, to))
				o, err := c.Submit(ctx, tx)
				if err == nil && o.Results != nil && len(o.Results.Exceptions) > 0 {
					err = fmt.Errorf("bench: operation %d: status %d", o.Results.Exceptions[0].Index, o.Results.Exceptions[0].Status)
				}
				if err != nil {
					cancel(err)
					return
				}
				g.cfg.Out.Progress("%d of %d %s", begin, to, what)
			}
		})
	}
	running.Wait()
	g.cfg.Out.Progress("")
	if err := context.Cause(ctx); err != nil {
		return s, err
	}
	wall := time.Since(began)
	after, err := cpu(g.arena)
	if err != nil {
		return s, err
	}
	n := float64(to - from)
	s.WallUs, s.CPUUs = round(float64(wall.Microseconds())/n), round((after-before)*1e6/n)
	s.SFUCPUUs = round(s.CPUUs / float64(g.arena.SFUs()))
	if s.RSSMB, s.MaxRSSMB, err = memory(g.arena); err != nil {
		return s, err
	}
	s.StateMB, err = g.disk()
	return s, err
}

func (g *growth) open(tx *txnpb.Transaction, _ *client.Client, from, to uint64) {
	for id := from; id < to; id++ {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(id + 1), Ledger: benchLedger, Code: benchCode})
	}
}

func (g *growth) pay(tx *txnpb.Transaction, c *client.Client, from, to uint64) {
	rng := rand.New(rand.NewPCG(from, to))
	for range to - from {
		debtor := rng.Uint64N(g.cfg.Accounts)
		creditor := (debtor + 1 + rng.Uint64N(g.cfg.Accounts-1)) % g.cfg.Accounts
		tx.Transfers = append(tx.Transfers, ledgerpb.Transfer{
			Id: c.NewID(), DebitAccountId: u128.From64(debtor + 1), CreditAccountId: u128.From64(creditor + 1),
			Amount: u128.From64(1 + rng.Uint64N(100)), Ledger: benchLedger, Code: benchCode,
		})
	}
}

// cpu is the processor time of all SFUs so far, in seconds.
func cpu(a *arena.Arena) (seconds float64, err error) {
	err = each(a, func(p procfs.Proc) error {
		st, err := p.Stat()
		seconds += st.CPUTime()
		return err
	})
	return seconds, err
}

// memory is what the largest SFU has resident, and had at most, in MB.
func memory(a *arena.Arena) (now, most float64, err error) {
	err = each(a, func(p procfs.Proc) error {
		st, err := p.NewStatus()
		now, most = max(now, round(float64(st.VmRSS)/1e6)), max(most, round(float64(st.VmHWM)/1e6))
		return err
	})
	return now, most, err
}

// each calls f with the process of every SFU.
func each(a *arena.Arena, f func(procfs.Proc) error) error {
	for i := range a.SFUs() {
		p, err := procfs.NewProc(a.Pid(i))
		if err == nil {
			err = f(p)
		}
		if err != nil {
			return fmt.Errorf("bench: %s: %w", a.Name(i), err)
		}
	}
	return nil
}

// disk is what the first SFU's state directory holds, in MB.
func (g *growth) disk() (float64, error) {
	var bytes int64
	err := filepath.WalkDir(g.arena.StateDir(0), func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the store has removed it meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return round(float64(bytes) / 1e6), err
}
