//go:build cgo

package datasource_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	command "os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/comps/datasource"
	"virtualservicesinc.com/comps/datasource/odbc/odbctest"
)

// childEnv holds, as JSON, the childTask of a process that does effects to be killed.
const childEnv = "RRTS_TEST_ODBC_CHILD"

type childTask struct {
	Name, User, Connection string
	Startup                []string
}

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		if err := doEffects(task); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// killWorkers is how many effects are under way at once.
const killWorkers = 4

// doEffects is the process that is killed: of each line "N INDOUBT" it does effect N and
// answers "N CLASS".
func doEffects(task string) error {
	var c childTask
	if err := json.Unmarshal([]byte(task), &c); err != nil {
		return err
	}
	src, err := datasource.New(config(&odbctest.Server{Name: c.Name, User: c.User, Startup: c.Startup, NonTransactional: "none"}, c.Connection))
	if err != nil {
		return err
	}
	var mu sync.Mutex
	work := make(chan string)
	for range killWorkers {
		go func() {
			for line := range work {
				var n int
				var doubt bool
				fmt.Sscan(line, &n, &doubt)
				e := effect(n, "count", integer("id", n), text("note", "of an effect"))
				e.InDoubt = doubt
				o := src.Do(context.Background(), e)
				mu.Lock()
				fmt.Println(n, int(o.Class), o.Err)
				mu.Unlock()
			}
		}()
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		work <- in.Text()
	}
	return nil
}

// kills does RRTS_ODBC_EFFECTS effects (default 100) while the process that does them is
// killed at random, and the database now and then, too. At the end each effect's row is
// there, once.
func kills(t *testing.T, s *odbctest.Server, db *sql.DB) {
	effects := 100
	if v, err := strconv.Atoi(os.Getenv("RRTS_ODBC_EFFECTS")); err == nil {
		effects = v
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := &killed{t: t, s: s, db: db, rng: rand.New(rand.NewPCG(seed, 0)), inDoubt: map[int]bool{}}
	k.run(effects)
}

// killed is the outbox of the test, and its assassin.
type killed struct {
	t       *testing.T
	s       *odbctest.Server
	db      *sql.DB
	rng     *rand.Rand
	todo    []int
	inDoubt map[int]bool // there was an attempt whose outcome is not known

	every int // answers between two kills, at most

	kills, serverKills, doubts, retries int
}

func (k *killed) run(effects int) {
	t, db := k.t, k.db
	// Nothing but the protocol keeps a row from being there twice.
	exec(t, db, "CREATE TABLE counted (id INTEGER NOT NULL, note VARCHAR(200) NOT NULL)")
	exec(t, db, "DELETE FROM rrts_effect")
	k.every = min(effects/10, 100)
	for n := range effects {
		k.todo = append(k.todo, n+1)
	}
	began := time.Now()
	for lives := 0; len(k.todo) > 0; lives++ {
		if time.Since(began) > 20*time.Minute {
			t.Fatalf("%d effects are not done after %v", len(k.todo), time.Since(began))
		}
		k.life(k.s.Port != 0 && lives%10 == 5)
	}
	rows, distinct := count(t, db, "SELECT COUNT(*) FROM counted"), count(t, db, "SELECT COUNT(DISTINCT id) FROM counted")
	done := count(t, db, "SELECT COUNT(*) FROM rrts_effect WHERE done = 1")
	t.Logf("%d effects, %d rows, in %v: %d processes and %d servers were killed, %d attempts were in doubt, %d answered that they were to be made again",
		effects, rows, time.Since(began).Round(time.Millisecond), k.kills, k.serverKills, k.doubts, k.retries)
	if rows != effects || distinct != effects || done != effects {
		t.Errorf("%d effects, %d rows of %d effects, %d are marked as done", effects, rows, distinct, done)
	}
	if k.kills == 0 || k.doubts == 0 {
		t.Error("no kill met an effect")
	}
}

// life gives one process work until it is killed, or until there is no more; with server
// the database is killed at the same time.
func (k *killed) life(server bool) {
	task, _ := json.Marshal(childTask{k.s.Name, k.s.User, k.s.Connection, k.s.Startup})
	cmd := command.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(task))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	defer cmd.Wait()
	answers := make(chan string)
	go func() {
		defer close(answers)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			answers <- sc.Text()
		}
	}()
	flying := map[int]bool{}
	give := func() {
		for len(flying) < killWorkers && len(k.todo) > 0 {
			n := k.todo[0]
			k.todo = k.todo[1:]
			flying[n] = true
			io.WriteString(in, fmt.Sprintln(n, k.inDoubt[n]))
		}
	}
	left := 1 + k.rng.IntN(k.every)
	give()
	for len(flying) > 0 {
		line, ok := <-answers
		if !ok { // it is dead: what it had is in doubt
			for n := range flying {
				k.again(n)
				k.doubts++
			}
			return
		}
		var n, class int
		fmt.Sscan(line, &n, &class)
		delete(flying, n)
		if datasource.Class(class) != datasource.Done {
			if datasource.Class(class) != datasource.Retry {
				k.t.Errorf("an effect cannot be done: %s", line)
			}
			k.retries++
			k.again(n)
		}
		give()
		if left--; left == 0 {
			time.Sleep(time.Duration(k.rng.IntN(2000)) * time.Microsecond) // somewhere within what it does now
			if server {
				k.serverKills++
				k.s.Kill()
				defer k.s.Start()
			}
			k.kills++
			cmd.Process.Kill()
		}
	}
	in.Close()
}

func (k *killed) again(n int) {
	k.inDoubt[n] = true
	k.todo = append(k.todo, n)
}
