package sysd

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

// TestJournal runs a process whose stderr and journal socket are ours, and reads
// what arrives in journald's own protocol.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "journal")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	program := filepath.Join(dir, "logger")
	build := exec.Command("go", "build", "-o", program, "-ldflags", "-X github.com/coreos/go-systemd/v22/journal.journalSocket="+socket, "./testdata/logger")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	info, err := stderr.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	cmd := exec.Command(program)
	cmd.Stderr = stderr
	cmd.Env = []string{fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino)}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"MESSAGE=network is down sfu=alpha alarm=network-down@3 link.network=A link.loss=0.5",
		"MESSAGE_ID=" + MessageID("network-down"),
		"PRIORITY=4",
		"RRTS_ALARM=network-down@3",
		"RRTS_LINK_LOSS=0.5",
		"RRTS_LINK_NETWORK=A",
		"RRTS_SFU=alpha",
	}
	if diff := cmp.Diff(want, receive(t, conn)); diff != "" {
		t.Errorf("alarm (-want +got):\n%s", diff)
	}
	want = []string{
		"MESSAGE=cannot\nwrite sfu=alpha txn.error=\"no space left\\non device\"",
		"PRIORITY=3",
		"RRTS_SFU=alpha",
		"RRTS_TXN_ERROR=no space left\non device",
	}
	if diff := cmp.Diff(want, receive(t, conn)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	want = []string{
		"MESSAGE=armed sfu=alpha event=watchdog-armed",
		"MESSAGE_ID=" + MessageID("watchdog-armed"),
		"PRIORITY=6",
		"RRTS_EVENT=watchdog-armed",
		"RRTS_SFU=alpha",
	}
	if diff := cmp.Diff(want, receive(t, conn)); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if left, err := os.ReadFile(stderr.Name()); len(left) > 0 || err != nil {
		t.Errorf("stderr has %q, %v", left, err)
	}
}

// receive reads one entry, sorted: NAME=value lines, or NAME, a length and bytes.
func receive(t *testing.T, conn *net.UnixConn) []string {
	t.Helper()
	b := make([]byte, 65536)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for b = b[:n]; len(b) > 0; {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			t.Fatalf("no newline at the end of %q", b)
		}
		if bytes.ContainsRune(line, '=') {
			fields, b = append(fields, string(line)), rest
			continue
		}
		size := int(rest[0]) | int(rest[1])<<8
		fields, b = append(fields, string(line)+"="+string(rest[8:8+size])), rest[8+size+1:]
	}
	slices.Sort(fields)
	return fields
}

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newHandler(slog.LevelInfo, nil, &out))
	log.Debug("not shown")
	log.Info("up")
	log.With("peer", "bravo").WithGroup("g").Warn("slow\nline", "ms", 12, "why", "disk full")
	var got []string
	for line := range strings.Lines(out.String()) {
		stamp, rest, _ := strings.Cut(line, " ")
		if _, err := time.Parse("15:04:05.000", stamp); err != nil {
			t.Error(err)
		}
		got = append(got, rest)
	}
	if diff := cmp.Diff([]string{"INFO  up\n", "WARN  slow line peer=bravo g.ms=12 g.why=\"disk full\"\n"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestJournalAway falls back to stderr: a record is never lost in silence.
func TestJournalAway(t *testing.T) {
	var out bytes.Buffer
	away := func(string, journal.Priority, map[string]string) error { return errors.New("gone") }
	slog.New(newHandler(slog.LevelInfo, away, &out)).Error("disk full")
	if !strings.HasSuffix(out.String(), " ERROR disk full\n") {
		t.Errorf("stderr has %q", out.String())
	}
}

func TestFields(t *testing.T) {
	for _, tc := range []struct{ key, want string }{
		{"peer", "RRTS_PEER"},
		{"_pid", "RRTS__PID"},
		{"größe-ms", "RRTS_GR____E_MS"},
		{strings.Repeat("x", 100), "RRTS_" + strings.Repeat("X", 59)},
	} {
		if got := fieldName(tc.key); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.key, got, tc.want)
		}
	}
	for level, want := range map[slog.Level]journal.Priority{
		slog.LevelDebug: journal.PriDebug, slog.LevelInfo: journal.PriInfo, slog.LevelInfo + 2: journal.PriNotice,
		slog.LevelWarn: journal.PriWarning, slog.LevelError: journal.PriErr, slog.LevelError + 4: journal.PriCrit,
	} {
		if got := priority(level); got != want {
			t.Errorf("%s: priority %d, want %d", level, got, want)
		}
	}
}

// TestMessageIDIsForEver: operators filter by these numbers.
func TestMessageIDIsForEver(t *testing.T) {
	if got := MessageID("network-down"); got != "d975611fde9f47fa9dade39fe12097bf" {
		t.Errorf("MessageID(network-down) = %s", got)
	}
}
