package sysd

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain plays the service that systemd started when the environment says so.
func TestMain(m *testing.M) {
	if os.Getenv("SYSD_TEST_SERVICE") != "" {
		service()
		return
	}
	os.Exit(m.Run())
}

// service accepts one connection on each socket that it asked for.
func service() {
	os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid())) // systemd sets it between fork and exec
	s := InheritSockets()
	var listeners []net.Listener
	for range 2 { // the second time as a Component does that is started again
		for _, l := range listeners {
			l.Close()
		}
		var err error
		if listeners, err = s.Listen("gateway", strings.Fields(os.Getenv("SYSD_TEST_SERVICE")), "gateway.listen"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println("gateway", len(listeners), "environment", os.Getenv("LISTEN_FDS"))
	for _, l := range listeners {
		c, err := l.Accept()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Fprintln(c, "served")
		c.Close()
	}
	s.Close()
}

// store plays systemd's part: it takes the next file that the service stores.
func (m *manager) store() (string, *os.File) {
	m.t.Helper()
	text, rights := make([]byte, 4096), make([]byte, 64)
	m.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, rn, _, _, err := m.conn.ReadMsgUnix(text, rights)
	if err != nil {
		m.t.Fatal(err)
	}
	control, err := syscall.ParseSocketControlMessage(rights[:rn])
	if err != nil || len(control) != 1 {
		m.t.Fatalf("%q came with %d control messages, %v", text[:n], len(control), err)
	}
	fds, err := syscall.ParseUnixRights(&control[0])
	if err != nil || len(fds) != 1 {
		m.t.Fatalf("%q came with %d files, %v", text[:n], len(fds), err)
	}
	return string(text[:n]), os.NewFile(uintptr(fds[0]), "stored")
}

// TestSocketsSurvive runs the lives of a real process, with this test as systemd:
// who connects between two of them is served by the second.
func TestSocketsSurvive(t *testing.T) {
	m := newManager(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return c
	}
	served := func(c net.Conn) {
		if got, err := io.ReadAll(c); string(got) != "served\n" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		c.Close()
	}

	first := exec.Command(os.Args[0])
	first.Env = append(os.Environ(), "SYSD_TEST_SERVICE="+address)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	said, socket := m.store()
	defer socket.Close()
	name := "gateway@" + strings.ReplaceAll(address, ":", "_")
	if want := "FDSTORE=1\nFDNAME=" + name; said != want {
		t.Errorf("stored as %q, want %q", said, want)
	}
	served(dial())
	if err := first.Wait(); err != nil {
		t.Fatal(err)
	}

	waiting := dial() // nobody runs
	second := exec.Command(os.Args[0])
	second.Env = append(os.Environ(), "SYSD_TEST_SERVICE="+address, "LISTEN_FDS=1", "LISTEN_FDNAMES="+name)
	second.ExtraFiles = []*os.File{socket}
	out, err := second.Output()
	if want := "gateway 1 environment \n"; err != nil || string(out) != want {
		t.Errorf("the second life said %q, %v, want %q", out, err, want)
	}
	served(waiting)
	if said := m.next(); said != "" {
		t.Errorf("the second life said to systemd: %q", said)
	}

	// A third one listens elsewhere: what was kept is given up.
	third := exec.Command(os.Args[0])
	third.Env = append(os.Environ(), "SYSD_TEST_SERVICE=192.0.2.1:1", "LISTEN_FDS=1", "LISTEN_FDNAMES="+name)
	third.ExtraFiles = []*os.File{socket}
	if out, err := third.Output(); err == nil || !strings.Contains(string(out), "192.0.2.1") {
		t.Errorf("the third life said %q, %v", out, err)
	}
	if said, want := m.next(), "FDSTOREREMOVE=1\nFDNAME="+name; said != want {
		t.Errorf("the third life said to systemd %q, want %q", said, want)
	}
}

func TestListenFaults(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "") // whoever runs the tests may be a service
	s := InheritSockets()
	held, err := s.Listen("gateway", []string{"127.0.0.1:0"}, "gateway.listen")
	if err != nil {
		t.Fatal(err)
	}
	defer held[0].Close()
	address := held[0].Addr().String()
	_, port, _ := net.SplitHostPort(address)
	for _, tc := range []struct{ name, address, want string }{
		{"in use", address, "sysd: gateway cannot listen on ADDRESS: address already in use; see who holds it with: ss -ltnp 'sport = :PORT', stop that or set another port in gateway.listen"},
		{"not ours", "192.0.2.1:7400", "sysd: gateway cannot listen on 192.0.2.1:7400: cannot assign requested address; this machine does not have the address: correct gateway.listen"},
		{"no such port", "127.0.0.1:99999", "sysd: gateway cannot listen on 127.0.0.1:99999: address 99999: invalid port; correct gateway.listen"},
	} {
		_, err := s.Listen("gateway", []string{"127.0.0.1:0", tc.address}, "gateway.listen")
		want := strings.NewReplacer("ADDRESS", address, "PORT", port).Replace(tc.want)
		if err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", tc.name, err, want)
		}
	}
	if free, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); os.Getuid() != 0 && strings.TrimSpace(string(free)) != "0" {
		_, err := s.Listen("gateway", []string{"127.0.0.1:1"}, "gateway.listen")
		if err == nil || !strings.HasSuffix(err.Error(), "permission denied; low ports are for root (sysctl net.ipv4.ip_unprivileged_port_start says which): set another port in gateway.listen") {
			t.Errorf("privileged port: %v", err)
		}
	}
}
