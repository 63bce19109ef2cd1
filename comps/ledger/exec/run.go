package exec

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// MaxLine is the longest line, in bytes: twice what the most events of one line
	// take when all their fields are given with their longest values.
	MaxLine = 16 << 20
	// readBytes is how much is read at once: a few lines of one event, or a part of
	// a long one.
	readBytes = 64 << 10
)

// Target is a ledger that executes requests. An error that is a *RefusedError is
// the line's answer; any other ends the run. What a Target is given is valid until
// it returns; what it returns, until the next call.
type Target interface {
	// Create executes one independent transaction of accounts or of transfers; one
	// of the two lists is empty, the other holds 1 to ledger.MaxEvents events.
	Create(ctx context.Context, accounts []ledgerpb.Account, transfers []ledgerpb.Transfer) (*txnpb.Results, error)
	// Query reads what all Creates before have left.
	Query(ctx context.Context, q *txnpb.Query) (*txnpb.QueryAnswer, error)
	// Tick moves a virtual clock forward and expires what is due then.
	Tick(ctx context.Context, nanoseconds uint64) error
}

// RefusedError says that a request was not executed, and why; those after it may be.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "exec: refused: " + e.Reason }

// Summary says what a run came to.
type Summary struct {
	Requests int // lines that were not empty
	Errors   int // of them answered by an error
	First    int // number of the first such line, counted from 1
}

// Run executes the requests that it reads from in and writes the answers to out,
// each before it reads on. It returns at the end of in, when ctx ends, or when
// in, out or t fails. It needs memory for the longest line and answer, not for
// more of them.
func Run(ctx context.Context, in io.Reader, out io.Writer, t Target) (Summary, error) {
	r := runner{target: t}
	return r.run(ctx, in, out)
}

// runner is one Run.
type runner struct {
	target Target
	lines  lines
	sum    Summary
	req    request
	out    []byte // the answer's line
}

func (r *runner) run(ctx context.Context, in io.Reader, out io.Writer) (Summary, error) {
	r.lines.in = bufio.NewReaderSize(in, readBytes)
	for ctx.Err() == nil {
		line, err := r.lines.next()
		switch {
		case err == io.EOF:
			return r.sum, nil
		case err != nil && err != errLongLine:
			return r.sum, fmt.Errorf("exec: after line %d: %w", r.lines.number, err)
		case err == nil && len(bytes.TrimSpace(line)) == 0:
			continue
		}
		r.sum.Requests++
		fatal := r.answer(ctx, line, err)
		if _, err := out.Write(r.out); err != nil {
			return r.sum, fmt.Errorf("exec: answer to line %d: %w", r.lines.number, err)
		}
		if fatal != nil {
			return r.sum, fmt.Errorf("exec: stopped at line %d: %w", r.lines.number, fatal)
		}
	}
	return r.sum, fmt.Errorf("exec: stopped after line %d: %w", r.lines.number, context.Cause(ctx))
}

// answer executes a line, which could not be read if err is not nil, and puts the
// answer into r.out. It returns why the run must end.
func (r *runner) answer(ctx context.Context, line []byte, err error) (fatal error) {
	r.out = r.out[:0]
	if err == nil {
		err = r.req.parse(line)
	}
	if err == nil {
		err = r.execute(ctx)
	}
	if err == nil {
		r.out = append(r.out, '\n')
		return nil
	}
	r.sum.Errors++
	if r.sum.First == 0 {
		r.sum.First = r.lines.number
	}
	reason := err.Error()
	var f *fault
	var refused *RefusedError
	switch {
	case errors.As(err, &f):
	case errors.As(err, &refused):
		reason = refused.Reason
	default:
		fatal = err
	}
	r.out = appendError(r.out[:0], fmt.Sprintf("line %d: %s", r.lines.number, reason))
	return fatal
}

// execute executes r.req and appends the answer to r.out.
func (r *runner) execute(ctx context.Context) error {
	q := &r.req
	switch q.kind {
	case &createAccounts, &createTransfers:
		n := len(q.accounts) + len(q.transfers)
		results := &txnpb.Results{}
		var err error
		if n > 0 {
			results, err = r.target.Create(ctx, q.accounts, q.transfers)
		}
		if err == nil {
			r.out, err = appendResults(r.out, q.kind, n, results)
		}
		return err
	case &ticks:
		err := r.target.Tick(ctx, q.tick.nanoseconds)
		r.out = append(r.out, `{"results":[]}`...)
		return err
	}
	a, err := r.target.Query(ctx, &q.query)
	if err == nil {
		r.out = q.kind.answer(r.out, a)
	}
	return err
}

// errLongLine says that a line was longer than MaxLine.
var errLongLine error = &fault{problem: fmt.Sprintf("longer than %d bytes; divide its events among several lines", MaxLine)}

// lines reads lines of at most MaxLine bytes.
type lines struct {
	in     *bufio.Reader
	number int // of the line that was read last, counted from 1
	line   []byte
}

// next returns the next line, valid until the call after. The error is
// errLongLine, after which the line behind is next; io.EOF; or what in returned.
func (l *lines) next() ([]byte, error) {
	l.line = l.line[:0]
	for {
		part, err := l.in.ReadSlice('\n')
		if len(l.line) <= MaxLine { // of a line that is too long the rest is passed over
			l.line = append(l.line, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && (err != io.EOF || len(l.line) == 0):
			return nil, err
		}
		l.number++
		if line := bytes.TrimSuffix(l.line, newline); len(line) <= MaxLine {
			return line, nil
		}
		return nil, errLongLine
	}
}

var newline = []byte("\n")

// appendError appends the answer to a line that was not executed.
func appendError(b []byte, reason string) []byte {
	w := bytes.NewBuffer(b)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // it is read by people
	if err := e.Encode(struct {
		Error string `json:"error"`
	}{reason}); err != nil {
		panic(err) // a string always has a form
	}
	return w.Bytes()
}
