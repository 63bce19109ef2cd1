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

// order is what the intermediate program, which is this one under another name, has to
// do before it becomes the child; see Become.
type order struct {
	Executable string
	Arguments  []string
	User       *User
	Limits     Limits
	Parent     int
}

// environment is all that a child finds in its environment.
func environment(name string) []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/", "RRTS_COMPONENT=" + name, fmt.Sprintf("RRTS_SOCKET=%d", socketFD)}
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

// Start starts the program as a child of this process, which must call Become first in
// its main.
func (p *Program) Start() (Process, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("child: socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "child"), os.NewFile(uintptr(fds[1]), "engine")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, fmt.Errorf("child: socketpair: %w", err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("child: %w", err)
	}
	text, err := json.Marshal(order{Executable: p.Executable, Arguments: p.Arguments, User: p.User, Limits: p.Limits, Parent: os.Getpid()})
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	f := &forked{conn: conn, said: &said{log: p.Log}, done: make(chan struct{})}
	f.cmd = &exec.Cmd{Path: "/proc/self/exe", Args: []string{becomeName, base64.StdEncoding.EncodeToString(text)}, Env: environment(p.Name), Dir: "/",
		Stdout: in, Stderr: in, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}}
	started := make(chan error)
	go f.live(started)
	err = <-started
	in.Close()
	if err != nil {
		conn.Close()
		out.Close()
		return nil, fmt.Errorf("child: %w", err)
	}
	f.said.reading.Add(1)
	go f.said.read(out)
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
	f.conn.Close()
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
func (f *forked) Reason() string {
	how := "its process ended"
	if f.err != nil {
		how = f.err.Error()
	}
	if last := f.said.lastLine(); last != "" {
		how += ": " + last
	}
	return how
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

func (s *said) lastLine() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[:min(len(s.last), maxReason)]
}

// levelOf takes the priority off a line, as sd-daemon(3) has it.
func levelOf(line string) (slog.Level, string) {
	if len(line) < 3 || line[0] != '<' || line[2] != '>' || line[1] < '0' || line[1] > '7' {
		return slog.LevelInfo, line
	}
	levels := [...]slog.Level{slog.LevelError + 4, slog.LevelError + 4, slog.LevelError + 4, slog.LevelError, slog.LevelWarn, slog.LevelInfo + 2, slog.LevelInfo, slog.LevelDebug}
	return levels[line[1]-'0'], strings.TrimSpace(line[3:])
}
