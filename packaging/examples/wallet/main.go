// Command wallet is a person's wallet: what is on an account, what happened on it, and
// word of every movement as it comes.
//
//	RRTS_PASSWORD=… wallet --kit client-kit.toml --login anna --account 1001 balance
//	RRTS_PASSWORD=… wallet … statement
//	RRTS_PASSWORD=… wallet … send 2001 500 "for the tickets"
//	RRTS_PASSWORD=… wallet … --position FILE watch 3
//
// watch prints movements until so many have come; with --position it goes on where it was
// when it ran last, through restarts of the wallet, its gateway and the whole cluster: none is
// left out, and none is shown twice.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const codeGift = 20

type wallet struct {
	c        *client.Client
	account  u128.Int
	position string // file
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	kit := flag.String("kit", "client-kit.toml", "what rrts init wrote for clients")
	login := flag.String("login", "", "login name")
	var w wallet
	flag.Func("account", "the account", number(&w.account))
	flag.StringVar(&w.position, "position", "", "file that keeps how far watch has come")
	flag.Parse()
	if err := w.run(ctx, *kit, *login, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "wallet:", err)
		os.Exit(1)
	}
}

func (w *wallet) run(ctx context.Context, kitFile, login string, args []string) error {
	kit, err := client.ReadKit(kitFile)
	if err != nil {
		return err
	}
	config := kit.Config()
	config.LoginName, config.Password = login, os.Getenv("RRTS_PASSWORD")
	if w.c, err = client.Open(ctx, config); err != nil {
		return err
	}
	defer w.c.Close()
	switch {
	case len(args) == 1 && args[0] == "balance":
		return w.balance(ctx)
	case len(args) == 1 && args[0] == "statement":
		return w.statement(ctx)
	case len(args) == 4 && args[0] == "send":
		return w.send(ctx, args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "watch":
		count, err := strconv.Atoi(args[1])
		if err != nil {
			return fmt.Errorf("watch %s: how many movements?", args[1])
		}
		return w.watch(ctx, count)
	}
	return errors.New("say balance, statement, send ACCOUNT AMOUNT MEMO, or watch COUNT")
}

func (w *wallet) own(ctx context.Context) (*ledgerpb.Account, error) {
	found, err := w.c.LookupAccounts(ctx, w.account)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no account %v that this user may see", w.account)
	}
	if err != nil {
		return nil, err
	}
	return &found[0], nil
}

func (w *wallet) balance(ctx context.Context) error {
	a, err := w.own(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("balance %s, held %v\n", less(a.CreditsPosted, a.DebitsPosted), a.DebitsPending)
	return nil
}

// statement prints every movement with the balance after it. It reads in pages, and what
// is committed meanwhile comes at its end.
func (w *wallet) statement(ctx context.Context) error {
	s, err := w.c.Statement(ctx, w.account, 0, 0)
	if err != nil {
		return err
	}
	for i := range s.Lines {
		l := &s.Lines[i]
		w.print(l.Timestamp, l.Type, l.Transfer, s.Notes[l.Csn].Memo, l.Balance)
	}
	fmt.Printf("balance %s\n", less(s.Closing.CreditsPosted, s.Closing.DebitsPosted))
	return nil
}

func (w *wallet) send(ctx context.Context, to, amount, memo string) error {
	other, err := u128.Parse(to)
	if err != nil {
		return fmt.Errorf("send to %s: not an account's number", to)
	}
	much, err := u128.Parse(amount)
	if err != nil {
		return fmt.Errorf("send %s: not an amount", amount)
	}
	a, err := w.own(ctx)
	if err != nil {
		return err
	}
	tx := w.c.Transfer(w.account, other, much, a.Ledger, codeGift)
	tx.Memo = memo
	// Not more than there is, whatever the account's flags say: asked where it is decided.
	tx.Preconditions = []txnpb.Precondition{client.OnAccount(w.account, txnpb.MeasureCreditAvailable, txnpb.ComparisonAtLeast, much)}
	_, err = w.c.Submit(ctx, tx)
	var not *client.NotCommittedError
	if errors.As(err, &not) {
		return fmt.Errorf("not sent: %s", not.Outcome.Reason)
	}
	if err == nil {
		fmt.Printf("sent %v to %v\n", much, other)
	}
	return err
}

// watch prints movements, and keeps the place behind each once it is shown.
func (w *wallet) watch(ctx context.Context, count int) error {
	at, err := w.readPosition()
	if err != nil {
		return err
	}
	s := w.c.Events(at, &txnpb.EventsFilter{AccountIds: []u128.Int{w.account},
		Kinds: uint32(txnpb.EventKindsTransfers | txnpb.EventKindsExpiries)})
	for n := 0; n < count; n++ {
		e, err := s.Next(ctx)
		if err != nil {
			return err
		}
		memo, balance := "", e.Credit
		if e.Note != nil {
			memo = e.Note.Memo
		}
		if e.Transfer.DebitAccountId == w.account {
			balance = e.Debit
		}
		w.print(e.Timestamp, e.Type, e.Transfer, memo, balance)
		if err := w.keepPosition(s.Position()); err != nil {
			return err
		}
	}
	return nil
}

func (w *wallet) readPosition() (at txnpb.Position, err error) {
	if w.position == "" {
		return at, nil
	}
	text, err := os.ReadFile(w.position)
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil
	}
	if err != nil {
		return at, err
	}
	return client.ParsePosition(strings.TrimSpace(string(text)))
}

// keepPosition replaces the file in one step: a wallet that is killed finds the old place or
// the new one.
func (w *wallet) keepPosition(at txnpb.Position) error {
	if w.position == "" {
		return nil
	}
	if err := os.WriteFile(w.position+".new", []byte(client.FormatPosition(at)+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(w.position+".new", w.position)
}

// print prints one movement.
func (w *wallet) print(at uint64, kind ledgerpb.ChangeEventType, t *ledgerpb.Transfer, memo string, b *ledgerpb.AccountBalance) {
	sign, other := "+", t.DebitAccountId
	if t.DebitAccountId == w.account {
		sign, other = "-", t.CreditAccountId
	}
	fmt.Printf("%s %s %s%v with %v, balance %s, held %v: %s\n", time.Unix(0, int64(at)).UTC().Format(time.DateTime), kind, sign, t.Amount, other,
		less(b.CreditsPosted, b.DebitsPosted), b.DebitsPending, memo)
}

// less prints a - b.
func less(a, b u128.Int) string {
	if d, under := a.Sub(b); !under {
		return d.String()
	}
	d, _ := b.Sub(a)
	return "-" + d.String()
}

// number reads a flag into n.
func number(n *u128.Int) func(string) error {
	return func(text string) (err error) {
		*n, err = u128.Parse(text)
		return err
	}
}
