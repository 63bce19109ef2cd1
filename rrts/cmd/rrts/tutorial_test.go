package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/sim/require"
)

// commands are the blocks of a page that its reader types.
var commands = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// prelude makes a shell of this machine that of a machine of the arena: programs,
// directories, and systemctl, whose restarts the test does.
const prelude = `
set -eu
rrts() { "$PROGRAMS/rrts" --config "$CONFIG" "$@"; }
rrtsgen() {
  case "$*" in
  *--python*) "$PROGRAMS/rrtsgen" "$@" ;;
  new*) "$PROGRAMS/rrtsgen" "$@" --rrts "$TREE" ;;
  *) "$PROGRAMS/rrtsgen" "$@" ;;
  esac
}
make() {
  for f in *.toml; do sed -i "s|\"/usr/local|\"$DIR/usr/local|" "$f"; done
  [ -z "$SELF" ] || for f in *.toml; do grep -q '^user' "$f" || sed -i 's|^executable|user = "self"\n&|' "$f"; done
  PATH="$PROGRAMS:$PATH" command make DESTDIR="$DIR" "$@"
}
go() {
  case "$1" in
  run) command go "$@" --kit "$CONFIG/client-kit.toml" ;;
  *) command go "$@" ;;
  esac
}
systemctl() {
  echo "$*" >"$DIR/order"
  while [ -e "$DIR/order" ]; do sleep 0.02; done
}
`

// TestTutorial does what packaging/doc/components.md says, on a cluster of three SFUs:
// site-alarm and component-failed are not raised, and orders are paid.
func TestTutorial(t *testing.T) {
	require.Tool(t, "python3", "python3")
	require.Tool(t, "make", "make")
	page, err := os.ReadFile("../../../packaging/doc/components.md")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rrts-tutorial-") // where a component's user may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	programs := arenatest.Programs(t)
	if out, err := exec.Command("go", "build", "-o", programs+"/", "virtualservicesinc.com/rrts/cmd/rrtsgen").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a := newArena(t, 3, nil)
	for _, err := range []error{os.Chmod(dir, 0o755), os.MkdirAll(filepath.Join(dir, "etc"), 0o755), os.Symlink(a.ConfigDir(0), filepath.Join(dir, "etc/rrts"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := run(t, a)
	self := ""
	if os.Getuid() != 0 {
		self = "yes" // who is not root runs it under the same user
	}
	script := prelude
	for _, m := range commands.FindAllStringSubmatch(string(page), -1) {
		script += m[1]
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PROGRAMS="+programs, "CONFIG="+a.ConfigDir(0), "TREE="+tree, "DIR="+dir, "SELF="+self, "GOFLAGS=", "GOPROXY=off")
	obey, stop := context.WithCancel(ctx)
	defer stop()
	go obeyOrders(obey, t, a, filepath.Join(dir, "order"))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"paid 750 as transaction ", "paid 250 as transaction ", "orders runs anew on alpha"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in what the commands print", want)
		}
	}
	c := openShop(ctx, t, a)
	defer c.Close()
	tryPython(ctx, t, c)
	view, err := exec.Command(filepath.Join(programs, "rrts"), "--config", a.ConfigDir(0), "status").CombinedOutput()
	for _, want := range []string{"orders     alpha", "stock      alpha"} {
		if !strings.Contains(string(view), want) {
			t.Errorf("%v: %q is not in the status:\n%s", err, want, view)
		}
	}
	tryQuarantine(ctx, t, a, c, filepath.Join(dir, "usr/local/lib/stock/stock.py"))
}

// obeyOrders does what the file that appears orders: "restart rrts@alpha".
func obeyOrders(ctx context.Context, t *testing.T, a *arena.Arena, order string) {
	for ctx.Err() == nil {
		if _, err := os.Stat(order); err == nil {
			if err := a.Stop(0); err != nil {
				t.Error(err)
			}
			if err := a.Start(0); err != nil {
				t.Error(err)
			}
			if err := a.WaitControl(ctx, 0); err != nil {
				t.Error(err)
			}
			// What the operator sees next: the programs of the site run.
			waitFor(t, ctx, func() error { return siteReady(ctx, a) })
			if err := os.Remove(order); err != nil {
				t.Error(err)
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// siteReady reports which program of the site is not ready on the first SFU.
func siteReady(ctx context.Context, a *arena.Arena) error {
	out, err := exec.CommandContext(ctx, filepath.Join(filepath.Dir(a.Rrtsd()), "rrts"), "--config", a.ConfigDir(0), "component", "list").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n")[1:] {
		if !strings.Contains(line, " ready ") {
			return fmt.Errorf("not ready: %s", line)
		}
	}
	return nil
}

// openShop is the shop's session, through the gateway of an SFU that does not run its
// components.
func openShop(ctx context.Context, t *testing.T, a *arena.Arena) *client.Client {
	t.Helper()
	kit, err := client.ReadKit(filepath.Join(a.ConfigDir(1), "client-kit.toml"))
	if err != nil {
		t.Fatal(err)
	}
	config := kit.Config()
	config.Gateways = config.Gateways[1:]
	config.LoginName, config.Password = "anna@shop", "correct horse battery"
	c, err := client.Open(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// placeOrder places an order of stock: what that is stands in its .proto file.
func placeOrder(ctx context.Context, c *client.Client, id u128.Int, customer, shop, pieces uint64) (csn, amount uint64, err error) {
	place := &message.MethodDescriptor{Number: 1, Name: "Place", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 4096}
	body := message.AppendU128([]byte{1<<3 | 2}, id)
	body = message.AppendU128(append(body, 2<<3|2), u128.From64(customer))
	body = message.AppendU128(append(body, 3<<3|2), u128.From64(shop))
	body = message.AppendVarint(append(body, 4<<3), pieces)
	reply, err := c.Call(ctx, place, 1001, body)
	for i := 0; err == nil && i < len(reply); {
		var tag, v uint64
		if tag, i = message.Varint(reply, i); tag>>3 > 2 {
			break
		}
		v, i = message.Varint(reply, i)
		if tag>>3 == 1 {
			csn = v
		} else {
			amount = v
		}
	}
	return csn, amount, err
}

// tryPython places orders with the component in Python.
func tryPython(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	id := c.NewID()
	first, amount, err := placeOrder(ctx, c, id, 1001, 2001, 2)
	if err != nil || first == 0 || amount != 500 {
		t.Errorf("an order in Python: %d, %d, %v", first, amount, err)
	}
	if again, _, err := placeOrder(ctx, c, id, 1001, 2001, 2); err != nil || again != first {
		t.Errorf("the same order again is transaction %d, %v, not %d", again, err, first)
	}
	if csn, _, err := placeOrder(ctx, c, c.NewID(), 2001, 1001, 2); err != nil || csn != 0 {
		t.Errorf("an order at the cost of somebody else: %d, %v", csn, err)
	}
	if _, _, err := placeOrder(ctx, c, c.NewID(), 1001, 2001, 0); err == nil || !strings.Contains(err.Error(), "invalid: pieces must be 1 to 1000") {
		t.Errorf("no pieces: %v", err)
	}
}
