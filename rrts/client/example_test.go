package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// A payment, with all that can become of it.
func Example() {
	kit, err := client.ReadKit("/etc/rrts/client-kit.toml")
	if err != nil {
		log.Fatal(err)
	}
	config := kit.Config()
	config.LoginName, config.Password = "shop-till-1", "from a safe place"
	c, err := client.Open(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	buyer, shop := u128.From64(1001), u128.From64(2001)
	tx := c.Transfer(buyer, shop, u128.From64(19_99), 1, 7)
	// Keep tx.Id with the order before it is submitted: it is the way back.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	outcome, err := c.Submit(ctx, tx)
	var not *client.NotCommittedError
	var pending *client.PendingError
	switch {
	case err == nil:
		fmt.Println("paid, as number", outcome.Csn)
	case errors.As(err, &not):
		fmt.Println("not paid, and never will be:", not.Outcome.Reason)
	case errors.As(err, &pending):
		fmt.Println("not known yet; ask again for", pending.ID)
	default:
		fmt.Println("refused:", err)
	}
}

// Many payments in flight at once, from one goroutine.
func ExampleClient_Go() {
	var c *client.Client // from Open
	var futures []*client.Future
	for range 1000 {
		futures = append(futures, c.Go(context.Background(), c.Transfer(u128.From64(1001), u128.From64(2001), u128.From64(5), 1, 7)))
	}
	for _, f := range futures {
		if _, err := f.Wait(); err != nil {
			log.Print(err)
		}
	}
}

// Several operations, all or none: an account is opened and receives its first
// money.
func ExampleClient_Transaction() {
	var c *client.Client // from Open
	account := c.NewID()
	tx := c.Transaction()
	tx.Accounts = []ledgerpb.Account{{Id: account, Ledger: 1, Code: 10, Flags: uint32(ledgerpb.AccountFlagsDebitsMustNotExceedCredits)}}
	tx.Transfers = []ledgerpb.Transfer{{Id: c.NewID(), DebitAccountId: u128.From64(1), CreditAccountId: account, Amount: u128.From64(100_00), Ledger: 1, Code: 1}}
	if _, err := c.Submit(context.Background(), tx); err != nil {
		log.Print(err)
	}
}
