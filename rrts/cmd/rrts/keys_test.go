package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// rotateAt runs `rrts keys rotate` at an SFU and returns what it prints.
func rotateAt(ctx context.Context, a *arena.Arena, i int, names ...string) (string, error) {
	var out bytes.Buffer
	c := &cli{dir: a.ConfigDir(i), json: true, out: &term.Out{Std: &out, Err: io.Discard, JSON: true}}
	err := c.rotateKeys(ctx, names)
	return out.String(), err
}

// ringOf opens the keys of an SFU that was stopped.
func ringOf(t *testing.T, a *arena.Arena, i int) *keyring.Ring {
	t.Helper()
	cfg, err := config.Load(a.ConfigDir(i), a.Name(i))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := cfg.Secrets("")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Load(vfs.Default, filepath.Join(a.StateDir(i), "node.keys"), secrets.Store[:])
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// sealedUnder counts the files of journal and state by the key that their headers name.
func sealedUnder(t *testing.T, a *arena.Arena, i int) map[uint32]int {
	t.Helper()
	counts := map[uint32]int{}
	header := func(b []byte, magic string) {
		if len(b) >= 16 && string(b[:8]) == magic {
			counts[binary.LittleEndian.Uint32(b[12:])]++
		}
	}
	err := filepath.WalkDir(a.StateDir(i), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".spare") {
			return err
		}
		b, err := os.ReadFile(path)
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".seg"):
			header(b, "rrtsjrnl")
			header(b[len(b)-4096:], "rrtsjrnl")
		case len(b) >= 8192:
			header(b, "rrtsseal")
			header(b[4096:], "rrtsseal")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// startTrickle is startLoad of one client that takes its time: the journal grows by some
// segments while keys change, whatever the disk is like.
func startTrickle(ctx context.Context, user *client.Client) *load {
	l := &load{}
	l.running.Go(func() {
		for ; !l.stop.Load(); time.Sleep(5 * time.Millisecond) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, err := user.Submit(ctx, pay(user, 1))
			cancel()
			l.worst, l.done = max(l.worst, time.Since(began)), l.done+1
			if err != nil {
				l.failed = append(l.failed, err)
			}
		}
	})
	return l
}

// TestKeysRotate changes the keys of all SFUs while clients pay: no request fails, and no
// file is left under an old key.
func TestKeysRotate(t *testing.T) {
	a := newArena(t, 3, func(c *arena.Config) { c.Settings.Txn.JournalSegment = 1 << 20 })
	ctx := run(t, a)
	user := newUser(ctx, t, a)
	l := startTrickle(ctx, user)
	time.Sleep(300 * time.Millisecond) // payments
	const rounds = 2
	for round := range rounds {
		out, err := rotateAt(ctx, a, round)
		if err != nil {
			t.Fatalf("%s%v", out, err)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 3 {
			t.Fatalf("printed %q", out)
		}
		for _, line := range lines {
			var o struct {
				SFU       string
				Key       uint32
				Destroyed []uint32
				Files     int
			}
			if err := json.Unmarshal([]byte(line), &o); err != nil || o.Key != uint32(round+2) || len(o.Destroyed) != 1 || o.Destroyed[0] != uint32(round+1) || o.Files == 0 {
				t.Errorf("round %d printed %s", round, line)
			}
		}
	}
	if out, err := rotateAt(ctx, a, 0, "zulu"); err == nil || !strings.Contains(err.Error(), "these do: alpha, bravo, carol") {
		t.Errorf("%s%v", out, err)
	}
	l.end(t)
	if err := caughtUp(ctx, a); err != nil {
		t.Fatal(err)
	}
	for i := range a.SFUs() {
		if err := a.Kill(i); err != nil {
			t.Fatal(err)
		}
		if ids := ringOf(t, a, i).IDs(); len(ids) != 1 || ids[0] != rounds+1 {
			t.Errorf("%s has the keys %v", a.Name(i), ids)
		}
		if under := sealedUnder(t, a, i); len(under) != 1 || under[rounds+1] < 6 {
			t.Errorf("%s has files under the keys %v", a.Name(i), under)
		}
	}
	for i := range a.SFUs() {
		if err := a.Start(i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := user.Submit(ctx, pay(user, 1)); err != nil {
		t.Error(err)
	}
	if err := caughtUp(ctx, a); err != nil {
		t.Error(err)
	}
}

// TestKeysRotateKilled kills an SFU at any moment of a change of its keys: it starts under
// those that it has then, and ends the change by itself.
func TestKeysRotateKilled(t *testing.T) {
	a := newArena(t, 3, func(c *arena.Config) { c.Settings.Txn.JournalSegment = 1 << 20 })
	ctx := run(t, a)
	user := newUser(ctx, t, a)
	l := startTrickle(ctx, user)
	rng := rand.New(rand.NewPCG(1, 2))
	const kills, victim, via = 5, 2, 0
	cut := 0
	for kill := range kills {
		op, err := a.Operator(ctx, via)
		if err != nil {
			t.Fatal(err)
		}
		replica := txnpb.ReplicaClient{Caller: op.To(a.Number(victim))}
		if _, err := replica.Keys(ctx, &txnpb.KeysRequest{Rotate: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(40 * time.Millisecond))))
		if err := a.Kill(victim); err != nil {
			t.Fatal(err)
		}
		if len(ringOf(t, a, victim).IDs()) > 1 {
			cut++
		}
		if err := a.StartLevel(ctx, victim); err != nil {
			t.Fatalf("kill %d: %v", kill, err)
		}
		for {
			st, err := replica.Keys(ctx, &txnpb.KeysRequest{})
			if err == nil && len(st.Older) == 0 {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("kill %d: the change of keys does not end: %v, %v", kill, st, err)
			case <-time.After(5 * time.Millisecond):
			}
		}
		op.Close()
	}
	l.end(t)
	if err := caughtUp(ctx, a); err != nil {
		t.Fatal(err)
	}
	if err := a.Kill(victim); err != nil {
		t.Fatal(err)
	}
	ring := ringOf(t, a, victim)
	current, _ := ring.Current()
	if under := sealedUnder(t, a, victim); len(ring.IDs()) != 1 || len(under) != 1 || under[current] == 0 {
		t.Errorf("%v, and files under the keys %v", ring, under)
	}
	t.Logf("%d of %d kills came before the old key was destroyed", cut, kills)
	if cut == 0 {
		t.Error("no kill came in the middle of a change of keys: the test tests nothing")
	}
}
