package smtptest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/freeport"
	"virtualservicesinc.com/rrts/sim/require"
)

// Postfix is a real Postfix in a directory of its own, which delivers all mail to
// home.example into one mailbox. It demands TLS and a password.
type Postfix struct {
	Address        string
	CAs            *x509.CertPool
	CA             []byte // the same, PEM
	User, Password string

	t      testing.TB
	dir    string
	config string
	box    string
	cmd    *exec.Cmd
	exited chan struct{}
}

// NewPostfix starts one; it ends with the test. It needs root, and the packages postfix,
// sasl2-bin and libsasl2-modules.
func NewPostfix(t testing.TB) *Postfix {
	t.Helper()
	if os.Getuid() != 0 {
		require.Skip(t, "needs root: Postfix changes to users of its own")
	}
	const program = "/usr/lib/postfix/sbin/master"
	if _, err := os.Stat(program); err != nil {
		require.Skip(t, "needs Postfix: run `apt install postfix`")
	}
	require.Tool(t, "saslpasswd2", "sasl2-bin")
	dir, err := os.MkdirTemp("", "rrts-postfix") // its users must get there
	if err != nil {
		t.Fatal(err)
	}
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	p := &Postfix{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))), User: "shop", Password: "pass word", t: t, dir: dir, config: filepath.Join(dir, "etc"), box: filepath.Join(dir, "box")}
	t.Cleanup(func() {
		p.Kill()
		os.RemoveAll(dir)
	})
	p.configure()
	p.Start()
	return p
}

func (p *Postfix) configure() {
	p.t.Helper()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(p.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			p.t.Fatal(err)
		}
		return path
	}
	cert, ca, err := Certificate(net.IPv4(127, 0, 0, 1))
	if err != nil {
		p.t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		p.t.Fatal(err)
	}
	p.CA, p.CAs = ca, x509.NewCertPool()
	p.CAs.AppendCertsFromPEM(ca)
	owner, err := user.Lookup("nobody")
	if err != nil {
		p.t.Fatal(err)
	}
	postfix, err := user.Lookup("postfix")
	if err != nil {
		p.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	puid, _ := strconv.Atoi(postfix.Uid)
	for _, d := range []struct {
		path     string
		uid, gid int
	}{{p.dir, 0, 0}, {p.box, uid, gid}, {filepath.Join(p.dir, "queue"), 0, 0}, {filepath.Join(p.dir, "data"), puid, 0}} {
		if err := os.MkdirAll(d.path, 0o755); err != nil {
			p.t.Fatal(err)
		}
		os.Chmod(d.path, 0o755)
		if err := os.Chown(d.path, d.uid, d.gid); err != nil {
			p.t.Fatal(err)
		}
	}
	secrets := filepath.Join(p.dir, "sasldb2")
	write("etc/sasl/smtpd.conf", "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: "+secrets+"\n", 0o644)
	cmd := exec.Command("saslpasswd2", "-p", "-c", "-f", secrets, "-u", "shop.example", p.User)
	cmd.Stdin = strings.NewReader(p.Password)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
	if err := os.Chown(secrets, puid, 0); err != nil {
		p.t.Fatal(err)
	}
	both := write("tls.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))+string(ca), 0o600)
	write("etc/main.cf", strings.Join([]string{
		"compatibility_level = 3.6",
		"queue_directory = " + p.dir + "/queue", "data_directory = " + p.dir + "/data", "maillog_file = " + p.dir + "/log", "maillog_file_prefixes = " + p.dir,
		"inet_interfaces = 127.0.0.1", "inet_protocols = ipv4", "myhostname = shop.example", "mydestination =", "mynetworks =", "alias_maps =", "alias_database =",
		"virtual_mailbox_domains = home.example", "virtual_mailbox_base = " + p.box, "virtual_mailbox_maps = static:all/",
		"virtual_uid_maps = static:" + owner.Uid, "virtual_gid_maps = static:" + owner.Gid,
		"smtpd_tls_chain_files = " + both, "smtpd_tls_security_level = encrypt", "smtpd_tls_auth_only = yes",
		"smtpd_sasl_auth_enable = yes", "smtpd_sasl_local_domain = shop.example",
		"smtpd_relay_restrictions = permit_sasl_authenticated, reject", "smtpd_recipient_restrictions = permit_sasl_authenticated, reject",
		"",
	}, "\n"), 0o644)
	_, port, _ := net.SplitHostPort(p.Address)
	services := "127.0.0.1:" + port + " inet n - n - - smtpd\n"
	for _, s := range []string{"pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr", "tlsmgr unix - - n 1000? 1 tlsmgr",
		"rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce", "verify unix - - n - 1 verify",
		"flush unix n - n 1000? 0 flush", "proxymap unix - - n - - proxymap", "error unix - - n - - error", "retry unix - - n - - error", "discard unix - - n - - discard",
		"virtual unix - n n - - virtual", "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache", "postlog unix-dgram n - n - 1 postlogd"} {
		services += s + "\n"
	}
	write("etc/master.cf", services, 0o644)
	if out, err := exec.Command("postfix", "-c", p.config, "check").CombinedOutput(); err != nil {
		p.t.Fatalf("postfix check: %v\n%s", err, out)
	}
}

// Start starts it and returns when it greets.
func (p *Postfix) Start() {
	p.t.Helper()
	cmd := exec.Command("/usr/lib/postfix/sbin/master", "-c", p.config, "-d")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	p.cmd, p.exited = cmd, exited
	for deadline := time.Now().Add(30 * time.Second); ; {
		if c, err := net.Dial("tcp", p.Address); err == nil {
			c.SetDeadline(time.Now().Add(10 * time.Second))
			greeting := make([]byte, 3)
			n, _ := c.Read(greeting)
			c.Close()
			if string(greeting[:n]) == "220" {
				return
			}
		}
		select {
		case <-exited:
			p.t.Fatalf("postfix ended: %s\n%s", said.String(), p.Log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("postfix does not greet: %s", p.Log())
		}
	}
}

// Kill ends it with all its processes, as a crash would.
func (p *Postfix) Kill() {
	if p.cmd == nil {
		return
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
	p.cmd = nil
}

// Log is what it has logged.
func (p *Postfix) Log() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(text)
}

// Mails are the messages in the mailbox.
func (p *Postfix) Mails() (all []*mail.Message) {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.box, "all", "new", "*"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			p.t.Fatal(err)
		}
		m, err := mail.ReadMessage(bytes.NewReader(text))
		if err != nil {
			p.t.Fatal(fmt.Errorf("%s: %w", f, err))
		}
		all = append(all, m)
	}
	return all
}
