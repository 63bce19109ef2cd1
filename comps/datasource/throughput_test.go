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

// TestThroughput compares effects with the same statement in a plain loop over ODBC, in
// turns, with commits that are synced to the disk. RRTS_ODBC_BENCH is how long each turn
// takes.
func TestThroughput(t *testing.T) {
	turn, err := time.ParseDuration(os.Getenv("RRTS_ODBC_BENCH"))
	if err != nil {
		t.SkipNow() // a measurement: make bench-odbc
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
		loop := func(do func(n int) error) float64 {
			var wg sync.WaitGroup
			counts := make([]int, workers)
			began := time.Now()
			for w := range workers {
				wg.Go(func() {
					for time.Since(began) < turn {
						if err := do(<-next); err != nil {
							t.Error(err)
							return
						}
						counts[w]++
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
		var plainRate, effectRate float64
		const turns = 3
		for range turns {
			plainRate += loop(func(n int) error {
				_, err := stmt.Exec(int64(n), "of an effect")
				return err
			}) / turns
			effectRate += loop(func(n int) error {
				o := src.Do(ctx, effect(n, "count", integer("id", n), text("note", "of an effect")))
				if o.Class != datasource.Done {
					return fmt.Errorf("%v: %w", o.Class, o.Err)
				}
				return nil
			}) / turns
		}
		t.Logf("%s, %d connections: plain ODBC %.0f/s, effects %.0f/s: %.0f %%", s.Name, workers, plainRate, effectRate, 100*effectRate/plainRate)
		if effectRate < plainRate/2 {
			t.Errorf("effects have less than half of the rate of the plain loop")
		}
	})
}
