// Package odbctest starts real databases for tests of what speaks to them through
// ODBC: each in a directory of its own, as a user without rights, ended by its pid.
package odbctest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/freeport"
	"virtualservicesinc.com/rrts/sim/require"
)

// Password of the database user rrts: it has every character that means something in a
// connection string.
const Password = `pa;ss{w}=o rd`

// Server is a database of a test.
type Server struct {
	Name string // "postgresql", "mariadb", "sqlite"
	// Connection is its connection string without user and password; Through is the
	// same by way of another port, for a server with a port.
	Connection string
	User       string // empty where the database knows no users
	Port       int    // 0 where it has none
	// Startup are the statements by which a session's time zone is UTC.
	Startup []string
	// NonTransactional is the query of the tables that cannot be rolled back, or "none".
	NonTransactional string
	// Patient is a statement by which a transaction leaves it to others to find deadlocks,
	// where there is one.
	Patient string
	// Types are the column types of the tests' tables, where the databases differ.
	Types Types

	t       testing.TB
	connect func(port int) string
	start   func() *exec.Cmd
	ready   func() bool // it answers on its port; nil: when the port is open
	cmd     *exec.Cmd
	exited  chan struct{} // closed when cmd has ended
	quit    syscall.Signal
}

// Types are the names of column types. A decimal that is not rounded is text where the
// database has no decimals.
type Types struct{ Binary, Decimal, Timestamp, Double, LongText string }

// Durable says whether a server syncs its commits to the disk: that takes longer, and
// a killed process loses nothing without it.
type Durable bool

// databasesEnv is "all" where the tests are to run on the databases that are servers, too,
// which have to be installed.
const databasesEnv = "RRTS_DATABASES"

type database struct {
	name string
	make func(testing.TB, Durable) *Server
}

func databases() []database {
	all := []database{{"sqlite", SQLite}}
	if os.Getenv(databasesEnv) == "all" {
		all = append(all, database{"postgresql", PostgreSQL}, database{"mariadb", MariaDB})
	}
	return all
}

// Each runs a test on each database, one after the other.
func Each(t *testing.T, d Durable, f func(t *testing.T, s *Server)) {
	for _, db := range databases() {
		t.Run(db.name, func(t *testing.T) { f(t, db.make(t, d)) })
	}
}

// All makes each database.
func All(t testing.TB, d Durable) (all []*Server) {
	for _, db := range databases() {
		all = append(all, db.make(t, d))
	}
	return all
}

// Through is the connection string by way of another port, such as a proxy's.
func (s *Server) Through(port int) string { return s.connect(port) }

// SQLite makes a database that is a file.
func SQLite(t testing.TB, d Durable) *Server {
	library(t, "libsqlite3odbc.so", "libsqliteodbc")
	dir, err := os.MkdirTemp("", "rrts-odbc") // for whoever opens it: child processes have other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "test.db")
	sync := "OFF"
	if d {
		sync = "FULL"
	}
	return &Server{
		Name: "sqlite", NonTransactional: "none", t: t,
		Connection: "Driver=SQLite3;StepAPI=1;Timeout=500;JournalMode=WAL;SyncPragma=" + sync + ";Database=" + path,
		Types:      Types{Binary: "BLOB", Decimal: "TEXT", Timestamp: "TIMESTAMP", Double: "DOUBLE", LongText: "TEXT"},
	}
}

// PostgreSQL starts a server.
func PostgreSQL(t testing.TB, d Durable) *Server {
	library(t, "psqlodbcw.so", "odbc-postgresql")
	initdb, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(initdb) == 0 {
		require.Skip(t, "needs initdb: run `apt install postgresql`")
	}
	bin := filepath.Dir(initdb[len(initdb)-1])
	dir, port := home(t), freePort(t)
	data, pw := filepath.Join(dir, "data"), filepath.Join(dir, "pw")
	if err := os.WriteFile(pw, []byte(Password), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, filepath.Join(bin, "initdb"), "-D", data, "-U", "rrts", "--auth=scram-sha-256", "--pwfile="+pw, "--no-sync", "--encoding=UTF8", "--locale=C")
	fsync := "off"
	if d {
		fsync = "on"
	}
	s := &Server{
		Name: "postgresql", User: "rrts", Port: port, NonTransactional: "none", t: t, quit: syscall.SIGQUIT,
		Startup: []string{"SET TIME ZONE 'UTC'"}, Patient: "SET LOCAL deadlock_timeout = '1min'",
		Types: Types{Binary: "BYTEA", Decimal: "DECIMAL(38,10)", Timestamp: "TIMESTAMP(6)", Double: "DOUBLE PRECISION", LongText: "TEXT"},
		connect: func(port int) string {
			return fmt.Sprintf("Driver=PostgreSQL Unicode;Servername=127.0.0.1;Port=%d;Database=postgres;Protocol=7.4-1;UseDeclareFetch=1;Fetch=500;MaxLongVarcharSize=20000000;BoolsAsChar=0;ByteaAsLongVarBinary=1", port)
		},
		start: func() *exec.Cmd {
			return exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-p", strconv.Itoa(port),
				"-c", "listen_addresses=127.0.0.1", "-c", "fsync="+fsync, "-c", "shared_buffers=16MB", "-c", "max_connections=60")
		},
		ready: func() bool {
			return exec.Command(filepath.Join(bin, "pg_isready"), "-h", "127.0.0.1", "-p", strconv.Itoa(port)).Run() == nil
		},
	}
	s.Connection = s.connect(port)
	s.Start()
	return s
}

// MariaDB starts a server.
func MariaDB(t testing.TB, d Durable) *Server {
	library(t, "libmaodbc.so", "odbc-mariadb")
	require.Tool(t, "mariadbd", "mariadb-server")
	require.Tool(t, "mariadb-install-db", "mariadb-server")
	dir, port := home(t), freePort(t)
	data := filepath.Join(dir, "data")
	run(t, dir, "mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
	boot := filepath.Join(dir, "boot.sql")
	sql := "CREATE DATABASE IF NOT EXISTS test;\nCREATE USER IF NOT EXISTS rrts@'127.0.0.1' IDENTIFIED BY '" + Password + "';\nGRANT ALL ON *.* TO rrts@'127.0.0.1';\n"
	if err := os.WriteFile(boot, []byte(sql), 0o644); err != nil {
		t.Fatal(err)
	}
	flush := "2"
	if d {
		flush = "1"
	}
	s := &Server{
		Name: "mariadb", User: "rrts", Port: port, t: t, quit: syscall.SIGKILL,
		NonTransactional: "SELECT t.table_name FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine WHERE t.table_schema = DATABASE() AND e.transactions <> 'YES'",
		Startup:          []string{"SET time_zone = '+00:00'"},
		Types:            Types{Binary: "LONGBLOB", Decimal: "DECIMAL(38,10)", Timestamp: "DATETIME(6)", Double: "DOUBLE", LongText: "LONGTEXT"},
		connect: func(port int) string {
			return fmt.Sprintf("Driver=MariaDB Unicode;Server=127.0.0.1;Port=%d;Database=test;ForwardOnly=1;NO_CACHE=1;CharSet=utf8mb4", port)
		},
		start: func() *exec.Cmd {
			return exec.Command("mariadbd", "--no-defaults", "--datadir="+data, "--socket="+filepath.Join(dir, "sock"), "--port="+strconv.Itoa(port),
				"--bind-address=127.0.0.1", "--init-file="+boot, "--innodb-flush-log-at-trx-commit="+flush, "--innodb-buffer-pool-size=32M",
				"--innodb-lock-wait-timeout=20", "--max-allowed-packet=64M", "--skip-name-resolve", "--character-set-server=utf8mb4")
		},
	}
	s.Connection = s.connect(port)
	s.Start()
	return s
}

// Start starts the server and returns when its port is open.
func (s *Server) Start() {
	s.t.Helper()
	if s.start == nil {
		return
	}
	cmd := s.start()
	cmd.SysProcAttr = unprivileged(s.t)
	cmd.SysProcAttr.Pdeathsig = s.quit
	log, err := os.OpenFile(filepath.Join(s.t.TempDir(), "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	s.cmd, s.exited = cmd, exited
	s.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		cmd.Process.Signal(s.quit)
		<-exited
		log.Close()
	})
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
		if err == nil {
			c.Close()
			if s.ready == nil || s.ready() {
				return
			}
		}
		select {
		case <-exited:
			text, _ := os.ReadFile(log.Name())
			s.t.Fatalf("%s ended: %s", s.Name, text)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			s.t.Fatalf("%s does not listen: %s", s.Name, text)
		}
	}
}

// Kill ends the server as a crash would and returns when it has ended.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(s.quit); err != nil {
		s.t.Fatal(err)
	}
	<-s.exited
}

// Freeze stops the server with all its processes: it answers nobody and refuses nobody.
func (s *Server) Freeze() { s.signalAll(syscall.SIGSTOP) }

// Thaw lets it go on.
func (s *Server) Thaw() { s.signalAll(syscall.SIGCONT) }

// signalAll signals the server and its children, which may have groups of their own.
func (s *Server) signalAll(sig syscall.Signal) {
	pid := s.cmd.Process.Pid
	pids := []int{pid}
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range strings.Fields(string(list)) {
		if child, err := strconv.Atoi(f); err == nil {
			pids = append(pids, child)
		}
	}
	for i, p := range pids {
		if err := syscall.Kill(p, sig); err != nil && i == 0 {
			s.t.Fatal(err)
		}
	}
}

// library skips the test where an ODBC driver is not installed.
func library(t testing.TB, file, pkg string) {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/*/odbc/" + file); len(found) == 0 {
		require.Skip(t, "needs the ODBC driver "+file+": run `apt install "+pkg+"`")
	}
}

// home is a directory that the server's user owns.
func home(t testing.TB) string {
	dir, err := os.MkdirTemp("", "rrts-odbc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if c := unprivileged(t).Credential; c != nil {
		if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// unprivileged makes a process one of the user nobody, when root runs the test: the
// servers refuse to run as root.
func unprivileged(t testing.TB) *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{}
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func run(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = unprivileged(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// freePort is a port of a server that nobody else gets while the test runs.
func freePort(t testing.TB) int {
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	return int(port)
}
