package exec

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// An answer is written before the next request is read, so that a program can wait
// for one before it sends the other.
func TestAnswersComeAtOnce(t *testing.T) {
	requests, send := io.Pipe()
	receive, answers := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := Run(t.Context(), requests, answers, newModel(t))
		done <- err
	}()
	lines := bufio.NewReader(receive)
	for range 3 {
		if _, err := io.WriteString(send, "{\"lookup_accounts\":[1]}\n{\"look"); err != nil {
			t.Fatal(err)
		}
		if got, err := lines.ReadString('\n'); err != nil || got != "{\"accounts\":[]}\n" {
			t.Fatalf("%q, %v", got, err)
		}
		if _, err := io.WriteString(send, "up_transfers\":[2]}\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := lines.ReadString('\n'); err != nil || got != "{\"transfers\":[]}\n" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	send.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A line that is too long is refused whole and takes no memory; those around it
// are executed.
func TestLongLines(t *testing.T) {
	const lookup = `{"lookup_accounts":[1]}`
	pad := func(n int) string { return lookup + strings.Repeat(" ", n-len(lookup)) }
	script := strings.Join([]string{pad(MaxLine), pad(MaxLine + 1), lookup, "", pad(2*MaxLine + readBytes), lookup}, "\n")
	const long = "longer than 16777216 bytes; divide its events among several lines"
	want := strings.Join([]string{
		`{"accounts":[]}`, `{"error":"line 2: ` + long + `"}`, `{"accounts":[]}`, `{"error":"line 5: ` + long + `"}`, `{"accounts":[]}`, "",
	}, "\n")
	var got bytes.Buffer
	r := runner{target: newModel(t)}
	sum, err := r.run(t.Context(), strings.NewReader(script), &got)
	if err != nil || got.String() != want || sum != (Summary{Requests: 5, Errors: 2, First: 2}) {
		t.Errorf("%+v, %v\n%s", sum, err, got.String())
	}
	if n := cap(r.lines.line); n > 2*MaxLine {
		t.Errorf("%d bytes for lines of at most %d", n, MaxLine)
	}
}

// The last line needs no end, and an empty script no line.
func TestEnds(t *testing.T) {
	for script, want := range map[string]int{
		"": 0, "\n": 0, " \r\n\t\n": 0, "{}": 1, "{}\n": 1, "{}\n{}": 2, "\n\n{}\r\n\n": 1,
	} {
		sum, err := Run(t.Context(), iotest.OneByteReader(strings.NewReader(script)), io.Discard, newModel(t))
		if err != nil || sum.Requests != want {
			t.Errorf("%q: %+v, %v", script, sum, err)
		}
	}
}

// broken is a Target that fails.
type broken struct {
	*model
	results *txnpb.Results
	err     error
}

func (b *broken) Create(context.Context, []ledgerpb.Account, []ledgerpb.Transfer) (*txnpb.Results, error) {
	return b.results, b.err
}

// A target's refusal is the line's answer; its failure is the last answer.
func TestTargetErrors(t *testing.T) {
	const script = `{"create_accounts":[{"id":1},{"id":2}]}` + "\n" + `{"lookup_accounts":[]}` + "\n"
	for name, c := range map[string]struct {
		target broken
		want   string // the answers
		stop   string
	}{
		"refused": {
			broken{err: &RefusedError{"not <now>"}},
			`{"error":"line 1: not <now>"}` + "\n" + `{"accounts":[]}` + "\n", "",
		},
		"failed": {
			broken{err: errors.New("disk gone")},
			`{"error":"line 1: disk gone"}` + "\n", "exec: stopped at line 1: disk gone",
		},
		"results of another request": {
			broken{results: &txnpb.Results{Timestamp: 1, Count: 3}},
			`{"error":"line 1: exec: results of 3 events, the request has 2"}` + "\n",
			"exec: stopped at line 1: exec: results of 3 events, the request has 2",
		},
		"results out of order": {
			broken{results: &txnpb.Results{Timestamp: 1, Count: 2, Exceptions: []txnpb.Exception{{Index: 1}, {Index: 0}}}},
			`{"error":"line 1: exec: a result of event 0 out of order, the request has 2"}` + "\n",
			"exec: stopped at line 1: exec: a result of event 0 out of order, the request has 2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.target.model = newModel(t)
			var got bytes.Buffer
			sum, err := Run(t.Context(), strings.NewReader(script), &got, &c.target)
			stop := ""
			if err != nil {
				stop = err.Error()
			}
			if got.String() != c.want || stop != c.stop || sum.Errors != 1 || sum.First != 1 {
				t.Errorf("%+v, %q\n%s", sum, stop, got.String())
			}
			if c.target.err != nil && stop != "" && !errors.Is(err, c.target.err) {
				t.Errorf("%v does not wrap the target's error", err)
			}
		})
	}
}

// What fails around the target ends the run with the line at which it was.
func TestRunEnds(t *testing.T) {
	const line = `{"lookup_accounts":[1]}` + "\n"
	failing := io.MultiReader(strings.NewReader(line+line+line[:5]), iotest.ErrReader(io.ErrClosedPipe))
	if _, err := Run(t.Context(), failing, io.Discard, newModel(t)); err == nil || err.Error() != "exec: after line 2: "+io.ErrClosedPipe.Error() {
		t.Errorf("reading: %v", err)
	}
	closed, w := io.Pipe()
	closed.Close()
	if _, err := Run(t.Context(), strings.NewReader(line), w, newModel(t)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("writing: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	sum, err := Run(ctx, strings.NewReader(line+line), writer(func(b []byte) { cancel(errors.New("told to stop")) }), newModel(t))
	if sum.Requests != 1 || err == nil || err.Error() != "exec: stopped after line 1: told to stop" {
		t.Errorf("%+v, %v", sum, err)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}
