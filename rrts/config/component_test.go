package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// orders is a component as the example has it.
var orders = &Component{Name: "orders", Executable: "/usr/local/lib/orders/orders", User: UserDynamic, Role: ComponentNone,
	Calls: []string{"Txn.Submit"}, Services: []ComponentService{{Number: 1000, Client: []string{"Place", "Find"}, Operator: []string{"*"}}},
	Limits: ComponentLimits{Memory: 256 * mib, Files: 256, Processes: 64, Nice: 5, InFlight: 1024}}

// TestComponent: what is written is read again, and an empty file means what it says.
func TestComponent(t *testing.T) {
	full := *orders
	full.Arguments, full.SFUs, full.Role, full.Principal, full.User = []string{"--till", `a "b"`}, []string{"alpha"}, ComponentClient, 1001, "shop"
	for _, c := range []*Component{orders, &full} {
		got, err := ParseComponent("orders.toml", c.Marshal(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Error(diff)
		}
	}
	if !orders.RunsOn(&Member{Name: "alpha", Type: TypeAll}) || orders.RunsOn(&Member{Name: "w", Type: TypeWitness}) || full.RunsOn(&Member{Name: "bravo", Type: TypeAll}) {
		t.Error("it runs where it should not, or not where it should")
	}
}

// TestComponentFaults: every mistake is a line with its place and its cure.
func TestComponentFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                               `x.toml:1:1: key executable: missing; write executable = "/usr/local/lib/orders/orders"`,
		"executable = \"orders\"":        `key executable: is "orders"; write an absolute path`,
		good + "calls = [\"submit\"]":    `key calls: value 1 is "submit"; write a list of 1 to 64, each a method`,
		good + "role = \"client\"":       `key principal: missing, although role is "client"; write principal = NUMBER`,
		good + "principal = 7":           `key principal: is set, although role is "none"`,
		good + "[[service]]\nnumber = 7": `x.toml:3:1: key service[0].number: is 7, outside its bounds; write a number from 1000 to 65535`,
		good + "[[service]]\nnumber = 1000\n[[service]]\nnumber = 1000": `x.toml:5:1: key service[1].number: is 1000, as of another [[service]]; join the two`,
		good + "[limits]\nmemory = \"1MiB\"":                            `key limits.memory: is "1MiB", outside its bounds`,
		good + "exectable = 1":                                          `key exectable: unknown key`,
	} {
		if _, err := ParseComponent("x.toml", []byte(text), "orders"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for name, want := range map[string]string{"Orders!": "the file's name is", "gateway": "is that of a Component of RRTS"} {
		if _, err := ParseComponent("x.toml", []byte(good), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const good = "executable = \"/bin/true\"\n"

// TestComponentNames lists the files of a directory.
func TestComponentNames(t *testing.T) {
	dir := t.TempDir()
	if names, err := ComponentNames(dir); err != nil || names != nil {
		t.Errorf("%v, %v", names, err)
	}
	for _, name := range []string{"b", "a"} {
		file := ComponentFile(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(good), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := ComponentNames(dir); err != nil || strings.Join(names, " ") != "a b" {
		t.Errorf("%v, %v", names, err)
	}
	if c, err := LoadComponent(dir, "a"); err != nil || c.Name != "a" || c.Limits.Files != 256 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := LoadComponent(dir, "c"); err == nil || !strings.Contains(err.Error(), "file is missing") {
		t.Error(err)
	}
}
