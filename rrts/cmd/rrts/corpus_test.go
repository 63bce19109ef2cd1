package main

import (
	"context"
	"encoding/binary"
	"flag"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/drill"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

var update = flag.Bool("update", false, "record the corpus of rrts/message/pack again")

const corpusFile = "../../message/pack/testdata/corpus.bin"

// tap passes bytes between a client and a gateway's socket, and keeps them.
type tap struct {
	mu         sync.Mutex
	asked, got []byte
}

func (tp *tap) listen(t *testing.T, to string) (address string) {
	address = filepath.Join(t.TempDir(), "tap")
	l, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	pass := func(from, to net.Conn, keep *[]byte) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			tp.mu.Lock()
			*keep = append(*keep, buf[:n]...)
			tp.mu.Unlock()
			if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
				to.Close()
				return
			}
		}
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", to)
			if err != nil {
				in.Close()
				continue
			}
			go pass(in, out, &tp.asked)
			go pass(out, in, &tp.got)
		}
	}()
	return address
}

// take returns what passed since the last time: requests, then answers.
func (tp *tap) take() (asked, got []byte) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	asked, got = tp.asked, tp.got
	tp.asked, tp.got = nil, nil
	return asked, got
}

// TestCorpus records what the demo's payments and what is asked about them look like on
// the wire. A section of the corpus is a big-endian uint32 length and frames as they
// passed: single payments and their answers, a hundred payments at once and their
// answers, transactions of a hundred transfers and their answers, and the rest.
func TestCorpus(t *testing.T) {
	if !*update {
		if _, err := os.Stat(corpusFile); err != nil {
			t.Fatal(err)
		}
		return
	}
	a := newArena(t, 1, nil)
	ctx := run(t, a)
	payments, err := drill.ReadPayments("../../../packaging/demo/payments.csv")
	if err != nil {
		t.Fatal(err)
	}
	var tp tap
	c, err := client.Open(ctx, client.Config{Gateways: []string{"unix:" + tp.listen(t, a.ControlSocket(0))}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accounts := map[u128.Int]uint32{}
	for _, p := range payments {
		accounts[p.Debtor], accounts[p.Creditor] = p.Ledger, p.Ledger
	}
	tx := c.Transaction()
	for id, ledger := range accounts {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: id, Ledger: ledger, Code: 1})
	}
	if _, err := c.Submit(ctx, tx); err != nil {
		t.Fatal(err)
	}
	tp.take()

	var file []byte
	section := func(all []byte) {
		var frames []byte
		for len(all) > 0 {
			n := 4 + int(binary.BigEndian.Uint32(all))
			if n <= 8<<10 { // pages of answers are for Zstandard, which learns by itself
				frames = append(frames, all[:n]...)
			}
			all = all[n:]
		}
		file = binary.BigEndian.AppendUint32(file, uint32(len(frames)))
		file = append(file, frames...)
	}
	within := func(f func(ctx context.Context)) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		f(ctx)
	}
	of := func(p *drill.Payment) *txnpb.Transaction {
		return c.Transfer(p.Debtor, p.Creditor, p.Amount, p.Ledger, p.Code)
	}
	for i := range 600 {
		within(func(ctx context.Context) {
			if _, err := c.Submit(ctx, of(&payments[i*17])); err != nil {
				t.Fatal(err)
			}
		})
	}
	asked, got := tp.take()
	section(asked)
	section(got)
	for round := range 4 {
		within(func(ctx context.Context) {
			var all []*client.Future
			for i := range 100 {
				all = append(all, c.Go(ctx, of(&payments[1+i+round*1000])))
			}
			for _, f := range all {
				if _, err := f.Wait(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	asked, got = tp.take()
	section(asked)
	section(got)
	for round := range 4 {
		tx := c.Transaction()
		for i := range 100 {
			p := &payments[5+i+round*1000]
			tx.Transfers = append(tx.Transfers, ledgerpb.Transfer{Id: client.DerivedTransferID(tx.Id, i), DebitAccountId: p.Debtor, CreditAccountId: p.Creditor, Amount: p.Amount, Ledger: p.Ledger, Code: p.Code})
		}
		if _, err := c.Submit(ctx, tx); err != nil {
			t.Fatal(err)
		}
	}
	asked, got = tp.take()
	section(asked)
	section(got)
	for i := range 20 {
		p := &payments[i*31]
		if _, err := c.LookupAccounts(ctx, p.Debtor, p.Creditor); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Query(ctx, &txnpb.Query{GetStatement: &ledgerpb.StatementFilter{AccountId: p.Debtor, Limit: 20}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Status(ctx, tx.Id); err != nil {
			t.Fatal(err)
		}
		tx := c.Transaction()
		tx.Accounts = []ledgerpb.Account{{Id: c.NewID(), Ledger: 978, Code: 1}}
		if _, err := c.Submit(ctx, tx); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, err := range c.Events(txnpb.Position{}, &txnpb.EventsFilter{Kinds: uint32(txnpb.EventKindsTransfers)}).All(ctx) {
		if n++; err != nil || n == 200 {
			break
		}
	}
	asked, got = tp.take()
	section(asked)
	section(got)
	if err := os.WriteFile(corpusFile, file, 0o644); err != nil {
		t.Fatal(err)
	}
}
