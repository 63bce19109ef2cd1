package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sys/unix"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/require"
)

// TestLoginNameIsNowhere plants a login name and passwords in a cluster of real
// processes and searches for them: in every frame on the loopback interface, where
// clients, SFUs and a mail server speak, in every file that the SFUs have, their logs at
// their most talkative and a backup included, and in what operators, an auditor of the
// events and every command are told, as tables and as JSON.
func TestLoginNameIsNowhere(t *testing.T) {
	require.Root(t)
	dir := t.TempDir()
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := smtp.NewServer(&post{rng: mathrand.New(mathrand.NewPCG(1, 1)), taken: map[string]int{}})
	srv.Domain = "post.test"
	go srv.Serve(relay)
	defer srv.Close()
	templates := t.TempDir()
	for _, name := range []string{"receipt.subject", "receipt.txt"} {
		if err := os.WriteFile(filepath.Join(templates, name), []byte("For {{.to}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := newArena(t, 3, func(c *arena.Config) {
		c.Dir, c.Settings.LogLevel = dir, slog.LevelDebug
		c.Settings.Mail.Relay, c.Settings.Mail.Security, c.Settings.Mail.From = relay.Addr().String(), "none", "Shop <shop@shop.example>"
		c.Settings.Mail.Templates = templates
	})
	var random [8]byte
	rand.Read(random[:])
	planted := hex.EncodeToString(random[:])
	name, first, second, third := "Name-"+planted+"@Shop", "first-"+planted, "second-"+planted, "third-"+planted
	wire := sniff(t)
	ctx := run(t, a)
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	r, err := op.Register(ctx, &loginpb.RegisterRequest{LoginName: name, Password: first, PublicName: "Anna", Role: uint32(message.RoleClient), TransactionId: op.NewID()})
	if err != nil || r.Refused != "" {
		t.Fatal(r, err)
	}
	var told strings.Builder
	for _, u := range []arena.User{{LoginName: name, Password: second}, {LoginName: name + "x", Password: first}, {LoginName: planted, Password: planted}} {
		_, err := a.Login(ctx, u)
		if !errors.Is(err, &message.Error{Code: message.Denied}) {
			t.Fatal(err)
		}
		fmt.Fprintln(&told, err)
	}
	c, err := a.Login(ctx, arena.User{LoginName: name, Password: first})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ChangePassword(ctx, second); err != nil {
		t.Fatal(err)
	}
	if r, err := op.ChangeUser(ctx, &loginpb.ChangeUserRequest{User: r.User, Password: third, TransactionId: op.NewID()}); err != nil || r.Refused != "" {
		t.Fatal(r, err)
	}
	last, err := a.Login(ctx, arena.User{LoginName: name, Password: third})
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	fmt.Fprintf(&told, "%+v\n", last.Session())
	list, err := op.Query(ctx, &txnpb.Query{ListTransactions: &txnpb.TransactionsFilter{Limit: 100}})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&told, "%+v %x\n", list, message.Marshal(list))
	for _, row := range list.Transactions {
		told.Write(message.Marshal(&row))
	}
	for e, err := range op.Events(txnpb.Position{}, nil).Past(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&told, "%+v %x\n", e, message.Marshal(&e.Event))
	}
	etc := a.ConfigDir(1)
	address := exec.Command(filepath.Join(arenatest.Programs(t), "rrts"), "--config", etc, "user", "address", "Anna")
	address.Stdin = strings.NewReader("anna@home.example\n")
	if out, err := address.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, words := range []string{"mail test Anna", "alarms test", "alarms", "alarms history", "status", "user list", "user rights 1", "tx list", "effects list",
		"events --past --after start", "component list", "backup --to " + dir} {
		for _, form := range []string{"--json=true", "--json=false"} {
			if strings.HasPrefix(words, "backup") && form == "--json=false" {
				continue // one is enough
			}
			out, err := exec.CommandContext(ctx, filepath.Join(arenatest.Programs(t), "rrts"), append(strings.Fields(words), form, "--config", etc)...).CombinedOutput()
			if err != nil {
				t.Fatalf("rrts %s: %v\n%s", words, err, out)
			}
			told.Write(out)
		}
	}
	for i := range a.SFUs() {
		if err := a.Stop(i); err != nil {
			t.Fatal(err)
		}
	}
	frames, seen := wire()
	if !bytes.Contains(frames, []byte("MAIL FROM:<shop@shop.example>")) || !strings.Contains(told.String(), "Anna") {
		t.Error("no mail was seen, or nothing was told of the user: the search says nothing")
	}
	if seen < 100 {
		t.Fatalf("%d frames were seen: the search says nothing", seen)
	}
	search := func(where string, data []byte) {
		if bytes.Contains(bytes.ToLower(data), []byte(planted)) {
			t.Errorf("what was planted is in %s", where)
		}
	}
	search("frames on the loopback interface", frames)
	search("what was told", []byte(told.String()))
	files := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		files++
		search(path, data)
		return err
	})
	if err != nil || files < 20 {
		t.Fatalf("%d files searched: %v", files, err)
	}
	log, err := os.ReadFile(a.LogFile(0))
	if err != nil || !bytes.Contains(log, []byte("level=DEBUG")) && !bytes.Contains(log, []byte("DEBUG")) {
		t.Errorf("the logs are not talkative: %v", err)
	}
	t.Logf("%d frames of %d bytes, %d files", seen, len(frames), files)
}

// sniff keeps what passes on the loopback interface until the returned function is
// called.
func sniff(t *testing.T) (stop func() (frames []byte, seen int)) {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	err = errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: lo.Index}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var kept bytes.Buffer
	seen := 0
	var running sync.WaitGroup
	running.Go(func() {
		b := make([]byte, 1<<17)
		for {
			n, _, err := unix.Recvfrom(fd, b, 0)
			switch {
			case err == nil && kept.Len() < maxSniffed:
				kept.Write(b[:n])
				kept.WriteByte(0)
				seen++
			case err != nil && ctx.Err() != nil:
				return // what was on its way has been taken
			}
		}
	})
	return func() ([]byte, int) {
		cancel()
		running.Wait()
		return kept.Bytes(), seen
	}
}

// maxSniffed bounds what is kept of a busy machine's loopback interface.
const maxSniffed = 512 << 20

// TestRevocationEverywhere: a session that an operator ends is over within a second at
// the gateway of every SFU, and its token begins no other one; also after the leader was
// killed.
func TestRevocationEverywhere(t *testing.T) {
	a := newArena(t, 3, nil)
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	bring := func(token []byte, sfus ...int) []*client.Client {
		var all []*client.Client
		for _, i := range sfus {
			kit := a.Kit()
			one, err := client.Open(ctx, client.Config{Gateways: kit.Gateways[i : i+1], RootCAs: kit.Pool(), ClusterID: [16]byte(kit.ID), Token: token, SingleConnection: true})
			if err != nil {
				t.Fatalf("%s: %v", a.Name(i), err)
			}
			t.Cleanup(func() { one.Close() })
			if _, err := one.Query(ctx, &txnpb.Query{Stale: true, LookupAccounts: &ledgerpb.Lookup{Ids: []u128.Int{u128.From64(1)}}}); err != nil {
				t.Fatalf("%s: %v", a.Name(i), err)
			}
			all = append(all, one)
		}
		return all
	}
	revoke := func(op *client.Client, token []byte, clients []*client.Client, sfus ...int) {
		t.Helper()
		r, err := op.ChangeUser(ctx, &loginpb.ChangeUserRequest{User: c.Session().User, TransactionId: op.NewID()})
		if err != nil || r.Refused != "" {
			t.Fatal(r, err)
		}
		at := time.Now()
		if _, err := clients[0].Submit(ctx, pay(clients[0], 1)); !errors.Is(err, client.ErrSession) {
			t.Errorf("a payment in a session that is over: %v", err)
		}
		for i, one := range clients {
			for {
				_, err := one.Query(ctx, &txnpb.Query{Stale: true, LookupAccounts: &ledgerpb.Lookup{Ids: []u128.Int{u128.From64(1)}}})
				if errors.Is(err, client.ErrSession) {
					break
				}
				if time.Since(at) > time.Second {
					t.Fatalf("%s serves a session that is over: %v", a.Name(sfus[i]), err)
				}
			}
		}
		t.Logf("over at %d gateways after %v", len(clients), time.Since(at))
		for _, i := range sfus {
			kit := a.Kit()
			for {
				one, err := client.Open(ctx, client.Config{Gateways: kit.Gateways[i : i+1], RootCAs: kit.Pool(), ClusterID: [16]byte(kit.ID), Token: token})
				if errors.Is(err, client.ErrSession) {
					break
				}
				if err == nil {
					one.Close()
				}
				// It may have asked who still has a session just before.
				if time.Since(at) > time.Second {
					t.Fatalf("%s takes the token of a session that is over: %v", a.Name(i), err)
				}
			}
		}
	}
	token := c.Token()
	revoke(op, token, bring(token, 0, 1, 2), 0, 1, 2)
	if _, err := c.Submit(ctx, pay(c, 1)); err != nil {
		t.Fatalf("who has the password notices: %v", err)
	}
	// The same with another leader.
	lead, err := a.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var left []int
	for i := range a.SFUs() {
		if i != lead {
			left = append(left, i)
		}
	}
	token = c.Token()
	clients := bring(token, left...)
	if err := a.Kill(lead); err != nil {
		t.Fatal(err)
	}
	other, err := a.Operator(ctx, left[0])
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	revoke(other, token, clients, left...)
}
