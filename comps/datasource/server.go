package datasource

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// pageBytes is a page that is not asked for otherwise, and maxPage the longest.
	pageBytes = 1 << 20
	maxPage   = 4 << 20
)

// Server answers the service Datasource in the child process. Each request may wait, so
// each is to be given on a goroutine of its own.
type Server struct {
	open    func(connection string, startup []string) driver.Connector
	context func(message.Request) context.Context
	hung    func(source string)

	mu       sync.RWMutex
	revision uint64 // 0: there were no settings yet
	sources  map[string]*Source
	roles    map[string]map[string]message.Roles // who may read by a statement of a source
}

// NewServer returns a Server without data sources. open makes a connector, context tells
// until when a request is waited for, and hung is called when a data source's connections
// are all in calls that do not come back.
func NewServer(open func(connection string, startup []string) driver.Connector, context func(message.Request) context.Context, hung func(source string)) *Server {
	return &Server{open: open, context: context, hung: hung}
}

var _ datasourcepb.DatasourceHandler = (*Server)(nil)

// Stop drops every connection.
func (s *Server) Stop() {
	s.mu.Lock()
	sources := s.sources
	s.sources, s.revision = nil, 0
	s.mu.Unlock()
	for _, src := range sources {
		src.Close()
	}
}

// trusted answers a request that is not of the SFU itself.
func trusted(r message.Request) bool {
	if r.Envelope().Role == message.RoleSFU {
		return true
	}
	r.Fail(message.Denied, "datasource: only the SFU itself may call this")
	return false
}

// Configure implements datasourcepb.DatasourceHandler.
func (s *Server) Configure(r message.Responder[*datasourcepb.ConfigureReply], in *datasourcepb.Settings) {
	if !trusted(r.Request) {
		return
	}
	sources, roles := map[string]*Source{}, map[string]map[string]message.Roles{}
	for i := range in.Sources {
		c, allowed, err := s.config(&in.Sources[i])
		if err == nil {
			sources[c.Name], err = New(c)
			roles[c.Name] = allowed
		}
		if err != nil {
			for _, src := range sources {
				if src != nil {
					src.Close()
				}
			}
			r.Fail(message.Invalid, err.Error())
			return
		}
	}
	s.mu.Lock()
	before := s.sources
	s.sources, s.roles, s.revision = sources, roles, in.Revision
	s.mu.Unlock()
	for _, src := range before {
		src.Close()
	}
	r.Reply(&datasourcepb.ConfigureReply{})
}

func (s *Server) config(in *datasourcepb.Source) (Config, map[string]message.Roles, error) {
	millis := func(n uint64) time.Duration { return time.Duration(n) * time.Millisecond }
	c := Config{
		Name: in.Name, Connector: s.open(in.Connection, in.Startup), Connections: int(in.Connections),
		ConnectTimeout: millis(in.ConnectTimeoutMillis), Timeout: millis(in.TimeoutMillis), Idle: millis(in.IdleMillis),
		Check: in.Check, NonTransactional: in.NonTransactional, FailOn: in.FailOn, Hung: func() { s.hung(in.Name) },
	}
	roles := map[string]message.Roles{}
	for i := range in.Statements {
		st := &in.Statements[i]
		out := Statement{Name: st.Name, SQL: st.Sql, Rows: st.Rows, Timeout: millis(st.TimeoutMillis)}
		for _, part := range []struct {
			from []datasourcepb.Field
			to   *[]Field
		}{{st.Parameters, &out.Parameters}, {st.Columns, &out.Columns}} {
			for _, f := range part.from {
				t, ok := ParseType(f.Type)
				if !ok {
					return Config{}, nil, fmt.Errorf("datasource: %s: statement %s: field %s has type %q, which there is not", in.Name, st.Name, f.Name, f.Type)
				}
				*part.to = append(*part.to, Field{Name: f.Name, Type: t, Size: int(f.Length), Scale: int(f.Scale), Digits: int(f.Digits), Nullable: f.Nullable})
			}
		}
		c.Statements = append(c.Statements, out)
		roles[st.Name] = message.Roles(st.Roles)
	}
	return c, roles, nil
}

// source returns a data source, or answers the request.
func (s *Server) source(r message.Request, name string) *Source {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch src := s.sources[name]; {
	case s.revision == 0:
		r.Fail(message.Unavailable, "datasource: this SFU is starting: its data sources are not configured yet")
	case src == nil:
		r.Fail(message.NotFound, fmt.Sprintf("datasource: this SFU has no data source %.64q", name))
	default:
		return src
	}
	return nil
}

// current is the source of that name if the settings are those of a revision, else nil.
func (s *Server) current(revision uint64, name string) *Source {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if revision != s.revision {
		return nil
	}
	return s.sources[name]
}

// Write implements datasourcepb.DatasourceHandler.
func (s *Server) Write(r message.Responder[*datasourcepb.WriteResults], in *datasourcepb.WriteBatch) {
	if !trusted(r.Request) {
		return
	}
	src := s.current(in.Revision, in.Source)
	if src == nil {
		r.Reply(&datasourcepb.WriteResults{Stale: true})
		return
	}
	effects := make([]Effect, len(in.Writes))
	for i := range in.Writes {
		w := &in.Writes[i]
		e := Effect{Transaction: w.TransactionId.Bytes(), Ordinal: w.Ordinal, Statement: w.Statement, Arguments: arguments(w.Arguments), Fence: w.Fence, InDoubt: w.InDoubt}
		copy(e.Cluster[:], w.ClusterId)
		effects[i] = e
	}
	out := &datasourcepb.WriteResults{Results: make([]datasourcepb.WriteResult, len(effects))}
	for i, o := range src.DoAll(s.context(r.Request), effects) {
		out.Results[i] = datasourcepb.WriteResult{Class: writeClasses[o.Class], Rows: uint64(o.Rows)}
		if o.Err != nil {
			out.Results[i].Reason = o.Err.Error()
		}
	}
	r.Reply(out)
}

var writeClasses = map[Class]datasourcepb.WriteClass{
	Done: datasourcepb.WriteClassDone, Retry: datasourcepb.WriteClassRetry, Failed: datasourcepb.WriteClassFailed, Misconfigured: datasourcepb.WriteClassMisconfigured,
}

// kinds are the kinds of values as messages have them.
var kinds = map[txnpb.ArgumentKind]Kind{
	txnpb.ArgumentKindText: Text, txnpb.ArgumentKindNull: Null, txnpb.ArgumentKindInteger: Integer, txnpb.ArgumentKindDecimal: Decimal,
	txnpb.ArgumentKindBoolean: Boolean, txnpb.ArgumentKindTime: Time, txnpb.ArgumentKindBytes: Bytes,
}

// unkind is the other way round.
var unkind = func() map[Kind]txnpb.ArgumentKind {
	m := map[Kind]txnpb.ArgumentKind{}
	for k, v := range kinds {
		m[v] = k
	}
	return m
}()

func arguments(in []txnpb.Argument) []Argument {
	out := make([]Argument, len(in))
	for i, a := range in {
		k, ok := kinds[a.Kind]
		if !ok {
			k = Kind(255) // goes into no field
		}
		out[i] = Argument{a.Name, Value{k, a.Value}}
	}
	return out
}

// Read implements datasourcepb.DatasourceHandler.
func (s *Server) Read(r message.Responder[*datasourcepb.Page], in *datasourcepb.ReadRequest) {
	src := s.source(r.Request, in.Source)
	if src == nil || !s.mayRead(r.Request, in.Source, in.Statement) {
		return
	}
	ctx := s.context(r.Request)
	c, err := src.Query(ctx, in.Statement, arguments(in.Arguments))
	if err != nil {
		fail(r.Request, err)
		return
	}
	page, ok := next(ctx, r.Request, c, in.PageBytes)
	if !ok {
		return
	}
	for _, f := range c.Statement().Columns {
		page.Columns = append(page.Columns, f.Name)
	}
	r.Reply(page)
}

// Next implements datasourcepb.DatasourceHandler.
func (s *Server) Next(r message.Responder[*datasourcepb.Page], in *datasourcepb.NextRequest) {
	src := s.source(r.Request, in.Source)
	if src == nil {
		return
	}
	c := src.Cursor(in.Cursor)
	if c == nil {
		r.Fail(message.NotFound, "datasource: the read is at its end, was closed, or nobody asked for its next page for half a minute")
		return
	}
	if !s.mayRead(r.Request, in.Source, c.Statement().Name) {
		return
	}
	if page, ok := next(s.context(r.Request), r.Request, c, in.PageBytes); ok {
		r.Reply(page)
	}
}

// Close implements datasourcepb.DatasourceHandler: it ends a read.
func (s *Server) Close(r message.Responder[*datasourcepb.CloseReply], in *datasourcepb.CloseRequest) {
	src := s.source(r.Request, in.Source)
	if src == nil {
		return
	}
	if c := src.Cursor(in.Cursor); c != nil {
		if !s.mayRead(r.Request, in.Source, c.Statement().Name) {
			return
		}
		c.Close()
	}
	r.Reply(&datasourcepb.CloseReply{})
}

// mayRead answers a request of a role that may not read by a statement.
func (s *Server) mayRead(r message.Request, source, statement string) bool {
	s.mu.RLock()
	roles, known := s.roles[source][statement]
	s.mu.RUnlock()
	role := r.Envelope().Role
	if known && role != message.RoleSFU && !roles.Has(role) {
		r.Fail(message.Denied, fmt.Sprintf("datasource: statement %s of data source %s is not for your role", statement, source))
		return false
	}
	return true
}

// next answers a request that fails, or returns the page.
func next(ctx context.Context, r message.Request, c *Cursor, bytes uint32) (*datasourcepb.Page, bool) {
	rows, end, err := c.Next(ctx, min(cmp.Or(int(bytes), pageBytes), maxPage))
	if err != nil {
		fail(r, err)
		return nil, false
	}
	page := &datasourcepb.Page{Rows: make([]datasourcepb.Row, len(rows))}
	for i, row := range rows {
		cells := make([]datasourcepb.Cell, len(row))
		for k, v := range row {
			cells[k] = datasourcepb.Cell{Kind: unkind[v.Kind], Value: v.Data}
		}
		page.Rows[i].Cells = cells
	}
	if !end {
		page.Cursor = c.ID()
	}
	return page, true
}

// fail answers a read that does not work.
func fail(r message.Request, err error) {
	code := message.Internal
	switch {
	case errors.Is(err, ErrRefused):
		code = message.Invalid
	case errors.Is(err, ErrBusy):
		code = message.Overloaded
	case errors.Is(err, ErrClosed):
		code = message.NotFound
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, ErrGivenUp):
		code = message.Expired
	}
	r.Fail(code, err.Error())
}

// Check implements datasourcepb.DatasourceHandler.
func (s *Server) Check(r message.Responder[*datasourcepb.CheckReply], in *datasourcepb.CheckRequest) {
	s.mu.RLock()
	sources, revision := s.sources, s.revision
	s.mu.RUnlock()
	if in.Revision != 0 && in.Revision != revision {
		r.Reply(&datasourcepb.CheckReply{Stale: true})
		return
	}
	var names []string
	if in.Source == "" {
		names = slices.Sorted(maps.Keys(sources))
	} else if s.source(r.Request, in.Source) == nil {
		return
	} else {
		names = []string{in.Source}
	}
	out := &datasourcepb.CheckReply{Sources: make([]datasourcepb.SourceState, len(names))}
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			began := time.Now()
			state := datasourcepb.SourceState{Source: name}
			if err := sources[name].Check(s.context(r.Request)); err != nil {
				state.Fault = err.Error()
			}
			state.Millis = uint64(time.Since(began).Milliseconds())
			out.Sources[i] = state
		})
	}
	wg.Wait()
	r.Reply(out)
}

// Init implements datasourcepb.DatasourceHandler.
func (s *Server) Init(r message.Responder[*datasourcepb.InitReply], in *datasourcepb.InitRequest) {
	src := s.source(r.Request, in.Source)
	if src == nil {
		return
	}
	made, err := src.Init(s.context(r.Request))
	if err != nil {
		r.Fail(message.Internal, err.Error())
		return
	}
	r.Reply(&datasourcepb.InitReply{Made: made})
}

// Prune implements datasourcepb.DatasourceHandler.
func (s *Server) Prune(r message.Responder[*datasourcepb.PruneReply], in *datasourcepb.PruneRequest) {
	if !trusted(r.Request) {
		return
	}
	src := s.current(in.Revision, in.Source)
	if src == nil {
		r.Reply(&datasourcepb.PruneReply{Stale: true})
		return
	}
	rows, more, err := src.Prune(s.context(r.Request), time.Unix(in.Before, 0))
	if err != nil {
		r.Fail(message.Internal, err.Error())
		return
	}
	r.Reply(&datasourcepb.PruneReply{Rows: uint32(rows), More: more})
}
