package child

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a program that runs.
type Process interface {
	// Conn is this end of the socket.
	Conn() net.Conn
	// End ends the program and what it has started: the socket is closed and SIGTERM
	// sent, and after grace SIGKILL. It returns when the program is gone, also if it was.
	End(grace time.Duration)
	// Reason says how it ended, once End has returned.
	Reason() string
}

// Limits bounds what a program may use. 0 leaves a bound as the engine has it.
type Limits struct {
	// Memory bounds what it can allocate, in bytes: RLIMIT_DATA.
	Memory int64
	// Files bounds its open files, and Processes the processes and threads of its user.
	Files, Processes uint64
	// Nice is added to its priority: 19 gives it what nobody else wants of the processor.
	Nice int
}

// Program is a program to be run as a child.
type Program struct {
	Name       string // of the Component
	Executable string // absolute path
	Arguments  []string
	// User under which it runs; nil means this process's own, for
	// development.
	User *User
	Limits
	// Log gets what it writes.
	Log *slog.Logger
}

// User is an identity without privileges.
type User struct{ UID, GID uint32 }

// socketFD is the descriptor of the socket in the child: the first one after those that
// every program has.
const socketFD = 3

// order is what is to be run: for the intermediate program, which is this one under
// another name and becomes the child (see Become), and for the one that runs children for
// an SFU that cannot give them users of their own (see Execute).
type order struct {
	Name       string
	Executable string
	Arguments  []string
	Limits     Limits
	User       *User `json:",omitempty"`
	Parent     int   `json:",omitempty"` // the process that must not be gone
}

// environment is all that a child finds in its environment.
func environment(name string) []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/", "RRTS_COMPONENT=" + name, fmt.Sprintf("RRTS_SOCKET=%d", socketFD)}
}

// ends are the descriptors between an SFU and its child: this side's socket and what the
// child writes, and the child's side of both.
type ends struct {
	conn   net.Conn
	output *os.File

	theirs *os.File // the child's socket
	writes *os.File // its standard output and error
}

func newEnds() (*ends, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("child: socketpair: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "child")
	e := &ends{theirs: os.NewFile(uintptr(fds[1]), "engine")}
	e.conn, err = net.FileConn(ours)
	ours.Close()
	if err == nil {
		e.output, e.writes, err = os.Pipe()
	}
	if err != nil {
		e.close()
		return nil, fmt.Errorf("child: %w", err)
	}
	return e, nil
}

// handOver closes the child's side, which the child has now.
func (e *ends) handOver() {
	e.theirs.Close()
	e.writes.Close()
}

func (e *ends) close() {
	if e.conn != nil {
		e.conn.Close()
	}
	for _, f := range []*os.File{e.output, e.theirs, e.writes} {
		if f != nil {
			f.Close()
		}
	}
}

// forked is a program that runs as a child of this process.
type forked struct {
	conn net.Conn
	cmd  *exec.Cmd
	said *said

	done chan struct{} // closed when it is gone
	once sync.Once
	err  error // of Wait, when done is closed
}

var _ Process = (*forked)(nil)

func (p *Program) order() order {
	return order{Name: p.Name, Executable: p.Executable, Arguments: p.Arguments, Limits: p.Limits, User: p.User}
}

// Start starts the program as a child of this process, which must call Become first in
// its main.
func (p *Program) Start() (Process, error) {
	e, err := newEnds()
	if err != nil {
		return nil, err
	}
	f, err := fork(p.order(), e.theirs, e.writes)
	if err != nil {
		e.close()
		return nil, err
	}
	e.handOver()
	f.conn, f.said = e.conn, listen(e.output, p.Log)
	return f, nil
}

// fork starts the intermediate program, which becomes the child.
func fork(o order, socket, output *os.File) (*forked, error) {
	o.Parent = os.Getpid()
	text, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	f := &forked{done: make(chan struct{}), said: &said{}}
	f.cmd = &exec.Cmd{Path: "/proc/self/exe", Args: []string{becomeName, base64.StdEncoding.EncodeToString(text)}, Env: environment(o.Name), Dir: "/",
		Stdout: output, Stderr: output, ExtraFiles: []*os.File{socket},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}}
	started := make(chan error)
	go f.live(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	return f, nil
}

// live starts the program and waits for its end, on one thread: the kernel sends the
// signal of the parent's death when the thread ends that forked.
func (f *forked) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := f.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	f.err = f.cmd.Wait()
	f.signal(syscall.SIGKILL) // what it has left behind
	close(f.done)
}

// Conn implements Process.
func (f *forked) Conn() net.Conn { return f.conn }

// signal signals the program and all that it has started.
func (f *forked) signal(s syscall.Signal) { _ = syscall.Kill(-f.cmd.Process.Pid, s) } // it may be gone

// End implements Process.
func (f *forked) End(grace time.Duration) {
	if f.conn != nil {
		f.conn.Close()
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	f.once.Do(func() {
		select {
		case <-f.done: // it went by itself
		default:
			f.signal(syscall.SIGTERM)
		}
	})
	select {
	case <-f.done:
	case <-timer.C:
		f.signal(syscall.SIGKILL)
		<-f.done
	}
	f.said.reading.Wait()
}

// Reason implements Process.
func (f *forked) Reason() string { return f.said.reason(f.how()) }

// how says how the process ended.
func (f *forked) how() string {
	if f.err != nil {
		return f.err.Error()
	}
	return "its process ended"
}

const (
	// maxLine is the longest line of a child that is logged as one; the rest follows as
	// the next.
	maxLine = 4 << 10
	// maxReason is how much of its last line is told with its end, in bytes.
	maxReason = 300
)

// said is what a program writes.
type said struct {
	log     *slog.Logger
	reading sync.WaitGroup

	mu   sync.Mutex
	last string
}

// listen logs what comes out of a program, until it is gone.
func listen(out io.ReadCloser, log *slog.Logger) *said {
	s := &said{log: log}
	s.reading.Add(1)
	go s.read(out)
	return s
}

// reason is how a program ended, with the last line that it wrote.
func (s *said) reason(how string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == "" {
		return how
	}
	return how + ": " + s.last[:min(len(s.last), maxReason)]
}

// read logs each line of out.
func (s *said) read(out io.ReadCloser) {
	defer s.reading.Done()
	defer out.Close()
	for r := bufio.NewReaderSize(out, maxLine); ; {
		b, err := r.ReadSlice('\n')
		if line := strings.TrimSpace(strings.ToValidUTF8(string(b), "�")); line != "" {
			level, line := levelOf(line)
			s.mu.Lock()
			s.last = line
			s.mu.Unlock()
			s.log.Log(context.Background(), level, line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// levelOf takes the priority off a line, as sd-daemon(3) has it.
func levelOf(line string) (slog.Level, string) {
	if len(line) < 3 || line[0] != '<' || line[2] != '>' || line[1] < '0' || line[1] > '7' {
		return slog.LevelInfo, line
	}
	levels := [...]slog.Level{slog.LevelError + 4, slog.LevelError + 4, slog.LevelError + 4, slog.LevelError, slog.LevelWarn, slog.LevelInfo + 2, slog.LevelInfo, slog.LevelDebug}
	return levels[line[1]-'0'], strings.TrimSpace(line[3:])
}
