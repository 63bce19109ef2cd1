package fabric_test

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
)

// childEnv makes the test binary run SFU 2 and nothing else. Its value is the
// incarnation and then either "udp" with the addresses of its own networks and of
// SFU 1's, or "ethernet" with the path of a network namespace. With "bare" it is no
// SFU but sends every frame back that network A brings.
const childEnv = "RRTS_TEST_FABRIC_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		child(strings.Fields(args))
	}
	os.Exit(m.Run())
}

// child runs SFU 2 until standard input ends. It sends every record that begins
// with a '!' back, swallows the others, and prints its events.
func child(args []string) {
	t := &loudTB{}
	incarnation, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	var links fabric.Links
	switch args[1] {
	case "udp":
		for i := range 2 {
			links[i] = openOne(t, netip.MustParseAddrPort(args[2+i]), netip.MustParseAddrPort(args[4+i]))
		}
	case "ethernet":
		links = openEthernet(t, args[2], 2, false)
	case "bare":
		bareEcho(openEthernet(t, args[2], 0, false)[fabric.PortA])
	}
	n := start(t, nodeConfig{
		sfu: 2, incarnation: incarnation, links: links, peers: peersOf(t, 2, 2),
		deliver: func(n *node, r fabric.Record) {
			if r.Data[0] == '!' {
				n.Send(r.Peer, r.Lane, r.Data)
			}
		},
		event: func(_ *node, e fabric.Event) { fmt.Println(e) },
		tune:  patient,
	})
	io.Copy(io.Discard, os.Stdin)
	n.stop()
	os.Exit(0)
}

// bareEcho sends every frame back, until the process is killed.
func bareEcho(l link.Link) {
	frames := make([]link.Frame, link.BatchSize)
	for i := range frames {
		frames[i].Data = make([]byte, link.MaxFrame)
	}
	for {
		n, err := l.Receive(frames)
		if err != nil {
			os.Exit(1)
		}
		l.Send(frames[:n])
	}
}

// patient is for processes on a machine that others use: it may keep one of them from a
// processor for longer than a peer may be silent by default.
func patient(c *session.Config) { c.Suspect, c.Dead = 300*time.Millisecond, 1500*time.Millisecond }

// loudTB is what child needs of a test.
type loudTB struct{ testing.TB }

func (*loudTB) Helper()        {}
func (*loudTB) Cleanup(func()) {}
func (*loudTB) Fatal(args ...any) {
	fmt.Println(args...)
	os.Exit(1)
}
func (t *loudTB) Errorf(format string, args ...any) { t.Fatal(fmt.Sprintf(format, args...)) }

// openOne opens a UDP link with one peer.
func openOne(t testing.TB, listen, peer netip.AddrPort) link.Link {
	t.Helper()
	l, err := link.OpenUDP(link.UDPConfig{Listen: listen, Peers: []netip.AddrPort{peer}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// process is SFU 2 in a process of its own.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	events chan []string // all it has told, after it has ended
}

func spawn(t testing.TB, incarnation uint64, links ...any) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe), events: make(chan []string, 1)}
	p.cmd.Env = append(os.Environ(), childEnv+"="+fmt.Sprintln(append([]any{incarnation}, links...)...))
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		var events []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			events = append(events, lines.Text())
		}
		p.events <- events
	}()
	t.Cleanup(func() { p.cmd.Process.Kill() })
	return p
}

// end lets the process stop by itself and returns what it told.
func (p *process) end(t testing.TB) []string {
	t.Helper()
	p.stdin.Close()
	events := <-p.events
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("child: %v; it told %v", err, events)
	}
	return events
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// withChild starts SFU 1 here and returns how to start SFU 2.
func withChild(t *testing.T) (*node, func(incarnation uint64) *process) {
	t.Helper()
	mine, theirs := udpPorts(t, 2), udpPorts(t, 2)
	one := start(t, nodeConfig{
		sfu:   1,
		links: fabric.Links{openOne(t, mine[0], theirs[0]), openOne(t, mine[1], theirs[1])},
		peers: peersOf(t, 1, 2),
		tune:  patient,
	})
	return one, func(incarnation uint64) *process {
		return spawn(t, incarnation, "udp", theirs[0], theirs[1], mine[0], mine[1])
	}
}

// A process that was stopped for half a second is suspected and recovers; by its
// own clock it does not blame the others.
func TestPause(t *testing.T) {
	if testing.Short() {
		t.Skip("a machine that is busy with the race detector stretches its judgement: runs without -short")
	}
	one, spawn := withChild(t)
	two := spawn(1)
	one.sees(t, 2, fabric.A, fabric.B)
	const records = 1000
	for i := range records {
		switch i {
		case 300:
			two.signal(t, syscall.SIGSTOP)
			time.AfterFunc(500*time.Millisecond, func() { two.cmd.Process.Signal(syscall.SIGCONT) })
		case 301:
			one.happened(t, "peer-suspect 2")
		}
		if err := one.Send(2, fabric.LaneRequest, fmt.Appendf(nil, "!%d", i)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	one.until(t, "every echo", func() bool { return len(one.records) == records })
	for i, r := range one.records {
		if r.data != fmt.Sprintf("!%d", i) {
			t.Fatalf("echo %q came in place %d", r.data, i)
		}
	}
	one.happened(t, "peer-recovered 2")
	if told := one.told(fabric.PeerSuspect, fabric.PeerRecovered, fabric.PeerLost); len(told) != 2 {
		t.Errorf("told %v", told)
	}
	for _, e := range two.end(t) {
		if strings.HasPrefix(e, "peer-suspect") || strings.HasPrefix(e, "peer-lost") && !strings.Contains(e, "local") {
			t.Errorf("the one that was stopped told %s", e)
		}
	}
}

// A process that is killed and started again is told as one loss and one restart.
func TestKill(t *testing.T) {
	one, spawn := withChild(t)
	for incarnation := uint64(1); incarnation <= 3; incarnation++ {
		two := spawn(incarnation)
		one.until(t, "the peer", func() bool {
			return slices.ContainsFunc(one.events, func(e fabric.Event) bool {
				return e.Kind == fabric.PeerUp && e.Incarnation == incarnation
			})
		})
		two.signal(t, syscall.SIGKILL)
		<-two.events
		two.cmd.Wait()
	}
	one.until(t, "the last loss", func() bool { _, up := one.paths[2]; return !up })
	var told []string
	for _, e := range one.told(fabric.PeerUp, fabric.PeerLost) {
		e, _, _ = strings.Cut(e, " reason=")
		told = append(told, e)
	}
	want := []string{
		"peer-up 2 incarnation=1", "peer-lost 2 incarnation=1",
		"peer-up 2 incarnation=2 restarted", "peer-lost 2 incarnation=2",
		"peer-up 2 incarnation=3 restarted", "peer-lost 2 incarnation=3",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %v", told)
	}
}

// A process that is stopped for 5 s under load is lost once; when it goes on it is
// found again, the same as it was, and what is sent then arrives in order.
func TestLongPauseUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 7 s: runs without -short")
	}
	one, spawn := withChild(t)
	two := spawn(1)
	one.sees(t, 2, fabric.A, fabric.B)
	two.signal(t, syscall.SIGSTOP)
	resumed := time.AfterFunc(5*time.Second, func() { two.cmd.Process.Signal(syscall.SIGCONT) })
	defer resumed.Stop()
	// The sender does not wait for anything but room, and goes on when the peer is back.
	record := make([]byte, 1000)
	refused := 0
	for stopped := time.Now(); time.Since(stopped) < 5*time.Second; time.Sleep(time.Millisecond) {
		for range 20 {
			if one.Send(2, fabric.LaneCommit, record) != nil {
				refused++
			}
		}
	}
	if refused == 0 {
		t.Error("records were taken for a peer that was stopped for 5 s")
	}
	one.happened(t, "peer-lost 2 incarnation=1 reason=silence")
	one.sees(t, 2, fabric.A, fabric.B)
	for i := range 100 {
		if err := one.Send(2, fabric.LaneCommit, fmt.Appendf(nil, "!%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	one.until(t, "every echo", func() bool { return len(one.records) == 100 })
	for i, r := range one.records {
		if r.data != fmt.Sprintf("!%d", i) {
			t.Fatalf("echo %q came in place %d", r.data, i)
		}
	}
	want := []string{"peer-up 2 incarnation=1", "peer-suspect 2", "peer-lost 2 incarnation=1 reason=silence", "peer-up 2 incarnation=1"}
	if told := one.told(fabric.PeerUp, fabric.PeerSuspect, fabric.PeerLost); !slices.Equal(told, want) {
		t.Errorf("told %v", told)
	}
	two.end(t)
}
