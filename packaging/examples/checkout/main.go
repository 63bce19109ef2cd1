// Command checkout is a shop's checkout: it holds the price of a basket on the customer's
// account, ships, and takes the money, or gives it back when there is nothing to ship.
//
//	RRTS_PASSWORD=… checkout --kit client-kit.toml --login shop-till-1 \
//	    --customer 1001 --shop 2001 --ledger 978 --price 1999 [--out-of-stock]
//
// The shop's user needs the right to debit the customer's account: its owner or an operator
// grants it (client.Grant).
//
// What it shows: a transaction is submitted until its outcome is final, under an id that is
// kept first, so that a till which loses power asks again for the same payment; a hold
// (pending transfer) that is posted or voided, and that expires by itself if the shop never
// comes back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// basket is what is to be paid.
type basket struct {
	customer, shop, price u128.Int
	ledger                uint
	inStock               bool
}

const (
	codeSale = 10 // the shop's own code for sales
	// holdFor is how long a hold lasts when nobody settles it, in seconds.
	holdFor = 15 * 60
	// patience bounds how long the till waits for an outcome before it asks a person.
	patience = 30 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	kit := flag.String("kit", "client-kit.toml", "what rrts init wrote for clients")
	login := flag.String("login", "", "login name")
	var b basket
	flag.Func("customer", "account that pays", number(&b.customer))
	flag.Func("shop", "account that is paid", number(&b.shop))
	flag.Func("price", "price in the ledger's smallest unit", number(&b.price))
	flag.UintVar(&b.ledger, "ledger", 978, "ledger of both accounts")
	soldOut := flag.Bool("out-of-stock", false, "there is nothing to ship")
	flag.Parse()
	b.inStock = !*soldOut
	if err := run(ctx, *kit, *login, &b); err != nil {
		fmt.Fprintln(os.Stderr, "checkout:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kitFile, login string, b *basket) error {
	kit, err := client.ReadKit(kitFile)
	if err != nil {
		return err
	}
	config := kit.Config()
	config.LoginName, config.Password = login, os.Getenv("RRTS_PASSWORD")
	c, err := client.Open(ctx, config)
	if err != nil {
		return err
	}
	defer c.Close()

	// The money is held: the customer cannot spend it twice, the shop does not have it yet.
	hold := c.Transfer(b.customer, b.shop, b.price, uint32(b.ledger), codeSale)
	hold.Memo = "held for an order"
	hold.Transfers[0].Flags, hold.Transfers[0].Timeout = uint32(ledgerpb.TransferFlagsPending), holdFor
	if err := submit(ctx, c, hold); err != nil {
		return err
	}
	fmt.Printf("held %v\n", b.price)

	// Shipped, or not.
	end := c.Transaction()
	settle := ledgerpb.Transfer{Id: client.DerivedTransferID(end.Id, 0), PendingId: hold.Transfers[0].Id, Amount: b.price, Ledger: uint32(b.ledger), Code: codeSale}
	if b.inStock {
		settle.Flags, end.Memo = uint32(ledgerpb.TransferFlagsPostPendingTransfer), "paid on shipping"
	} else {
		settle.Flags, end.Memo, settle.Amount = uint32(ledgerpb.TransferFlagsVoidPendingTransfer), "out of stock", u128.Int{}
	}
	end.Transfers = []ledgerpb.Transfer{settle}
	if err := submit(ctx, c, end); err != nil {
		return err
	}
	if b.inStock {
		fmt.Printf("paid %v\n", b.price)
	} else {
		fmt.Printf("gave %v back\n", b.price)
	}
	return nil
}

// submit submits a transaction until its outcome is known. A real till writes tx down
// before, and after a crash submits what it finds written: the id decides that it is
// executed once.
func submit(ctx context.Context, c *client.Client, tx *txnpb.Transaction) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := c.Submit(ctx, tx)
	var not *client.NotCommittedError
	var pending *client.PendingError
	switch {
	case errors.As(err, &not): // final: not paid
		return fmt.Errorf("not paid: %s", not.Outcome.Reason)
	case errors.As(err, &pending): // not known: never called a failure
		return fmt.Errorf("the outcome of %v is not known yet: ask again, rrts tx status %v", pending.ID, pending.ID)
	}
	return err
}

// number reads a flag into n.
func number(n *u128.Int) func(string) error {
	return func(text string) (err error) {
		*n, err = u128.Parse(text)
		return err
	}
}
