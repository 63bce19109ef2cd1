package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/freeport"
)

func TestBringUp(t *testing.T) { scripts(t, "testdata/bringup") }

// site is machines that an operator brings up by typing commands; they are
// directories of this one and reach each other over UDP.
type site struct {
	t        *testing.T
	ctx      context.Context
	programs string
	dir      string
}

func newSite(t *testing.T) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	s := &site{t: t, ctx: ctx, programs: arenatest.Programs(t), dir: t.TempDir()}
	return s
}

// freeAddress is an address of the loopback that nobody uses.
func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// address is an address that nobody uses.
func (s *site) address() string {
	return freeAddress(s.t)
}

func (s *site) etc(machine string) string { return filepath.Join(s.dir, machine, "etc") }

// place is what every command is told that makes an SFU on a machine of the site.
func (s *site) place(machine, sfu string) []string {
	return []string{"--nic-a", "none", "--state-dir", filepath.Join(s.dir, machine, sfu), "--run-dir", filepath.Join(s.dir, machine, "run")}
}

func (s *site) command(machine string, args ...string) *exec.Cmd {
	return exec.CommandContext(s.ctx, filepath.Join(s.programs, "rrts"), append([]string{"--config", s.etc(machine)}, args...)...)
}

// rrts runs a command and returns what it printed.
func (s *site) rrts(machine string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := s.command(machine, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	s.t.Logf("%s# rrts %s\n%s%s", machine, strings.Join(args, " "), out, stderr.Bytes())
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return string(out), err
}

func (s *site) must(machine string, args ...string) string {
	s.t.Helper()
	out, err := s.rrts(machine, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// start starts an SFU, which is killed with the test.
func (s *site) start(machine, sfu string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.programs, "rrtsd"), "--config", s.etc(machine), sfu)
	log, err := os.Create(filepath.Join(s.dir, sfu+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
		if s.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			s.t.Logf("%s says:\n%s", sfu, text)
		}
	})
	return cmd
}

// lines decodes the objects that a command prints, as it prints them.
func lines(r io.Reader) func() (map[string]any, error) {
	d := json.NewDecoder(r)
	return func() (map[string]any, error) {
		var m map[string]any
		err := d.Decode(&m)
		return m, err
	}
}

// TestGrow brings a cluster up as an operator does: one machine, then a second one
// by the line that the first prints, an SFU replaced, and one removed.
func TestGrow(t *testing.T) {
	s := newSite(t)
	gateway := s.address()
	s.must("pc1", append([]string{"init", "--name", "shop", "--machine", "pc1", "--carrier", "udp",
		"--sfu", "alpha,gateway=" + gateway + ",udp_a=" + s.address()}, s.place("pc1", "alpha")...)...)
	alpha := s.start("pc1", "alpha")
	waitFor(t, s.ctx, func() error { _, err := s.command("pc1", "status").Output(); return err })

	grow := func(machine, sfu string, args ...string) {
		t.Helper()
		add := s.command("pc1", append(args, "--at", s.address(), "--json")...)
		var remarks bytes.Buffer
		add.Stderr = &remarks
		out, err := add.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := add.Start(); err != nil {
			t.Fatal(err)
		}
		next := lines(out)
		offered, err := next()
		if err != nil {
			add.Wait()
			t.Fatalf("%v: %s", err, remarks.Bytes())
		}
		line := strings.Fields(offered["line"].(string))
		if offered["sfu"] != sfu || len(line) != 5 {
			t.Fatalf("offered: %v", offered)
		}
		join := append(append(line[1:], "--machine", machine), s.place(machine, sfu)...)
		s.must(machine, join...)
		if _, err := s.rrts(machine, join...); err == nil || !strings.Contains(err.Error(), "a cluster is there already") && !strings.Contains(err.Error(), "is rrts node add still waiting there") {
			t.Errorf("the line works twice: %v", err)
		}
		s.start(machine, sfu)
		seated, err := next()
		if err != nil || seated["seat"] != "votes" {
			t.Errorf("%s: %v, %v", sfu, seated, err)
		}
		if err := add.Wait(); err != nil {
			t.Error(err)
		}
	}
	gatewayB, udpB := s.address(), s.address()
	grow("pc2", "bravo", "node", "add", "pc2", "--gateway", gatewayB, "--udp-a", udpB)
	cluster, err := config.LoadCluster(s.etc("pc1"))
	if err != nil {
		t.Fatal(err)
	}
	if m := cluster.Member("bravo"); m == nil || m.Number != 2 || !m.Voter {
		t.Errorf("pc1 takes bravo for %+v", m)
	}

	// A renewed certificate is served after a reload, without a restart.
	before := serial(t, s, gateway)
	s.must("pc1", "node", "renew", "alpha")
	if err := alpha.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s.ctx, func() error {
		if serial(t, s, gateway) == before {
			return fmt.Errorf("the old certificate is served")
		}
		return nil
	})

	// Another machine's is renewed by its file, and only if it is what it says.
	theirs := filepath.Join(s.etc("pc2"), config.GatewayCert("bravo"))
	s.must("pc1", "node", "renew", "bravo", "--old", theirs, "--new", filepath.Join(s.dir, "bravo.crt"))
	if _, err := s.rrts("pc1", "node", "renew", "alpha", "--old", theirs, "--new", filepath.Join(s.dir, "alpha.crt")); err == nil || !strings.Contains(err.Error(), `is the certificate of "bravo", not of the gateway of alpha`) {
		t.Errorf("another's certificate: %v", err)
	}

	// One that the other cannot do without is not removed by mistake.
	if _, err := s.rrts("pc1", "sfu", "remove", "carol"); err == nil || !strings.Contains(err.Error(), `no SFU "carol"; it has ["alpha" "bravo"]`) {
		t.Errorf("removing nobody: %v", err)
	}
	s.must("pc1", "sfu", "remove", "bravo")
	if cluster, err = config.LoadCluster(s.etc("pc1")); err != nil || cluster.Member("bravo") != nil {
		t.Errorf("bravo is still there: %v", err)
	}
	if _, err := s.rrts("pc1", "sfu", "remove", "alpha"); err == nil || !strings.Contains(err.Error(), "the only SFU that orders transactions") {
		t.Errorf("removing the last one: %v", err)
	}
}

func waitFor(t *testing.T, ctx context.Context, try func() error) {
	t.Helper()
	for err := try(); err != nil; err = try() {
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// serial is the serial number of the certificate that a gateway shows to a client.
func serial(t *testing.T, s *site, gateway string) string {
	t.Helper()
	kit, err := config.LoadClientKit(filepath.Join(s.etc("pc1"), "client-kit.toml"))
	if err != nil {
		t.Fatal(err)
	}
	d := tls.Dialer{Config: &tls.Config{RootCAs: kit.Pool(), MinVersion: tls.VersionTLS13}}
	c, err := d.DialContext(s.ctx, "tcp", gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}
