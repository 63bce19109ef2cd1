// Command shop is a shop's checkout that reaches the world outside: it holds a customer's
// money, writes an order into a database, takes the money through a payment provider and
// mails a receipt, all by one transaction, and puts everything back when a step fails for
// good.
//
//	make example-shop
//
// It makes a cluster of three SFUs on this machine, with a database (SQLite, through ODBC),
// a payment provider (RRTS's sandbox) and a mail server of its own; checks out some tens of
// baskets, of which some are meant to fail, each at another step, while one of the SFUs is
// killed; and then compares what the ledger, the database, the provider and the mailbox say.
// Its status is 0 only if they agree.
//
// Read checkout.go first: it has the transaction. cluster.go makes the cluster and its
// configuration, mails.go is the mail server, books.go compares.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
)

// options are what the command line says.
type options struct {
	programs  string // the directory of rrtsd and rrts-odbc
	checkouts int
	kill      bool // one of the SFUs, in the middle
	out       io.Writer
}

func main() {
	o := options{out: os.Stdout}
	flag.StringVar(&o.programs, "programs", "build", "the directory of rrtsd and rrts-odbc")
	flag.IntVar(&o.checkouts, "checkouts", 48, "how many baskets are checked out")
	flag.BoolVar(&o.kill, "kill", true, "kill one of the SFUs in the middle, and start it again")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// run does all of it.
func run(ctx context.Context, o options) (err error) {
	ctx, stop := context.WithTimeout(ctx, 5*time.Minute)
	defer stop()
	dir, err := os.MkdirTemp("", "rrts-shop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	box, err := newMailbox()
	if err != nil {
		return err
	}
	defer box.Close()
	fmt.Fprintln(o.out, "starting three SFUs, with a database, a payment provider and a mail server")
	c, err := newCluster(dir, o.programs, box.address)
	if err != nil {
		return err
	}
	defer c.stop()
	for i := range c.sfus {
		if err := c.start(i); err != nil {
			return err
		}
	}
	s, err := open(ctx, c)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, c.lastWords())
	}
	defer s.Close()
	s.out = o.out

	began := time.Now()
	all := s.checkOutAll(ctx, o.checkouts, func() {
		if o.kill {
			fmt.Fprintf(o.out, "killing SFU %s, and starting it again\n", c.sfus[0].name)
			c.kill(0)
			if err := c.start(0); err != nil {
				fmt.Fprintln(o.out, "shop:", err)
			}
		}
	})
	fmt.Fprintf(o.out, "%d baskets in %v\n", len(all), time.Since(began).Round(100*time.Millisecond))
	return s.compare(ctx, all, box, filepath.Join(dir, "provider"))
}

// checkOutAll checks out baskets, some at a time, and calls half when half of them are done.
func (s *shop) checkOutAll(ctx context.Context, n int, half func()) []*basket {
	work, all := make(chan *basket), make([]*basket, n)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for b := range work {
				b.err = s.checkOut(ctx, b)
				s.say(b)
			}
		})
	}
	for i := range all {
		if i == n/2 {
			half()
		}
		all[i] = &basket{order: fmt.Sprintf("order-%d", i+1), price: uint64(500 + 100*i), story: &stories[i%len(stories)]}
		all[i].payment = s.till.NewID()
		work <- all[i]
	}
	close(work)
	workers.Wait()
	return all
}

// say tells what became of a basket.
func (s *shop) say(b *basket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what := "paid"
	var not *client.NotCompletedError
	switch {
	case errors.As(b.err, &not):
		what = "not all of it: "
		for _, end := range not.Outcome.Completion.Ends {
			if end.Reason != "" {
				what += end.Service + " " + end.Operation + ": " + end.Reason
				break
			}
		}
	case b.err != nil:
		what = "FAILED: " + b.err.Error()
	}
	fmt.Fprintf(s.out, "%-9s %5d  %-32s %s\n", b.order, b.price, b.story.name, what)
}

// basket is what a customer wants to pay.
type basket struct {
	order   string
	price   uint64 // in cents
	story   *story
	payment u128.Int // kept before anything is submitted: a till that loses power asks again
	err     error
}
