package sysd

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
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
	s, err := InheritSockets()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	listeners, err := s.Listen("gateway", []string{"127.0.0.1:1"}, "gateway.listen") // never used: the name is inherited
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("gateway", len(listeners), "unused", s.Close(), "environment", os.Getenv("LISTEN_FDS"))
	for _, l := range listeners {
		c, err := l.Accept()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Fprintln(c, "served")
		c.Close()
	}
}

// TestSocketActivation passes real sockets to a real process, as systemd does.
func TestSocketActivation(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	var addresses []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		l.Close() // the file is a socket of its own
		addresses = append(addresses, l.Addr().String())
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Env = append(os.Environ(), "SYSD_TEST_SERVICE=1", "LISTEN_FDS=3", "LISTEN_FDNAMES=gateway:gateway:other")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses[:2] { // accepted by the kernel even before the service runs
		c, err := net.Dial("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); string(got) != "served\n" || err != nil {
			t.Errorf("%s: %q, %v", a, got, err)
		}
		c.Close()
	}
	said, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("service: %v", err)
	}
	if got, want := string(said), "gateway 2 unused [other] environment \n"; got != want {
		t.Errorf("service said %q, want %q", got, want)
	}
}

func TestListenFaults(t *testing.T) {
	s := &Sockets{}
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
	if os.Getuid() != 0 {
		_, err := s.Listen("gateway", []string{"127.0.0.1:1"}, "gateway.listen")
		if err == nil || !strings.HasSuffix(err.Error(), "permission denied; ports below 1024 are for root: set another port in gateway.listen") {
			t.Errorf("privileged port: %v", err)
		}
	}
}
