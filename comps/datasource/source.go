package datasource

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config describes a data source.
type Config struct {
	Name string
	// Connector opens connections.
	Connector driver.Connector
	// Statements are the named ones.
	Statements []Statement
	// Connections bounds the pool; 0 means 8. A database that is a file takes 1.
	Connections int
	// ConnectTimeout bounds the making of a connection, Timeout a statement or a write
	// with all that belongs to it; 0 means 10 s each.
	ConnectTimeout, Timeout time.Duration
	// Idle is how long a connection is kept that nobody uses; 0 means a minute.
	Idle time.Duration
	// Check is the statement by which the health check asks; empty means SELECT 1.
	Check string
	// NonTransactional is a query that answers the names of the tables which cannot be
	// rolled back, in its first column. Empty means that there are none: the
	// configuration has to say so in words.
	NonTransactional string
	// FailOn are the SQLSTATEs, or their beginnings, of errors by which the database
	// refuses a write for good; with "/NUMBER" behind it only those with that number of
	// the database's own. Empty means 22 (bad data) and 23 (a constraint).
	FailOn []string
	// Hung is called once, from any goroutine, when every connection is in a call that
	// its driver does not give back: only the end of the process frees them.
	Hung func()
}

const (
	defaultConnections = 8
	defaultTimeout     = 10 * time.Second
	defaultIdle        = time.Minute
	// grace is how long a call that was cancelled may take to come back.
	grace = 2 * time.Second
	// checkAgain is how long what the check of the tables found is believed.
	checkAgain = 5 * time.Minute
)

// Source is a data source. All its methods may be called from any goroutine.
type Source struct {
	cfg        Config
	db         *sql.DB
	statements map[string]*Statement

	stuck   atomic.Int64 // calls that were given up and have not come back
	hung    sync.Once
	stopped chan struct{}

	mu      sync.Mutex
	refused map[string]string // write statements with a table that cannot be rolled back, and which
	checked time.Time         // when refused was found; zero: not yet
	cursors map[uint64]*Cursor
	nextID  uint64
}

// New returns a Source; it connects when it is used. The error names everything that is
// wrong with the statements.
func New(c Config) (*Source, error) {
	if c.Connections == 0 {
		c.Connections = defaultConnections
	}
	for _, d := range []*time.Duration{&c.ConnectTimeout, &c.Timeout} {
		if *d == 0 {
			*d = defaultTimeout
		}
	}
	if c.Idle == 0 {
		c.Idle = defaultIdle
	}
	if c.Check == "" {
		c.Check = "SELECT 1"
	}
	if len(c.FailOn) == 0 {
		c.FailOn = []string{"22", "23"}
	}
	s := &Source{cfg: c, statements: map[string]*Statement{}, stopped: make(chan struct{}), cursors: map[uint64]*Cursor{}}
	var errs []error
	for i := range c.Statements {
		st := &c.Statements[i]
		if st.Timeout == 0 {
			st.Timeout = c.Timeout
		}
		if err := st.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("datasource: %s: statement %s: %w", c.Name, st.Name, err))
		}
		if s.statements[st.Name] != nil {
			errs = append(errs, fmt.Errorf("datasource: %s: statement %s: stands there twice", c.Name, st.Name))
		}
		s.statements[st.Name] = st
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.db = sql.OpenDB(bounded{c.Connector, c.ConnectTimeout})
	s.db.SetMaxOpenConns(c.Connections)
	s.db.SetMaxIdleConns(c.Connections)
	s.db.SetConnMaxIdleTime(c.Idle)
	return s, nil
}

// bounded gives each making of a connection its limit of time.
type bounded struct {
	driver.Connector
	limit time.Duration
}

func (b bounded) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, b.limit)
	defer stop()
	return b.Connector.Connect(ctx)
}

// Name is the source's name.
func (s *Source) Name() string { return s.cfg.Name }

// Close drops every connection. It does not wait for calls that do not come back.
func (s *Source) Close() {
	s.mu.Lock()
	select {
	case <-s.stopped:
		s.mu.Unlock()
		return
	default:
	}
	close(s.stopped)
	cursors := make([]*Cursor, 0, len(s.cursors))
	for _, c := range s.cursors {
		cursors = append(cursors, c)
	}
	s.mu.Unlock()
	for _, c := range cursors {
		c.Close()
	}
	closed := make(chan struct{})
	go func() { defer close(closed); s.db.Close() }()
	select {
	case <-closed:
	case <-time.After(grace):
	}
}

// Statement returns a statement by its name, or an ErrRefused.
func (s *Source) Statement(name string, write bool) (*Statement, error) {
	st := s.statements[name]
	switch {
	case st == nil:
		return nil, fmt.Errorf("%w: data source %s has no statement %.64q", ErrRefused, s.cfg.Name, name)
	case st.Write() && !write:
		return nil, fmt.Errorf("%w: statement %s of data source %s writes: a transaction has to owe it as an effect", ErrRefused, name, s.cfg.Name)
	case !st.Write() && write:
		return nil, fmt.Errorf("%w: statement %s of data source %s reads: an effect cannot be one", ErrRefused, name, s.cfg.Name)
	}
	return st, nil
}

// ErrGivenUp is a call that did not come back in time, not even when it was cancelled.
var ErrGivenUp = errors.New("datasource: the ODBC driver does not give a call back")

// within runs f on a goroutine of its own and gives it up when ctx has ended and f does
// not come back soon: its connection is lost then, until the driver gives it back. f must
// look at ctx before it does what cannot be taken back.
func (s *Source) within(ctx context.Context, f func(ctx context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	if s.stuck.Add(1) >= int64(s.cfg.Connections) && s.cfg.Hung != nil {
		s.hung.Do(s.cfg.Hung)
	}
	go func() {
		<-done
		s.stuck.Add(-1)
	}()
	return fmt.Errorf("%w: data source %s: %w", ErrGivenUp, s.cfg.Name, context.Cause(ctx))
}

// drop makes sure that a connection is not used again.
func drop(c *sql.Conn) {
	c.Raw(func(any) error { return driver.ErrBadConn })
	c.Close()
}

// forget drops the connections that nobody uses: when one is lost the others of the pool
// mostly are, too.
func (s *Source) forget() {
	s.db.SetMaxIdleConns(0)
	s.db.SetMaxIdleConns(s.cfg.Connections)
}

// Check asks the database, and whether its tables are as they must be for the writes. It
// returns soon after ctx has ended or Config.Timeout is over.
func (s *Source) Check(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, s.cfg.Timeout)
	defer stop()
	err := s.within(ctx, func(ctx context.Context) error {
		if err := s.db.QueryRowContext(ctx, s.cfg.Check).Scan(new(any)); err != nil {
			s.forget()
			return fmt.Errorf("datasource: %s does not answer: %w", s.cfg.Name, err)
		}
		return nil
	})
	if err != nil || !s.writes() {
		return err
	}
	return s.within(ctx, func(ctx context.Context) error {
		if _, err := readRow(ctx, s.db, ""); err != nil {
			return fmt.Errorf("datasource: %s has no table rrts_effect, or it cannot be read; run rrts datasource init %[1]s: %w", s.cfg.Name, err)
		}
		refused, err := s.tables(ctx)
		for name, table := range refused {
			return s.refusal(name, table)
		}
		return err
	})
}

func (s *Source) writes() bool {
	for _, st := range s.statements {
		if st.Write() {
			return true
		}
	}
	return false
}

func (s *Source) refusal(statement, table string) error {
	return fmt.Errorf("datasource: statement %s of data source %s names the table %s, which cannot be rolled back: make it a transactional one, such as ENGINE=InnoDB", statement, s.cfg.Name, table)
}

// tables returns the write statements that name a table which cannot be rolled back.
func (s *Source) tables(ctx context.Context) (map[string]string, error) {
	if s.cfg.NonTransactional == "" {
		return nil, nil
	}
	s.mu.Lock()
	if !s.checked.IsZero() && time.Since(s.checked) < checkAgain {
		defer s.mu.Unlock()
		return s.refused, nil
	}
	s.mu.Unlock()
	rows, err := s.db.QueryContext(ctx, s.cfg.NonTransactional)
	if err != nil {
		return nil, fmt.Errorf("datasource: %s: the query for tables that cannot be rolled back: %w", s.cfg.Name, err)
	}
	defer rows.Close()
	refused := map[string]string{}
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return nil, fmt.Errorf("datasource: %s: the query for tables that cannot be rolled back: %w", s.cfg.Name, err)
		}
		for name, st := range s.statements {
			if st.Write() && (st.names(table) || strings.EqualFold(table, effectTable)) {
				refused[name] = table
			}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("datasource: %s: the query for tables that cannot be rolled back: %w", s.cfg.Name, err)
	}
	s.mu.Lock()
	s.refused, s.checked = refused, time.Now()
	s.mu.Unlock()
	return refused, nil
}

// stated is an error with an SQLSTATE, such as *odbc.Error.
type stated interface {
	error
	SQLState() string
	NativeError() int
}

// state returns an error's SQLSTATE and the database's own number, or "" and 0.
func state(err error) (string, int) {
	var e stated
	if errors.As(err, &e) {
		return e.SQLState(), e.NativeError()
	}
	return "", 0
}

// final reports whether the database refuses for good: the same write never works.
func (s *Source) final(err error) bool {
	code, native := state(err)
	return code != "" && slices.ContainsFunc(s.cfg.FailOn, func(want string) bool {
		want, number, numbered := strings.Cut(want, "/")
		return strings.HasPrefix(code, want) && (!numbered || number == fmt.Sprint(native))
	})
}

// lost reports whether an error ends a connection.
func lost(err error) bool {
	code, _ := state(err)
	return strings.HasPrefix(code, "08") || errors.Is(err, driver.ErrBadConn)
}

// configuration reports whether an error is that of a statement which cannot work: wrong
// SQL, a table or a right that is missing.
func configuration(err error) bool {
	code, _ := state(err)
	return strings.HasPrefix(code, "42") || strings.HasPrefix(code, "0A") || strings.HasPrefix(code, "28")
}
