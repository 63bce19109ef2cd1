// Package bench is `rrts bench`: what a cluster on this machine reaches, measured
// from the outside and with everything in the way that a client has in the field:
// TLS, gateways, the interconnect, three processes, fsync before every answer.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// accounts that the transfers move money between, so many that two transfers
	// seldom meet.
	accounts = 10_000
	// readyWithin bounds the start of the cluster.
	readyWithin = 30 * time.Second
	// warmUp runs before the measurement: connections, caches, the first flush.
	warmUp = 2 * time.Second
	// answerWithin is how long a client waits for one answer before it is an error.
	answerWithin = 10 * time.Second
	// benchLedger and benchCode are the transfers'.
	benchLedger, benchCode = 1, 1
)

// TxnConfig describes a measurement of transactions.
type TxnConfig struct {
	// Clients submit at the same time, each over a connection of its own and one
	// transaction after the other.
	Clients int
	// Batch is the number of transfers in a transaction: 1 is an atomic transaction,
	// more are independent of each other.
	Batch    int
	Duration time.Duration
	Arena    arena.Config
	Out      *term.Out
}

// TxnReport is the result, in its JSON form.
type TxnReport struct {
	TransfersPerS float64 `json:"transfers_per_s"`
	SubmitsPerS   float64 `json:"submits_per_s"`
	P50us         int64   `json:"p50_us"`
	P99us         int64   `json:"p99_us"`
	P999us        int64   `json:"p999_us"`
	Errors        int     `json:"errors"`
	SFUs          int     `json:"sfus"`
	Durable       bool    `json:"durable"`
}

// Txn measures transactions on a throw-away cluster.
func Txn(ctx context.Context, cfg TxnConfig) (*TxnReport, error) {
	a, err := arena.New(cfg.Arena)
	if err != nil {
		return nil, err
	}
	report, err := measure(ctx, a, cfg)
	return report, errors.Join(err, a.Close())
}

func measure(ctx context.Context, a *arena.Arena, cfg TxnConfig) (*TxnReport, error) {
	for i := range a.SFUs() {
		if err := a.Start(i); err != nil {
			return nil, err
		}
	}
	cfg.Out.Say("%d SFUs, %d clients, %d transfers a transaction, for %v", a.SFUs(), cfg.Clients, cfg.Batch, cfg.Duration)
	clients, err := connect(ctx, a, cfg.Clients)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := time.Now().Add(warmUp)
	end := begin.Add(cfg.Duration)
	results := make([]result, len(clients))
	var running sync.WaitGroup
	for i, c := range clients {
		running.Go(func() { results[i] = load(ctx, c, cfg.Batch, begin, end) })
	}
	stopProgress := progress(cfg.Out, begin, end)
	running.Wait()
	stopProgress()
	for _, c := range clients {
		c.Close()
	}
	return summarize(results, cfg, a.SFUs())
}

// progress shows how far the measurement is until the returned function is called.
func progress(out *term.Out, begin, end time.Time) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				out.Progress("")
				return
			case now := <-ticker.C:
				if now.Before(begin) {
					out.Progress("warming up")
				} else {
					out.Progress("measuring, %v left", end.Sub(now).Round(time.Second))
				}
			}
		}
	})
	return func() { close(done); running.Wait() }
}

// connect opens the accounts and n clients. One login serves them all.
func connect(ctx context.Context, a *arena.Arena, n int) ([]*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for i := range a.SFUs() {
		if err := a.WaitControl(ctx, i); err != nil {
			return nil, err
		}
	}
	operator, err := a.Operator(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer operator.Close()
	users, err := arena.Register(ctx, operator, 1)
	if err != nil {
		return nil, err
	}
	first, err := a.Login(ctx, users[0])
	if err != nil {
		return nil, err
	}
	defer first.Close()
	for begin := uint64(1); begin <= accounts; begin += 1000 {
		tx := operator.Transaction()
		for id := begin; id < begin+1000; id++ {
			tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(id), Ledger: benchLedger, Code: benchCode})
		}
		client.Give(tx, first.Session().User)
		if _, err := operator.Submit(ctx, tx); err != nil {
			return nil, fmt.Errorf("bench: opening accounts: %w", err)
		}
	}
	kit := a.Kit()
	var clients []*client.Client
	for range n {
		c, err := client.Open(ctx, client.Config{
			Gateways: kit.Gateways, RootCAs: kit.Pool(), ClusterID: [16]byte(kit.ID), LoginKey: kit.Signer(), Token: first.Token(), SingleConnection: true,
		})
		if err != nil {
			return nil, fmt.Errorf("bench: client %d of %d: %w", len(clients)+1, n, err)
		}
		clients = append(clients, c)
	}
	return clients, nil
}

// result is what one client saw within the measurement.
type result struct {
	latencies []time.Duration
	transfers int
	errors    int
	first     error
}

// load submits one transaction after the other until end, and counts those that
// began at begin or later.
func load(ctx context.Context, c *client.Client, batch int, begin, end time.Time) (r result) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for {
		tx := c.Transaction()
		if batch > 1 {
			tx.Mode = txnpb.ModeIndependent
		}
		tx.Transfers = make([]ledgerpb.Transfer, batch)
		for i := range tx.Transfers {
			from := rng.Uint64N(accounts)
			to := (from + 1 + rng.Uint64N(accounts-1)) % accounts
			tx.Transfers[i] = ledgerpb.Transfer{
				Id: c.NewID(), DebitAccountId: u128.From64(from + 1), CreditAccountId: u128.From64(to + 1),
				Amount: u128.From64(1 + rng.Uint64N(100)), Ledger: benchLedger, Code: benchCode,
			}
		}
		at := time.Now()
		if !at.Before(end) {
			return r
		}
		submitCtx, cancel := context.WithTimeout(ctx, answerWithin)
		outcome, err := c.Submit(submitCtx, tx)
		cancel()
		if at.Before(begin) {
			continue
		}
		switch {
		case err == nil && outcome.Results != nil && len(outcome.Results.Exceptions) > 0:
			x := outcome.Results.Exceptions[0]
			err = fmt.Errorf("bench: transfer %d: %v", x.Index, ledgerpb.CreateTransferStatus(x.Status))
			fallthrough
		case err != nil:
			r.errors++
			if r.first == nil {
				r.first = err
			}
		default:
			r.latencies = append(r.latencies, time.Since(at))
			r.transfers += batch
		}
	}
}

func summarize(results []result, cfg TxnConfig, sfus int) (*TxnReport, error) {
	report := &TxnReport{SFUs: sfus, Durable: true}
	var all []time.Duration
	transfers := 0
	for _, r := range results {
		all = append(all, r.latencies...)
		transfers += r.transfers
		report.Errors += r.errors
		if r.first != nil {
			cfg.Out.Say("an error: %v", r.first)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("bench: no transaction was committed")
	}
	slices.Sort(all)
	at := func(q float64) int64 { return all[min(int(q*float64(len(all))), len(all)-1)].Microseconds() }
	report.P50us, report.P99us, report.P999us = at(0.5), at(0.99), at(0.999)
	report.SubmitsPerS = round(float64(len(all)) / cfg.Duration.Seconds())
	report.TransfersPerS = round(float64(transfers) / cfg.Duration.Seconds())
	return report, nil
}

// round keeps three digits behind the point.
func round(v float64) float64 { return float64(int64(v*1000)) / 1000 }
