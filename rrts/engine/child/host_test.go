package child_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
)

func notify(c chan os.Signal) { signal.Notify(c, syscall.SIGTERM) }

// mouth is a child that says one thing and ends.
type mouth struct{ conn net.Conn }

func newMouth(t *testing.T, said []byte) *mouth {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]net.Conn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	go func() {
		ends[1].Write(said)
		ends[1].(*net.UnixConn).CloseWrite()
	}()
	t.Cleanup(func() { ends[1].Close() })
	return &mouth{ends[0]}
}

func (m *mouth) Conn() net.Conn    { return m.conn }
func (m *mouth) End(time.Duration) { m.conn.Close() }
func (m *mouth) Reason() string    { return "the end" }

// quietHost is an engine that answers every call at once.
type quietHost struct {
	engine.Host
	failed  chan string
	running sync.WaitGroup
}

func (h *quietHost) SFU() uint16                           { return 1 }
func (h *quietHost) Log() *slog.Logger                     { return slog.New(slog.DiscardHandler) }
func (h *quietHost) Now() time.Duration                    { return 0 }
func (h *quietHost) Ready(bool)                            {}
func (h *quietHost) Offer([]engine.Service) error          { return nil }
func (h *quietHost) Alarm(string, engine.Severity, string) {}
func (h *quietHost) ClearAlarm(string)                     {}
func (h *quietHost) Notify(engine.Notice) error            { return nil }
func (h *quietHost) Pulse(string, time.Duration) func()    { return func() {} }
func (h *quietHost) Call(c engine.Call)                    { c.Done(engine.Reply{Body: c.Body}) }
func (h *quietHost) Service(n uint16) *message.ServiceDescriptor {
	return map[uint16]*message.ServiceDescriptor{bankService: bank, echoService: echo}[n]
}

func (h *quietHost) Fail(reason string) {
	select {
	case h.failed <- reason:
	default:
	}
}

func (h *quietHost) Go(_ string, f func(context.Context)) {
	h.running.Go(func() { f(context.Background()) })
}
