package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/require"
)

// clientKit writes the arena's client-kit.toml.
func clientKit(t *testing.T, a *arena.Arena) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "client-kit.toml")
	if err := os.WriteFile(path, a.Kit().Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newPython makes a command of packaging/examples/python.
func newPython(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	require.Tool(t, "python3", "python3")
	cmd := exec.CommandContext(ctx, "python3", append([]string{"-B"}, args...)...)
	cmd.Dir = "../../../packaging/examples/python"
	return cmd
}

// TestPythonClient: a client that was written from the protocol's page pays while its
// gateways are killed and stopped, packed and plain; nothing is lost and nothing is twice.
func TestPythonClient(t *testing.T) {
	a := newArena(t, 3, nil)
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	kit := clientKit(t, a)
	const count = 300
	for _, way := range [][]string{nil, {"--plain"}} {
		args := append([]string{"pay.py", kit, "arena-login-1", "1", "2", "300"}, way...)
		cmd := newPython(ctx, t, args...)
		cmd.Env = append(os.Environ(), "RRTS_PASSWORD=arena-password-1")
		var out bytes.Buffer
		cmd.Stdout = &out
		progress, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bytes.Buffer{}
		for lines, n := bufio.NewScanner(progress), 0; lines.Scan(); n++ {
			said.WriteString(lines.Text() + "\n")
			if way != nil || n > 2 { // in the middle of the first one each SFU goes once
				continue
			}
			end := a.Kill
			if n == 2 {
				end = a.Stop
			}
			if err := end(n); err != nil {
				t.Error(err)
			}
			if err := a.StartLevel(ctx, n); err != nil {
				t.Error(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s%s", err, out.String(), said.String())
		}
		var got struct {
			Paid, Payments, Events, Gateways int
			PublicName                       string `json:"public_name"`
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Paid != count || got.Payments != count || got.Events != count || got.PublicName != "client 1" {
			t.Errorf("%v: %s", err, out.String())
		}
		if way == nil && got.Gateways < 2 {
			t.Error("its gateway was never lost: the test does not test")
		}
	}
	accounts, err := c.LookupAccounts(ctx, u128.From64(1))
	if err != nil || accounts[0].DebitsPosted != u128.From64(2*count) {
		t.Errorf("%v, %v: want %d paid", accounts, err, 2*count)
	}
}

// TestPythonRefusals: what is wrong is said so, at once.
func TestPythonRefusals(t *testing.T) {
	a := newArena(t, 1, nil)
	ctx, cancel := context.WithTimeout(run(t, a), 60*time.Second)
	defer cancel()
	newUser(ctx, t, a)
	kit := clientKit(t, a)
	cmd := newPython(ctx, t, "-c", `
import rrts, sys
def refused(code, f):
    try:
        f()
    except rrts.Refused as r:
        if r.code != code: sys.exit(f"{r}: want code {code}")
        return
    sys.exit(f"it was not refused: want code {code}")
kit = sys.argv[1]
refused(7, lambda: rrts.connect(kit, "arena-login-1", "not this one"))
c = rrts.connect(kit, "arena-login-1", "arena-password-1")
refused(7, lambda: list(c.statement(99)))
refused(6, lambda: c.call(2, 99))
refused(8, lambda: list(c.events((0, 77, 5, 1))))
o = c.submit(c.transfer(99, 2, 1, ledger=1, code=1))
if o["state"] != 9 or "account 99" not in o["reason"]: sys.exit(f"{o}")
o = c.submit(c.transaction(accounts=[{"id": 500 + i, "ledger": 1, "code": 1, "flags": 2} for i in range(300)]))
if o["state"] != 1: sys.exit(f"{o}")
if len(c.accounts(*range(1, 1000))) != 302: sys.exit("accounts are missing")
`, kit)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestExamples runs a shop's checkout and a wallet as their users would.
func TestExamples(t *testing.T) {
	a := newArena(t, 1, nil)
	ctx := run(t, a)
	kit := clientKit(t, a)
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	users, err := arena.Register(ctx, op, 2) // the customer and the shop
	if err != nil {
		t.Fatal(err)
	}
	numbers := make([]uint64, len(users))
	for i, u := range users {
		c, err := a.Login(ctx, u)
		if err != nil {
			t.Fatal(err)
		}
		numbers[i] = c.Session().User
		c.Close()
	}
	tx := op.Transaction()
	for _, id := range []uint64{9, 1001, 2001} {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(id), Ledger: 978, Code: 1})
	}
	tx.Access = []txnpb.AccessChange{
		client.Grant(u128.From64(1001), numbers[0], txnpb.AccessRightsOwner),
		client.Grant(u128.From64(1001), numbers[1], txnpb.AccessRightsDebit),
		client.Grant(u128.From64(2001), numbers[1], txnpb.AccessRightsOwner),
	}
	tx.Transfers = op.Transfer(u128.From64(9), u128.From64(1001), u128.From64(5000), 978, 1).Transfers
	if _, err := op.Submit(ctx, tx); err != nil {
		t.Fatal(err)
	}

	bin := t.TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "../../../packaging/examples/checkout", "../../../packaging/examples/wallet")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	say := func(want string, user int, program string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(ctx, filepath.Join(bin, program), append([]string{"--kit", kit, "--login", users[user].LoginName}, args...)...)
		cmd.Env = append(os.Environ(), "RRTS_PASSWORD="+users[user].Password)
		out, err := cmd.CombinedOutput()
		text := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d `).ReplaceAllString(string(out), "")
		text = strings.TrimSuffix(text, "\n")
		if err != nil {
			text = "failed: " + text
		}
		if text != want {
			t.Errorf("%s %v:\n%s\nwant\n%s", program, args, text, want)
		}
	}
	wallet := []string{"--account", "1001", "--position", filepath.Join(bin, "position")}
	till := []string{"--customer", "1001", "--shop", "2001"}
	say("balance 5000, held 0", 0, "wallet", append(wallet, "balance")...)
	say("single_phase +5000 with 9, balance 5000, held 0: ", 0, "wallet", append(wallet, "watch", "1")...)
	say("held 1999\npaid 1999", 1, "checkout", append(till, "--price", "1999")...)
	say("held 500\ngave 500 back", 1, "checkout", append(till, "--price", "500", "--out-of-stock")...)
	say("two_phase_pending -1999 with 2001, balance 5000, held 1999: held for an order\n"+
		"two_phase_posted -1999 with 2001, balance 3001, held 0: paid on shipping", 0, "wallet", append(wallet, "watch", "2")...)
	say("sent 1 to 2001", 0, "wallet", append(wallet, "send", "2001", "1", "for the tickets")...)
	say("two_phase_pending -500 with 2001, balance 3001, held 500: held for an order\n"+
		"two_phase_voided -500 with 2001, balance 3001, held 0: out of stock\n"+
		"single_phase -1 with 2001, balance 3000, held 0: for the tickets", 0, "wallet", append(wallet, "watch", "3")...)
	say("failed: wallet: not sent: precondition 0: account 1001: credit_available is 3000, it must be at_least 3001", 0, "wallet", append(wallet, "send", "2001", "3001", "too much")...)
	say("failed: checkout: not paid: transfer 0: the user may not move money from account 9: its owner or an operator can grant it", 1, "checkout", "--customer", "9", "--shop", "2001", "--price", "1")
	say(`single_phase +5000 with 9, balance 5000, held 0: 
two_phase_pending -1999 with 2001, balance 5000, held 1999: held for an order
two_phase_posted -1999 with 2001, balance 3001, held 0: paid on shipping
two_phase_pending -500 with 2001, balance 3001, held 500: held for an order
two_phase_voided -500 with 2001, balance 3001, held 0: out of stock
single_phase -1 with 2001, balance 3000, held 0: for the tickets
balance 3000`, 0, "wallet", append(wallet, "statement")...)
	say("failed: wallet: denied: machine: denied: the user may not see account 1001: its owner or an operator can grant it", 1, "wallet", append(wallet, "statement")...)
}

// TestPythonSeals: what the Python client seals is opened by Go's HPKE, and it takes a login
// schema that is signed by the right key alone.
func TestPythonSeals(t *testing.T) {
	kem, err := hpke.NewKEM(0x0020)
	if err != nil {
		t.Fatal(err)
	}
	private, err := kem.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	// A suite that Python does not know, and then the one that it does.
	cluster := bytes.Repeat([]byte{7}, 16)
	schema := binary.BigEndian.AppendUint64(append(append([]byte{1}, cluster...), 0, 5), 1_800_000_000_000)
	schema = append(schema, 2, 0x64, 0x7a, 0, 1, 0, 3, 0, 2, 0xff, 0xff, 0, 0x20, 0, 1, 0, 2, 0, 32)
	schema = append(schema, private.PublicKey().Bytes()...)
	schema = append(schema, ed25519.Sign(signer, append([]byte("rrts login schema 1\x00"), schema...))...)
	out, err := newPython(t.Context(), t, "-c", `
import rrts, sys
schema, cluster, signer, info, aad, plain = (bytes.fromhex(a) for a in sys.argv[1:])
sfu, epoch, place, public = rrts.read_schema(schema, cluster, signer)
assert (sfu, epoch, place) == (5, 1_800_000_000_000, 1)
for bad in (lambda: rrts.read_schema(schema[:-1] + bytes([schema[-1] ^ 1]), cluster, signer),
            lambda: rrts.read_schema(schema, cluster, bytes(32)), lambda: rrts.read_schema(schema, bytes(16), signer)):
    try:
        bad()
    except Exception:
        continue
    sys.exit("a bad schema was taken")
enc, box = rrts.hpke_seal(public, info, aad, plain)
print(enc.hex() + box.hex())
`, hex.EncodeToString(schema), hex.EncodeToString(cluster), hex.EncodeToString(public), hex.EncodeToString([]byte("some info")), hex.EncodeToString([]byte("bound to")),
		hex.EncodeToString([]byte("correct horse"))).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sealed, err := hex.DecodeString(strings.TrimSpace(string(out)))
	if err != nil || len(sealed) < 32 {
		t.Fatalf("%v: %s", err, out)
	}
	kdf, _ := hpke.NewKDF(0x0001)
	aead, _ := hpke.NewAEAD(0x0002)
	recipient, err := hpke.NewRecipient(sealed[:32], private, kdf, aead, []byte("some info"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := recipient.Open([]byte("bound to"), sealed[32:]); err != nil || string(text) != "correct horse" {
		t.Errorf("%q, %v", text, err)
	}
}
