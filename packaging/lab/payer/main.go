// Command payer is the application on the lab's client machine: clients that pay one
// after the other through the Go SDK and remember what they were told.
//
//	payer --kit client-kit.toml --payments payments.csv --answers answers.jsonl
//
// Login name and password are the first two lines of its standard input; when that
// ends, each client finishes the payment that it is at, and payer ends. Once in a
// while it prints a line of JSON on standard output:
//
//	{"answered":1200,"committed":1200,"aborted":0,"failed":0,"waiting_ms":3}
//
// failed counts payments whose outcome was not known within --patience; the client
// then submits the same transaction again until it knows. waiting_ms is how long the
// one that has waited longest has waited so far.
//
// The exit status is 0 if the outcome of every payment is known.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/drill"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// openWithin is patience with a cluster that starts.
	openWithin = 60 * time.Second
	// finishWithin is how long a client may go on asking for one payment's outcome
	// after its first failure: longer than a machine takes to boot and to be dug out.
	finishWithin = 2 * time.Minute
	// sayInterval is how often the line with the figures comes.
	sayInterval = 100 * time.Millisecond
)

func main() {
	p := &payer{}
	kit := flag.String("kit", "client-kit.toml", "the cluster's client kit")
	payments := flag.String("payments", "payments.csv", "what to pay, again and again")
	answers := flag.String("answers", "answers.jsonl", "where what clients are told is kept")
	clients := flag.Int("clients", 8, "clients at the same time")
	flag.DurationVar(&p.pause, "pause", 10*time.Millisecond, "of a client between an answer and its next payment")
	flag.DurationVar(&p.patience, "patience", 5*time.Second, "of a client with one payment before that counts as failed")
	flag.Parse()
	if err := p.run(*kit, *payments, *answers, *clients); err != nil {
		fmt.Fprintln(os.Stderr, "payer:", err)
		os.Exit(1)
	}
}

// payer is what the clients share.
type payer struct {
	pause, patience time.Duration
	payments        []drill.Payment
	answers         *drill.AnswerWriter
	stop            chan struct{}

	next                                 atomic.Int64
	answered, committed, aborted, failed atomic.Int64
	since                                []atomic.Int64 // when each client's payment began, µs since 1970; 0: it pauses
}

func (p *payer) run(kitPath, paymentsPath, answersPath string, clients int) error {
	kit, err := client.ReadKit(kitPath)
	if err != nil {
		return err
	}
	if p.payments, err = drill.ReadPayments(paymentsPath); err != nil {
		return err
	}
	f, err := os.OpenFile(answersPath, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	p.answers = drill.NewAnswerWriter(f)
	in := bufio.NewReader(os.Stdin)
	cfg := kit.Config()
	for _, to := range []*string{&cfg.LoginName, &cfg.Password} {
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("standard input must begin with login name and password, one line each: %w", err)
		}
		*to = strings.TrimSuffix(line, "\n")
	}
	p.stop = make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in) // ends with the input, whatever ends it
		close(p.stop)
	}()
	all, err := p.open(cfg, clients)
	if err != nil {
		return err
	}
	return p.pay(all)
}

// open logs the clients in and opens the accounts.
func (p *payer) open(cfg client.Config, clients int) ([]*client.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	var all []*client.Client
	for range clients {
		c, err := client.Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	begin := time.Now()
	told, err := drill.OpenAccounts(ctx, all[0], p.payments)
	if err != nil {
		return nil, err
	}
	for _, t := range told {
		if err := p.answers.Write(drill.Answer{Begin: begin, End: time.Now(), Told: t}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// pay runs all clients until they are told to stop.
func (p *payer) pay(clients []*client.Client) error {
	p.since = make([]atomic.Int64, len(clients))
	errs := make([]error, len(clients))
	done := make(chan struct{})
	var running sync.WaitGroup
	for i, c := range clients {
		running.Go(func() { errs[i] = p.client(i, c) })
	}
	go func() { running.Wait(); close(done) }()
	tick := time.NewTicker(sayInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := p.say(); err != nil {
				return err
			}
		case <-done:
			for _, c := range clients {
				c.Close()
			}
			return errors.Join(append(errs, p.say())...)
		}
	}
}

// client pays one payment after the other.
func (p *payer) client(number int, c *client.Client) error {
	for {
		select {
		case <-p.stop:
			return nil
		case <-time.After(p.pause):
		}
		pay := &p.payments[(p.next.Add(1)-1)%int64(len(p.payments))]
		tx := c.Transfer(pay.Debtor, pay.Creditor, pay.Amount, pay.Ledger, pay.Code)
		a := drill.Answer{Client: number, Begin: time.Now()}
		p.since[number].Store(a.Begin.UnixMicro())
		if err := p.submit(c, tx, &a); err != nil {
			return fmt.Errorf("client %d: payment %s: its outcome is not known: %w", number, pay.Reference, err)
		}
		p.since[number].Store(0)
		if err := p.answers.Write(a); err != nil {
			return err
		}
		p.answered.Add(1)
		if a.State == txnpb.StateCommitted {
			p.committed.Add(1)
		} else {
			p.aborted.Add(1)
		}
	}
}

// submit submits one transaction until its outcome is known.
func (p *payer) submit(c *client.Client, tx *txnpb.Transaction, a *drill.Answer) error {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), p.patience)
		told, err := drill.Submit(ctx, c, tx)
		cancel()
		a.End = time.Now()
		if err == nil {
			a.Told = told
			return nil
		}
		if a.Failure == "" {
			a.Failure = err.Error()
			p.failed.Add(1)
		}
		select { // a refusal may come at once
		case <-time.After(p.pause):
		case <-p.stop:
		}
		if ended := c.Err(); ended != nil || a.End.Sub(a.Begin) > finishWithin {
			return err
		}
	}
}

// say prints the figures.
func (p *payer) say() error {
	now, waiting := time.Now().UnixMicro(), int64(0)
	for i := range p.since {
		if since := p.since[i].Load(); since != 0 {
			waiting = max(waiting, now-since)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]int64{
		"answered": p.answered.Load(), "committed": p.committed.Load(), "aborted": p.aborted.Load(),
		"failed": p.failed.Load(), "waiting_ms": waiting / 1000,
	})
}
