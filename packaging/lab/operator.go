package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"
)

// operator types a command at a machine and returns what it printed, once it has
// ended well. Input is what the operator answers to its questions.
func (w *world) operator(ctx context.Context, machine, command string, input ...string) (string, error) {
	win, err := w.window(ctx, machine, command, input...)
	if err != nil {
		return "", err
	}
	return win.wait()
}

// window is a command that an operator has typed and that still runs: others can be
// typed meanwhile in other windows.
type window struct {
	world   *world
	command string // with its machine, as it is shown
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	done    chan struct{} // closed when the command has ended
	err     error         // how, when done is closed

	mu  sync.Mutex
	out bytes.Buffer // what it printed so far
}

// Write takes what the command prints.
func (w *window) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(b)
}

func (w *window) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// window types a command at a machine and leaves it running.
func (w *world) window(ctx context.Context, machine, command string, input ...string) (*window, error) {
	ctx, cancel := context.WithTimeout(ctx, commandWithin)
	w.commands++
	win := &window{world: w, command: machine + "# " + command, cancel: cancel, done: make(chan struct{})}
	w.say("%s", win.command)
	win.cmd = w.machine(machine).Command(ctx, "bash", "-c", "cd; "+command)
	win.cmd.Stdin = strings.NewReader(strings.Join(input, ""))
	win.cmd.Stdout, win.cmd.Stderr = win, win
	if err := win.cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("%s: %w", win.command, err)
	}
	go func() {
		win.err = win.cmd.Wait()
		close(win.done)
	}()
	return win, nil
}

// await returns the first match in what the command prints.
func (w *window) await(ctx context.Context, want *regexp.Regexp) (string, error) {
	for {
		ended := false
		select {
		case <-w.done:
			ended = true
		default:
		}
		if found := want.FindString(w.text()); found != "" {
			return found, nil
		}
		if ended {
			_, err := w.wait()
			return "", fmt.Errorf("%s: it ended without printing %v: %w\n%s", w.command, want, err, w.text())
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%s: it does not print %v: %w\n%s", w.command, want, ctx.Err(), w.text())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// wait waits until the command has ended and returns what it printed.
func (w *window) wait() (string, error) {
	<-w.done
	w.cancel()
	out := w.text()
	w.world.note([]byte(out))
	if w.err != nil {
		return out, fmt.Errorf("%s: %w\n%s", w.command, w.err, strings.TrimSpace(out))
	}
	return out, nil
}
