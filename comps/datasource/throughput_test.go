//go:build cgo

package datasource_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/alexbrainman/odbc" // the plain loop's driver

	"virtualservicesinc.com/comps/datasource"
	"virtualservicesinc.com/comps/datasource/odbc/odbctest"
	outbox "virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/comps/effects/effectstest"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// batch is how many effects come at once, as from the outbox.
const batch = 16

// TestThroughput compares effects with the same statement in a plain loop over ODBC, in
// turns, with commits that are synced to the disk: effects that transactions owe, one
// each, by way of outbox, claims and reports; and without these, effects that come one
// by one on as many goroutines as the plain loop has, and in batches. RRTS_ODBC_BENCH is how
// long each turn takes.
func TestThroughput(t *testing.T) {
	turn, err := time.ParseDuration(os.Getenv("RRTS_ODBC_BENCH"))
	if err != nil {
		t.Skip("a measurement: run `make bench-odbc`")
	}
	odbctest.Each(t, true, func(t *testing.T, s *odbctest.Server) {
		c := config(s, s.Connection)
		db := prepare(t, s, c)
		exec(t, db, "CREATE TABLE counted (id INTEGER NOT NULL, note VARCHAR(200) NOT NULL)")
		src := source(t, c)
		ctx := context.Background()
		if _, err := src.Init(ctx); err != nil {
			t.Fatal(err)
		}
		plain, err := sql.Open("odbc", connection(s, s.Connection))
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		workers := c.Connections
		plain.SetMaxOpenConns(workers)
		plain.SetMaxIdleConns(workers)
		stmt, err := plain.Prepare("INSERT INTO counted (id, note) VALUES (?, ?)")
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan int, 1024)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for n := 1; ; n++ {
				select {
				case next <- n:
				case <-stop:
					return
				}
			}
		}()
		loop := func(size int, do func(n []int) error) float64 {
			var wg sync.WaitGroup
			counts := make([]int, workers)
			began := time.Now()
			for w := range workers {
				wg.Go(func() {
					for time.Since(began) < turn {
						n := make([]int, size)
						for i := range n {
							n[i] = <-next
						}
						if err := do(n); err != nil {
							t.Error(err)
							return
						}
						counts[w] += size
					}
				})
			}
			wg.Wait()
			total := 0
			for _, n := range counts {
				total += n
			}
			return float64(total) / time.Since(began).Seconds()
		}
		effects := func(n []int) error {
			var list []datasource.Effect
			for _, n := range n {
				list = append(list, effect(n, "count", integer("id", n), text("note", "of an effect")))
			}
			for _, o := range src.DoAll(ctx, list) {
				if o.Class != datasource.Done {
					return fmt.Errorf("%v: %w", o.Class, o.Err)
				}
			}
			return nil
		}
		// owed is the rate of effects that come out of the outbox.
		owed := func() float64 {
			c := effectstest.New(t)
			var done atomic.Int64
			r := outbox.NewRunner(outbox.Config{
				CoreConfig: outbox.CoreConfig{Service: datasource.Service, Target: s.Name, Parallel: workers, Batch: batch},
				Do: outbox.DoFunc(func(ctx context.Context, attempts []outbox.Attempt) []outbox.Result {
					list := make([]datasource.Effect, len(attempts))
					for i, a := range attempts {
						list[i] = datasource.Effect{Cluster: a.Key.Cluster, Transaction: a.Key.Transaction.Bytes(), Ordinal: a.Key.Ordinal,
							Statement: a.Operation, Fence: a.Fence, InDoubt: a.InDoubt}
						for _, arg := range a.Args {
							kind := datasource.Text
							if arg.Kind == txnpb.ArgumentKindInteger {
								kind = datasource.Integer
							}
							list[i].Arguments = append(list[i].Arguments, datasource.Argument{Name: arg.Name, Value: datasource.Value{Kind: kind, Data: arg.Value}})
						}
					}
					results := make([]outbox.Result, len(attempts))
					for i, o := range src.DoAll(ctx, list) {
						results[i] = outbox.Done("")
						switch {
						case o.Class == datasource.Done:
							done.Add(1)
						case ctx.Err() == nil: // the turn is not over
							t.Errorf("%v: %v", o.Class, o.Err)
						}
					}
					return results
				}),
			}, c.Host(1))
			ctx, end := context.WithCancel(ctx)
			var running sync.WaitGroup
			running.Go(func() { r.Run(ctx) })
			defer running.Wait()
			defer end()
			began := time.Now()
			const waiting = 1000 // transactions owe as fast as their effects are done
			for n := int64(0); time.Since(began) < turn; {
				if n-done.Load() >= waiting {
					time.Sleep(time.Millisecond)
					continue
				}
				n++
				c.Owe(txnpb.Effect{Service: datasource.Service, Target: s.Name, Operation: "count", Arguments: []txnpb.Argument{
					effectstest.Arg("id", txnpb.ArgumentKindInteger, <-next), effectstest.Text("note", "of an effect")}})
			}
			return float64(done.Load()) / time.Since(began).Seconds()
		}
		var plainRate, outboxRate, alone, batched float64
		const turns = 3
		for range turns {
			plainRate += loop(1, func(n []int) error {
				_, err := stmt.Exec(int64(n[0]), "of an effect")
				return err
			}) / turns
			outboxRate += owed() / turns
			alone += loop(1, effects) / turns
			batched += loop(batch, effects) / turns
		}
		share := func(rate float64) float64 { return 100 * rate / plainRate }
		t.Logf("%s, %d connections: plain ODBC %.0f/s; owed one by one %.0f/s, %.0f %%; without the outbox alone %.0f/s, %.0f %%, in batches of %d %.0f/s, %.0f %%",
			s.Name, workers, plainRate, outboxRate, share(outboxRate), alone, share(alone), batch, batched, share(batched))
		if share(outboxRate) < 50 {
			t.Error("effects that transactions owe have less than half of the rate of the plain loop")
		}
	})
}
