package child

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// An SFU without privileges cannot give a child a user of its own. It has the child run
// by another process, which systemd starts for each under a fresh dynamic user
// (rrts-component@.service), and to which it speaks on a socket:
//
//	SFU                                   Execute
//	 │── order, JSON and a newline ───────▶│ with two descriptors: the child's end of the
//	 │                                     │ socket pair, and where it writes
//	 │      … the child runs …             │
//	 │◀── how the process ended ───────────│ end of the stream
//	 │                                     │
//	 │── end of the stream ───────────────▶│ the child is ended: SIGTERM, SIGKILL
//
// So what the child says and writes goes to the SFU in either case.

// maxOrder bounds an order, in bytes: it goes in one message of the socket.
const maxOrder = 128 << 10

// errOrder is what every malformed order is.
var errOrder = errors.New("child: malformed order")

// commissioned is a program that another process runs.
type commissioned struct {
	conn    net.Conn
	control *net.UnixConn
	said    *said

	done chan struct{} // closed when it is gone
	once sync.Once
	how  string // it ended, when done is closed
}

var _ Process = (*commissioned)(nil)

// Commission has the program run by who listens on the Unix socket of that path.
func (p *Program) Commission(socket string) (Process, error) {
	text, err := json.Marshal(p.order())
	if err != nil || len(text) > maxOrder {
		return nil, fmt.Errorf("child: an order of %d bytes, at most %d: give fewer arguments: %w", len(text), maxOrder, err)
	}
	e, err := newEnds()
	if err != nil {
		return nil, err
	}
	control, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		e.close()
		return nil, fmt.Errorf("child: %w: start what runs components: systemctl start rrts-component.socket", err)
	}
	rights := unix.UnixRights(int(e.theirs.Fd()), int(e.writes.Fd()))
	text = append(text, '\n')
	n, _, err := control.WriteMsgUnix(text, rights, nil)
	if err == nil && n < len(text) {
		_, err = control.Write(text[n:])
	}
	if err != nil {
		control.Close()
		e.close()
		return nil, fmt.Errorf("child: %s: %w", socket, err)
	}
	e.handOver()
	c := &commissioned{conn: e.conn, control: control, said: listen(e.output, p.Log), done: make(chan struct{})}
	go c.wait()
	return c, nil
}

// wait waits until the program is gone.
func (c *commissioned) wait() {
	text, err := io.ReadAll(io.LimitReader(c.control, maxReason))
	c.how = strings.TrimSpace(strings.ToValidUTF8(string(text), "?"))
	if c.how == "" {
		c.how = "what ran its process is gone"
		if err != nil {
			c.how += ": " + err.Error()
		}
	}
	close(c.done)
}

// Conn implements Process.
func (c *commissioned) Conn() net.Conn { return c.conn }

// End implements Process.
func (c *commissioned) End(grace time.Duration) {
	c.conn.Close()
	c.once.Do(func() { c.control.CloseWrite() })
	// The other process kills it after its own grace; it may be stopped itself.
	timer := time.NewTimer(2 * grace)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		c.control.SetReadDeadline(time.Now())
		<-c.done
	}
	c.control.Close()
	c.said.reading.Wait()
}

// Reason implements Process.
func (c *commissioned) Reason() string { return c.said.reason(c.how) }

// Execute runs the one program that is ordered on control, and returns when it is gone.
// The process must have called Become.
func Execute(control *net.UnixConn) error {
	defer control.Close()
	o, files, err := readOrder(control)
	for _, f := range files {
		defer f.Close()
	}
	if err != nil {
		return err
	}
	o.User = nil // whoever orders has the user of this process, and no other
	f, err := fork(*o, files[0], files[1])
	if err != nil {
		fmt.Fprintln(control, err)
		return err
	}
	for _, f := range files { // the child's alone, so that its end is seen
		f.Close()
	}
	go func() {
		io.Copy(io.Discard, control) // until the SFU has enough of it, or is gone
		f.End(stopGrace)
	}()
	<-f.done
	_, err = fmt.Fprintln(control, f.how())
	return err
}

// readOrder takes the order and its two descriptors.
func readOrder(control *net.UnixConn) (*order, []*os.File, error) {
	control.SetReadDeadline(time.Now().Add(DefaultStartWithin))
	defer control.SetReadDeadline(time.Time{})
	var text []byte
	var files []*os.File
	buf, oob := make([]byte, maxOrder+1), make([]byte, unix.CmsgSpace(2*4))
	for !bytes.HasSuffix(text, []byte("\n")) {
		n, m, _, _, err := control.ReadMsgUnix(buf, oob)
		if err != nil {
			return nil, files, fmt.Errorf("%w: %w", errOrder, err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:m])
		if err != nil {
			return nil, files, fmt.Errorf("%w: %w", errOrder, err)
		}
		for i := range messages {
			fds, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				return nil, files, fmt.Errorf("%w: %w", errOrder, err)
			}
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "ordered"))
			}
		}
		if text = append(text, buf[:n]...); n == 0 || len(text) > maxOrder {
			return nil, files, fmt.Errorf("%w: %d bytes, and no end", errOrder, len(text))
		}
	}
	o := new(order)
	if err := json.Unmarshal(text, o); err != nil {
		return nil, files, fmt.Errorf("%w: %w", errOrder, err)
	}
	if len(files) != 2 {
		return nil, files, fmt.Errorf("%w: %d descriptors, need 2", errOrder, len(files))
	}
	return o, files, nil
}
