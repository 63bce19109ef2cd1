package link_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtualservicesinc.com/net/link"
)

func TestUnixStaleSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "7.sock")
	first, err := link.OpenUnix(link.UnixConfig{Dir: dir, SFU: 7})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := link.OpenUnix(link.UnixConfig{Dir: dir, SFU: 7}); err == nil || !strings.Contains(err.Error(), "sfu 7 is already running") {
		t.Fatalf("same number twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("the socket is still there after Close: %v", err)
	}
	// What a killed process leaves behind: a socket that nobody has open.
	stale, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	stale.Close()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no stale socket to test with: %v", err)
	}
	second, err := link.OpenUnix(link.UnixConfig{Dir: dir, SFU: 7})
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	second.Close()
}

func TestUnixMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0, 0o600, 0o660} {
		dir := t.TempDir()
		l, err := link.OpenUnix(link.UnixConfig{Dir: dir, SFU: 1, Mode: mode})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		info, err := os.Stat(filepath.Join(dir, "1.sock"))
		if err != nil {
			t.Fatal(err)
		}
		want := mode
		if want == 0 {
			want = 0o600
		}
		if info.Mode().Perm() != want {
			t.Errorf("mode %v gives %v", mode, info.Mode())
		}
	}
}

func TestUnixConfig(t *testing.T) {
	for _, test := range []struct {
		cfg  link.UnixConfig
		want string
	}{
		{link.UnixConfig{SFU: 1}, `Dir ""`},
		{link.UnixConfig{Dir: "/" + strings.Repeat("d", 96), SFU: 1}, "not 1 to 96 bytes"},
		{link.UnixConfig{Dir: "/tmp\x00", SFU: 1}, "Dir"},
		{link.UnixConfig{Dir: "/tmp"}, "SFU is 0"},
		{link.UnixConfig{Dir: "/tmp", SFU: 1, Mode: fs.ModeDir | 0o600}, "permission bits"},
		{link.UnixConfig{Dir: "/tmp", SFU: 1, MTU: link.MaxFrame + 1}, "MTU 9217"},
	} {
		_, err := link.OpenUnix(test.cfg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.cfg, err, test.want)
		}
	}
}

// The longest directory still leaves room for the highest number.
func TestUnixLongestPath(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "rrts")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dir += "/" + strings.Repeat("d", 96-1-len(dir))
	links := make([]link.Link, 2)
	for i := range links {
		l, err := link.OpenUnix(link.UnixConfig{Dir: dir, SFU: uint16(65534 + i)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		links[i] = l
	}
	pass(t, links[0], links[1])
	pass(t, links[1], links[0])
}
