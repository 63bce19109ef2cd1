package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/message/u128"
)

// outcome is what comes of a file in which a bit has flipped.
type outcome string

const (
	// rotMended: the SFU takes part again, by itself.
	rotMended outcome = "mended"
	// rotRefused: it ends at once, and says why in one line.
	rotRefused outcome = "refused"
	// rotEither: most bits of such a file are a comment, a number that may be another one,
	// or padding.
	rotEither outcome = "either"
)

// rotKind is a kind of file of an SFU.
type rotKind struct {
	name string
	glob string // %S is the state directory, %C that of the configuration, %N the name
	want outcome
	says string // in the line with which it refuses
	many bool   // left to `make test-rot`
}

var rotKinds = []rotKind{
	{name: "journal segment", glob: "%S/journal/*.seg", want: rotMended},
	{name: "state, rows", glob: "%S/store/rows-*/*.sst", want: rotMended},
	{name: "state, manifest", glob: "%S/store/rows-*/MANIFEST-*", want: rotMended},
	{name: "state, options", glob: "%S/store/rows-*/OPTIONS-*", want: rotMended, many: true},
	{name: "state, manifest's marker", glob: "%S/store/rows-*/marker.manifest.*", want: rotMended, many: true},
	{name: "state, format's marker", glob: "%S/store/rows-*/marker.format-version.*", want: rotMended, many: true},
	{name: "state, marker", glob: "%S/store/marker.rows*", want: rotMended, many: true},
	{name: "keys of journal and state", glob: "%S/node.keys", want: rotMended},
	{name: "their copy", glob: "%S/node.keys.copy", want: rotMended, many: true},
	{name: "incarnation", glob: "%S/incarnation", want: rotMended},
	{name: "its copy", glob: "%S/incarnation.copy", want: rotMended, many: true},
	{name: "list of SFUs", glob: "%S/roster.toml", want: rotMended, many: true},
	{name: "key of the interconnect", glob: "%C/keys/%N/interconnect.key", want: rotRefused, says: "restore"},
	{name: "key of the cluster", glob: "%C/keys/%N/psk.key", want: rotRefused, says: "restore it", many: true},
	{name: "key of the keys", glob: "%C/keys/%N/store.key", want: rotRefused, says: "restore it", many: true},
	{name: "key of the sessions", glob: "%C/keys/%N/token.key", want: rotRefused, says: "restore it", many: true},
	{name: "pepper", glob: "%C/keys/%N/pepper.key", want: rotRefused, says: "restore it", many: true},
	{name: "gateway's key", glob: "%C/keys/%N/gateway.key", want: rotRefused, says: "restore certificate and key together", many: true},
	{name: "gateway's certificate", glob: "%C/sfu/%N.crt", want: rotRefused, says: "restore certificate and key together", many: true},
	{name: "cluster.toml", glob: "%C/cluster.toml", want: rotEither, says: ".toml:", many: true},
	{name: "machine.toml", glob: "%C/machine.toml", want: rotEither, says: ".toml:", many: true},
}

// rotLab is a cluster whose files rot.
type rotLab struct {
	t      *testing.T
	ctx    context.Context
	arena  *arena.Arena
	client *client.Client
	paid   uint64
	table  []string
}

// newRotLab starts three SFUs, lets a client pay, and sees that each has state on its disk.
func newRotLab(t *testing.T) *rotLab {
	l := &rotLab{t: t, arena: newArena(t, 3, func(c *arena.Config) { c.Settings.Txn.JournalSegment = 1 << 20 })}
	l.ctx = run(t, l.arena)
	l.client = newUser(l.ctx, t, l.arena)
	l.pay(30)
	for i := range l.arena.SFUs() { // a planned stop flushes the state
		if err := l.arena.Stop(i); err != nil {
			t.Fatal(err)
		}
		if err := l.arena.StartLevel(l.ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	l.pay(30)
	l.agree()
	time.Sleep(500 * time.Millisecond) // well after the journals are marked
	return l
}

func (l *rotLab) pay(n int) {
	l.t.Helper()
	for range n {
		if _, err := l.client.Submit(l.ctx, pay(l.client, 1)); err != nil {
			l.t.Fatal(err)
		}
		l.paid++
	}
}

// agree waits until all SFUs have the same state, and holds the balances against what
// was paid.
func (l *rotLab) agree() {
	l.t.Helper()
	for {
		equal, detail, err := l.arena.Agree(l.ctx)
		if err == nil && equal {
			break
		}
		select {
		case <-l.ctx.Done():
			l.t.Fatalf("%s: %v", detail, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	accounts, err := l.client.LookupAccounts(l.ctx, u128.From64(1), u128.From64(2))
	if err != nil || len(accounts) != 2 || accounts[0].DebitsPosted != u128.From64(l.paid) || accounts[1].CreditsPosted != u128.From64(l.paid) {
		l.t.Fatalf("%+v, %v: %d was paid", accounts, err, l.paid)
	}
}

// paths are the files of a kind, the newest one last.
func (l *rotLab) paths(k *rotKind, sfu int) []string {
	l.t.Helper()
	glob := strings.NewReplacer("%S", l.arena.StateDir(sfu), "%C", l.arena.ConfigDir(sfu), "%N", l.arena.Name(sfu)).Replace(k.glob)
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		l.t.Fatalf("%s has no %s: %v", l.arena.Name(sfu), k.name, err)
	}
	slices.Sort(files)
	return files
}

// flip changes a bit of a file, in the middle of what it holds or at its end, and returns
// what takes that back.
func (l *rotLab) flip(path string, tail bool) (undo func()) {
	l.t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		l.t.Fatal(err)
	}
	last := len(whole) - 2 // a newline behind it, if there is one, means nothing
	at := last / 2
	if strings.HasSuffix(path, ".seg") {
		const frames, marks = 12288, 12288 // before and behind the frames of a segment
		for last = len(whole) - marks - 1; whole[last] == 0; last-- {
		}
		at = (frames+last)/2&^4095 + 50 // in the first frame of what one write carried
	}
	if tail {
		at = last
	}
	rotten := slices.Clone(whole)
	rotten[at] ^= 1
	l.write(path, rotten)
	return func() { l.write(path, whole) }
}

func (l *rotLab) write(path string, data []byte) {
	l.t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// log is what an SFU has said from a place on.
func (l *rotLab) log(sfu, from int) string {
	b, err := os.ReadFile(l.arena.LogFile(sfu))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b[from:])
}

// hurt lets a bit of one SFU's file flip while the SFU is down, and sees what comes of it.
func (l *rotLab) hurt(k *rotKind, sfu int, tail bool) {
	place := map[bool]string{false: "middle", true: "tail"}[tail]
	files := l.paths(k, sfu)
	path := files[len(files)-1]
	from := len(l.log(sfu, 0))
	if err := l.arena.Kill(sfu); err != nil {
		l.t.Fatal(err)
	}
	undo := l.flip(path, tail)
	if err := l.arena.Start(sfu); err != nil {
		l.t.Fatal(err)
	}
	l.pay(1) // the others go on
	got := l.back(sfu)
	if k.want != rotEither && got != k.want || got == "" {
		l.t.Errorf("%s of %s, %s: %q, want %s:\n%s", k.name, l.arena.Name(sfu), place, got, k.want, l.log(sfu, from))
	}
	why := ""
	if got == rotRefused {
		for line := range strings.Lines(l.log(sfu, from)) {
			if strings.Contains(line, k.says) {
				why = strings.TrimSpace(line)
			}
		}
		if why == "" {
			l.t.Errorf("%s of %s, %s: no line says %q:\n%s", k.name, l.arena.Name(sfu), place, k.says, l.log(sfu, from))
		}
		why = strings.ReplaceAll(why, filepath.Dir(l.arena.StateDir(sfu)), "…")
	}
	l.table = append(l.table, fmt.Sprintf("%-26s %-7s %-6s %-8s %s", k.name, place, l.arena.Name(sfu), got, why))
	if got != rotMended {
		if err := l.arena.Kill(sfu); err != nil {
			l.t.Fatal(err)
		}
		undo()
		if err := l.arena.Start(sfu); err != nil {
			l.t.Fatal(err)
		}
		if l.back(sfu) != rotMended {
			l.t.Fatalf("with its file whole again:\n%s", l.log(sfu, from))
		}
	}
	l.agree()
}

// back waits until an SFU has ended, or takes part and has what was paid.
func (l *rotLab) back(sfu int) outcome {
	ctx, cancel := context.WithTimeout(l.ctx, 20*time.Second)
	defer cancel()
	for {
		select {
		case <-l.arena.Exited(sfu):
			return rotRefused
		case <-ctx.Done():
			return ""
		case <-time.After(10 * time.Millisecond):
		}
		if equal, _, err := l.arena.Agree(ctx); err == nil && equal {
			return rotMended
		}
	}
}

// TestRot flips a bit in the files of an SFU, kind by kind, in the middle and at the
// tail: it mends them or refuses to start, in one line that names the cure, and nothing that
// was paid is lost or wrong anywhere. RRTS_ROT=all takes every kind of file, and
// every SFU in turn.
func TestRot(t *testing.T) {
	all := os.Getenv("RRTS_ROT") == "all"
	for sfu := range 3 {
		t.Run(fmt.Sprint("SFU ", sfu+1), func(t *testing.T) {
			l := newRotLab(t)
			for i := range rotKinds {
				if k := &rotKinds[i]; !t.Failed() && (all || !k.many && sfu == i/2%3) {
					l.hurt(k, sfu, false)
					l.hurt(k, sfu, true)
				}
			}
			t.Logf("%d flipped bits:\n%s", len(l.table), strings.Join(l.table, "\n"))
		})
	}
}

// spoil flips a bit in every block of every file of a kind, and returns what takes that back.
func (l *rotLab) spoil(k *rotKind, sfu int) (undo func()) {
	l.t.Helper()
	const blockBytes = 4096
	var whole [][]byte
	files := l.paths(k, sfu)
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			l.t.Fatal(err)
		}
		whole = append(whole, slices.Clone(b))
		for at := 50; at < len(b); at += blockBytes {
			b[at] ^= 1
		}
		l.write(path, b)
	}
	return func() {
		for i, path := range files {
			l.write(path, whole[i])
		}
	}
}

// TestRotEverywhere spoils the same files of all SFUs at once, so that nobody has a copy
// of what is lost: they refuse, in clear words, and nobody is told a balance; with the
// files whole again everything is there.
func TestRotEverywhere(t *testing.T) {
	for _, test := range []struct {
		kind rotKind
		says string
	}{
		{rotKinds[0], "cannot be repaired from the other members"},
		{rotKinds[1], "what is damaged waits for the other members"},
		{rotKinds[2], "what is damaged waits for the other members"},
	} {
		t.Run(test.kind.name, func(t *testing.T) {
			l := newRotLab(t)
			killAll(t, l.arena)
			var undo []func()
			for i := range l.arena.SFUs() {
				undo = append(undo, l.spoil(&test.kind, i))
			}
			var from []int
			for i := range l.arena.SFUs() {
				from = append(from, len(l.log(i, 0)))
				if err := l.arena.Start(i); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(l.ctx, 4*time.Second)
			defer cancel()
			if _, err := l.client.Submit(ctx, pay(l.client, 1)); err == nil {
				t.Error("a payment is committed")
			}
			if accounts, err := l.client.LookupAccounts(ctx, u128.From64(1)); err == nil {
				t.Errorf("a balance is told: %+v", accounts)
			}
			for i := range l.arena.SFUs() {
				if said := l.log(i, from[i]); !strings.Contains(said, test.says) {
					t.Errorf("%s does not say %q:\n%s", l.arena.Name(i), test.says, said)
				}
			}
			killAll(t, l.arena)
			for i := range l.arena.SFUs() {
				undo[i]()
				if err := l.arena.Start(i); err != nil {
					t.Fatal(err)
				}
			}
			l.pay(1)
			l.agree()
		})
	}
}
