package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Flood is clients that mean no good. Each attacker opens one bad connection after the
// other, and holds it until the gateway ends it:
//
//	half-open   connects, and says the beginning of a TLS handshake
//	slow        a handshake, and then a request byte by byte
//	garbage     bytes that are no TLS
//	nonsense    a handshake, and then bytes that are no frame
type Flood struct {
	Attackers int
	// Rate bounds the connections that are opened in a second.
	Rate int
	// Addresses are from how many they come.
	Addresses int
}

const (
	// dripEvery is how often a slow attacker sends its next byte.
	dripEvery = 500 * time.Millisecond
	// attackTime is how long an attacker holds a connection at the most.
	attackTime = time.Minute
	// floodNice lets the flood yield the processors to what is measured: it stands for
	// machines of others, and has to run on this one.
	floodNice = 10
)

// start runs the flood in a process of its own: self with the arguments that lead to
// Attack. It returns how many connections were opened once the process has ended.
func (f Flood) start(ctx context.Context, self, gateway string) (end func() (int, error), _ error) {
	cmd := exec.CommandContext(ctx, self, "bench", "flood", gateway, "--attackers", strconv.Itoa(f.Attackers),
		"--rate", strconv.Itoa(f.Rate), "--addresses", strconv.Itoa(f.Addresses))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: the flood: %w", err)
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, floodNice); err != nil {
		return nil, fmt.Errorf("bench: the flood: %w", err)
	}
	return func() (n int, _ error) {
		err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
		if err == nil {
			_, err = fmt.Sscan(out.String(), &n)
		}
		if err != nil {
			return 0, fmt.Errorf("bench: the flood: %w", err)
		}
		return n, nil
	}, nil
}

// Attack floods a gateway until ctx ends, and returns how many connections were opened.
func (f Flood) Attack(ctx context.Context, gateway string) (int64, error) {
	if err := allowFiles(f.Attackers + filesBeside); err != nil {
		return 0, err
	}
	turns := make(chan struct{}, f.Rate)
	var opened atomic.Int64
	var running sync.WaitGroup
	running.Go(func() { f.pace(ctx, turns) })
	for i := range f.Attackers {
		from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i%f.Addresses>>8), byte(1+i%f.Addresses))}
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-turns:
				}
				if attack(ctx, from, gateway, i%4) {
					opened.Add(1)
				}
			}
		})
	}
	running.Wait()
	return opened.Load(), nil
}

// pace lets Rate connections begin in each second.
func (f Flood) pace(ctx context.Context, turns chan<- struct{}) {
	const tick = 10 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	due := 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for due += float64(f.Rate) * tick.Seconds(); due >= 1; due-- {
			select {
			case turns <- struct{}{}:
			default: // all attackers are busy
			}
		}
	}
}

// hello is how a TLS handshake begins: a record that says that more comes.
var hello = []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}

// attack makes one bad connection of a kind; false if there was none.
func attack(ctx context.Context, from *net.TCPAddr, gateway string, kind int) bool {
	ctx, cancel := context.WithTimeout(ctx, attackTime)
	defer cancel()
	d := net.Dialer{LocalAddr: from}
	c, err := d.DialContext(ctx, "tcp", gateway)
	if err != nil {
		return false
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	stream := c
	if kind&1 != 0 { // whose certificate that is does not matter
		t := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		if t.HandshakeContext(ctx) != nil {
			return true
		}
		stream = t
	}
	switch kind {
	case 0: // half-open
		c.Write(hello)
	case 1: // slow
		drip(ctx, stream)
	case 2: // garbage
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
	case 3: // nonsense
		stream.Write([]byte{0, 0, 0, 3, 0xff, 0xff, 0xff})
	}
	io.Copy(io.Discard, stream)
	return true
}

// drip says a frame of 200 bytes, slowly, until it is cut off.
func drip(ctx context.Context, stream net.Conn) {
	for _, b := range append([]byte{0, 0, 0, 200}, make([]byte, 200)...) {
		if _, err := stream.Write([]byte{b}); err != nil || pause(ctx, dripEvery) != nil {
			return
		}
	}
}

// allowFiles lets this process and those that it starts open n files.
func allowFiles(n int) error {
	want := uint64(n)
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("bench: limit of open files: %w", err)
	}
	if l.Cur >= want && l.Max >= want {
		return nil
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: want, Max: max(l.Max, want)}); err != nil {
		return fmt.Errorf("bench: so many connections take %d open files, a process may have %d here: `ulimit -Hn %d` as root, or LimitNOFILE= of your session, or fewer clients", want, l.Max, want)
	}
	return nil
}
