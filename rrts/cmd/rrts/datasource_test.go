package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/comps/datasource/odbc/odbctest"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/require"
)

// buildODBC builds rrts-odbc, which needs cgo and unixODBC's headers.
func buildODBC(t *testing.T) string {
	t.Helper()
	require.Tool(t, "gcc", "gcc")
	if _, err := os.Stat("/usr/include/sql.h"); err != nil {
		require.Skip(t, "needs unixODBC's headers: run `apt install unixodbc-dev`")
	}
	return buildChild(t, "rrts-odbc", "CGO_ENABLED=1")
}

// dataFile is the configuration of a test's database.
func dataFile(s *odbctest.Server) *config.DataSource {
	id, note := config.DataField{Name: "id", Type: "integer", Digits: -1}, config.DataField{Name: "note", Type: "text", Size: 200, Digits: -1}
	d := &config.DataSource{
		Name: s.Name, Connection: s.Connection, User: s.User, NonTransactional: s.NonTransactional, Timeout: 5 * time.Second, ConnectTimeout: 5 * time.Second,
		// Nothing but the protocol keeps a row from being there twice.
		Startup:     append([]string{"CREATE TABLE IF NOT EXISTS counted (id BIGINT NOT NULL, note VARCHAR(200) NOT NULL)"}, s.Startup...),
		Connections: 4,
		Statements: []config.DataStatement{
			{Name: "count", SQL: "INSERT INTO counted (id, note) VALUES (?, ?)", Parameters: []config.DataField{id, note}, Rows: 1},
			{Name: "counts", SQL: "SELECT COUNT(*), COUNT(DISTINCT id) FROM counted", Columns: []config.DataField{{Name: "rows", Type: "integer", Digits: -1}, {Name: "different", Type: "integer", Digits: -1}}},
			{Name: "list", SQL: "SELECT id, note FROM counted ORDER BY id", Columns: []config.DataField{id, note}, Roles: []config.DataRole{config.DataClient, config.DataOperator}},
		},
	}
	if s.Name == "sqlite" {
		d.Connections = 1
	}
	return d
}

// TestDataSources owes SQL effects in transactions on three SFUs, to three databases at
// once, while child processes, SFUs and databases are killed at random: at the end each
// database has the row of each committed transaction, once. RRTS_ODBC_EFFECTS is how many
// transactions there are for each database, 30 by default.
func TestDataSources(t *testing.T) {
	each := 30
	if v, err := strconv.Atoi(os.Getenv("RRTS_ODBC_EFFECTS")); err == nil {
		each = v
	}
	program := buildODBC(t)
	servers := odbctest.All(t, false)
	alone := len(servers) == 1 // SQLite, which is no process
	t.Setenv("RRTS_ODBC", program)
	a := newArena(t, 3, nil)
	for i := range a.SFUs() {
		configureData(t, a, i, servers)
	}
	run(t, a)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute+time.Duration(each)*50*time.Millisecond)
	defer cancel()
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	ready, late := context.WithTimeout(ctx, 30*time.Second)
	defer late()
	for _, s := range servers {
		for _, made := range []bool{true, false} {
			waitFor(t, ready, func() error {
				out, err := datasourcepb.DatasourceClient{Caller: op.To(a.Number(0))}.Init(ctx, &datasourcepb.InitRequest{Source: s.Name})
				if err == nil && out.Made != made {
					t.Errorf("init of %s: made %v, want %v", s.Name, out.Made, made)
				}
				return err
			})
		}
	}
	trouble := troubles(ctx, t, a, op, servers, each*len(servers))
	w := &wreckage{t: t, a: a, rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))}
	stop := make(chan struct{})
	var wrecking sync.WaitGroup
	wrecking.Go(func() { w.run(ctx, servers, stop) })
	committed := owe(ctx, t, op, servers, each)
	close(stop)
	wrecking.Wait()
	for _, s := range servers {
		rows, different, err := counts(ctx, op, a.Number(0), s.Name)
		if want := each + trouble[s.Name]; err != nil || rows != want || different != want {
			t.Errorf("%s: %d rows of %d effects, %d transactions, %v", s.Name, rows, different, want, err)
		}
	}
	t.Logf("%d transactions were committed and completed, while %d child processes, %d SFUs and %d databases were killed", committed, w.children, w.sfus, w.servers)
	if w.children == 0 || w.sfus == 0 || w.servers == 0 && !alone {
		t.Error("not everything was killed")
	}
	for i := range a.SFUs() {
		log, _ := os.ReadFile(a.LogFile(i))
		if strings.Contains(string(log), odbctest.Password) {
			t.Errorf("%s has the password in its log", a.Name(i))
		}
	}
	if alone {
		return
	}
	t.Run("scripts", func(t *testing.T) {
		scripts(t, "testdata/datasource", "CONFIG="+a.ConfigDir(0))
	})
}

// troubles has each database that is a server hang and then be gone, with an effect owed to
// it meanwhile: an alarm is raised, ends when the database is back, and the effect is done.
// It returns how many effects each has then; their numbers begin with first.
func troubles(ctx context.Context, t *testing.T, a *arena.Arena, op *client.Client, servers []*odbctest.Server, first int) map[string]int {
	t.Helper()
	done := map[string]int{}
	for _, s := range servers {
		if s.Port == 0 {
			continue
		}
		alarm := "datasource-unavailable@" + s.Name
		stands := func(want bool) {
			t.Helper()
			within, late := context.WithTimeout(ctx, time.Minute)
			defer late()
			waitFor(t, within, func() error {
				out, _ := rrts(t, "--json", "alarms", "--config", a.ConfigDir(0)) // its exit status tells of alarms, too
				if strings.Contains(string(out), alarm) != want {
					return fmt.Errorf("%s stands: %v, want %v", alarm, !want, want)
				}
				return nil
			})
		}
		for _, trouble := range []struct{ begin, end func() }{{s.Freeze, s.Thaw}, {s.Kill, s.Start}} {
			trouble.begin()
			id, err := submitEffect(ctx, op, s.Name, first)
			if err != nil {
				t.Fatal(err)
			}
			first++
			stands(true)
			trouble.end()
			stands(false)
			if err := complete(ctx, op, id); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
			done[s.Name]++
		}
	}
	return done
}

// configureData gives SFU i the data sources and their passwords.
func configureData(t *testing.T, a *arena.Arena, i int, servers []*odbctest.Server) {
	t.Helper()
	write := func(path string, data []byte, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range servers {
		write(filepath.Join(a.ConfigDir(i), "datasource", s.Name+".toml"), dataFile(s).Marshal(), 0o640)
		if s.User != "" {
			write(filepath.Join(a.ConfigDir(i), "keys", a.Name(i), "datasource-"+s.Name+".password"), []byte(odbctest.Password), 0o600)
		}
	}
}

// owe submits transactions that owe an effect each, and waits until all are completed.
func owe(ctx context.Context, t *testing.T, op *client.Client, servers []*odbctest.Server, each int) int {
	work := make(chan int)
	go func() {
		defer close(work)
		for n := range each * len(servers) {
			work <- n
		}
	}()
	var committed atomic.Int64
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for n := range work {
				s := servers[n%len(servers)]
				id, err := submitEffect(ctx, op, s.Name, n)
				if err != nil {
					t.Errorf("transaction %d: %v", n, err)
					continue
				}
				if err := complete(ctx, op, id); err != nil {
					t.Errorf("transaction %d: %v", n, err)
					continue
				}
				committed.Add(1)
			}
		})
	}
	workers.Wait()
	return int(committed.Load())
}

// submitEffect submits a transaction that owes effect n. A cluster that was just made
// refuses effects for a moment, until all of it has the apply version that knows them.
func submitEffect(ctx context.Context, op *client.Client, source string, n int) (u128.Int, error) {
	for {
		tx := op.Transaction()
		tx.Effects = []txnpb.Effect{{Service: "sql", Target: source, Operation: "count", Arguments: []txnpb.Argument{
			{Name: "id", Kind: txnpb.ArgumentKindInteger, Value: []byte(strconv.Itoa(n))},
			{Name: "note", Value: []byte("'); DROP TABLE counted; --")},
		}}}
		o, err := op.Submit(ctx, tx)
		if o == nil || o.State != txnpb.StateRefused {
			return tx.Id, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return tx.Id, err
		}
	}
}

// complete waits until a transaction's effect is done.
func complete(ctx context.Context, op *client.Client, id u128.Int) error {
	o, err := op.Completed(ctx, id)
	if err == nil && (o.Completion == nil || o.Completion.Done != 1) {
		err = fmt.Errorf("its effect ended otherwise: %v", o.Completion)
	}
	return err
}

func counts(ctx context.Context, op *client.Client, sfu uint16, source string) (rows, different int, err error) {
	for range 50 { // the SFU may just have been started again
		page, e := datasourcepb.DatasourceClient{Caller: op.To(sfu)}.Read(ctx, &datasourcepb.ReadRequest{Source: source, Statement: "counts"})
		if err = e; err == nil {
			if len(page.Rows) != 1 || len(page.Rows[0].Cells) != 2 {
				return 0, 0, errors.New("not one row of two columns")
			}
			rows, _ = strconv.Atoi(string(page.Rows[0].Cells[0].Value))
			different, _ = strconv.Atoi(string(page.Rows[0].Cells[1].Value))
			return rows, different, nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return 0, 0, err
}

// wreckage kills what does the effects.
type wreckage struct {
	t                       *testing.T
	a                       *arena.Arena
	rng                     *rand.Rand
	children, sfus, servers int
}

// run kills something now and then until stop, each kind of thing at least once.
func (w *wreckage) run(ctx context.Context, servers []*odbctest.Server, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-time.After(time.Duration(300+w.rng.IntN(700)) * time.Millisecond):
		case <-stop:
			if n >= 3 {
				return
			}
		}
		switch n % 3 {
		case 0:
			w.child()
		case 1:
			w.sfu(ctx)
		case 2:
			if len(servers) == 1 {
				continue
			}
			s := servers[1+w.rng.IntN(len(servers)-1)]
			s.Kill()
			s.Start()
			w.servers++
		}
	}
}

// child kills the child process of a random SFU.
func (w *wreckage) child() {
	for _, pid := range childrenOf(w.a.Pid(w.rng.IntN(w.a.SFUs())), "rrts-odbc") {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			w.children++
		}
	}
}

// sfu kills the leader, or another one that has the queues, and starts it again.
func (w *wreckage) sfu(ctx context.Context) {
	i, err := w.a.Leader(ctx)
	if err != nil || w.rng.IntN(2) == 0 {
		i = w.rng.IntN(w.a.SFUs())
	}
	if err := w.a.Kill(i); err != nil {
		w.t.Error(err)
		return
	}
	w.sfus++
	if err := w.a.Start(i); err != nil {
		w.t.Error(err)
		return
	}
	if err := w.a.WaitControl(ctx, i); err != nil {
		w.t.Error(err)
	}
}
