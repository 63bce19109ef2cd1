//go:build cgo

package datasource_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	_ "github.com/alexbrainman/odbc" // the plain loop's driver

	"virtualservicesinc.com/comps/datasource"
	"virtualservicesinc.com/comps/datasource/odbc/odbctest"
)

// batch is how many effects come at once, as from the outbox.
const batch = 16

// TestThroughput compares effects with the same statement in a plain loop over ODBC, in
// turns, with commits that are synced to the disk: effects that come alone, and in
// batches. RRTS_ODBC_BENCH is how long each turn takes.
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
		var plainRate, alone, batched float64
		const turns = 3
		for range turns {
			plainRate += loop(1, func(n []int) error {
				_, err := stmt.Exec(int64(n[0]), "of an effect")
				return err
			}) / turns
			alone += loop(1, effects) / turns
			batched += loop(batch, effects) / turns
		}
		t.Logf("%s, %d connections: plain ODBC %.0f/s; effects alone %.0f/s, %.0f %%; in batches of %d %.0f/s, %.0f %%",
			s.Name, workers, plainRate, alone, 100*alone/plainRate, batch, batched, 100*batched/plainRate)
		if batched < plainRate/2 {
			t.Error("effects have less than half of the rate of the plain loop")
		}
	})
}
