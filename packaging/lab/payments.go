package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"virtualservicesinc.com/packaging/lab/nspawn"
	"virtualservicesinc.com/rrts/drill"
)

const (
	loginName, password = "lab-login", "lab-password"
	answersFile         = "root/answers.jsonl"
	// stopWithin is how long the clients may take to learn the last outcomes.
	stopWithin = 3 * time.Minute
)

// payments is the program on the client machine.
type payments struct {
	machine *nspawn.Machine
	cmd     *exec.Cmd
	stdin   io.Closer
	said    bytes.Buffer // on standard error; read after done
	done    chan struct{}
	err     error // when done is closed

	mu      sync.Mutex
	figures figures
	first   time.Time // when the first payment was answered
}

// figures is a line of the program.
type figures struct {
	Answered  int64 `json:"answered"`
	Committed int64 `json:"committed"`
	Failed    int64 `json:"failed"`
	WaitingMs int64 `json:"waiting_ms"`
}

// startPayments puts the program on the client machine and starts it, with further
// flags.
func (w *world) startPayments(flags ...string) error {
	m := w.machine(clientMachine)
	for from, to := range map[string]string{w.o.payer: "usr/local/bin/payer", w.o.payments: "root/payments.csv"} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = m.WriteFile(to, data, 0o755)
		}
		if err != nil {
			return err
		}
	}
	p := &payments{machine: m, done: make(chan struct{})}
	// It ends with its input, so no context is needed to end it.
	p.cmd = m.Command(context.Background(), append([]string{"payer", "--kit", "/root/client-kit.toml", "--payments", "/root/payments.csv", "--answers", "/" + answersFile}, flags...)...)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.cmd.Stderr = &p.said
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.stdin = in
	if _, err := io.WriteString(in, loginName+"\n"+password+"\n"); err != nil {
		return err
	}
	go p.read(out)
	w.payer = p
	return nil
}

// read takes the program's lines until it ends.
func (p *payments) read(out io.Reader) {
	var err error
	for d := json.NewDecoder(out); ; {
		var f figures
		if err = d.Decode(&f); err != nil {
			break
		}
		p.mu.Lock()
		p.figures = f
		if p.first.IsZero() && f.Committed > 0 {
			p.first = time.Now()
		}
		p.mu.Unlock()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if werr := p.cmd.Wait(); werr != nil {
		err = fmt.Errorf("the payments program: %w: %s", werr, strings.TrimSpace(p.said.String()))
	}
	p.err = err
	close(p.done)
}

func (p *payments) now() (f figures, first time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.figures, p.first
}

// flow waits until so many more payments are answered and nobody waits for long.
func (p *payments) flow(ctx context.Context, more int64) error {
	const longMs = 500
	begin, _ := p.now()
	for {
		f, _ := p.now()
		if f.Answered >= begin.Answered+more && f.WaitingMs < longMs {
			return nil
		}
		select {
		case <-p.done:
			return errors.Join(errors.New("the payments ended"), p.err)
		case <-ctx.Done():
			return fmt.Errorf("payments do not flow: %d more were answered, one has waited for %d ms", f.Answered-begin.Answered, f.WaitingMs)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop lets the clients finish and returns everything that they were told.
func (p *payments) stop() ([]drill.Answer, error) {
	if err := p.stdin.Close(); err != nil {
		return nil, err
	}
	select {
	case <-p.done:
	case <-time.After(stopWithin):
		return nil, fmt.Errorf("the payments program has not ended after %v", stopWithin)
	}
	if p.err != nil {
		return nil, p.err
	}
	f, err := os.Open(filepath.Join(p.machine.Root(), answersFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return drill.ReadAnswers(f)
}
