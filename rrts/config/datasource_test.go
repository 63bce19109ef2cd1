package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shop is a data source as the example has it.
var shop = &DataSource{
	Name: "shop", Connection: "Driver=PostgreSQL Unicode;Servername=db.example;Database=shop;Protocol=7.4-1;UseDeclareFetch=1", User: "rrts",
	Startup: []string{"SET TIME ZONE 'UTC'"}, Connections: 8, ConnectTimeout: 10 * time.Second, Timeout: 10 * time.Second, Idle: time.Minute,
	Check: "SELECT 1", NonTransactional: TablesTransactional, FailOn: []string{"22", "23"}, Keep: 30 * 24 * time.Hour,
	Statements: []DataStatement{
		{Name: "add-order", SQL: "INSERT INTO orders (id, amount, note) VALUES (?, ?, ?)", Rows: 1, Roles: []DataRole{DataOperator, DataAuditor},
			Parameters: []DataField{{Name: "id", Type: "integer", Digits: -1}, {Name: "amount", Type: "decimal", Size: 18, Scale: 2, Digits: -1}, {Name: "note", Type: "text", Size: 200, Digits: -1, Nullable: true}}},
		{Name: "orders", SQL: "SELECT id, placed FROM orders WHERE id >= ? ORDER BY id", Rows: -1, Roles: []DataRole{DataClient},
			Parameters: []DataField{{Name: "id", Type: "integer", Digits: -1}},
			Columns:    []DataField{{Name: "id", Type: "integer", Digits: -1}, {Name: "placed", Type: "timestamp", Digits: 3}}},
	},
}

// TestDataSource: what is written is read again.
func TestDataSource(t *testing.T) {
	full := *shop
	full.SFUs, full.Timeout, full.FailOn, full.Keep = []string{"alpha"}, time.Minute, []string{"HY000/19"}, 90*24*time.Hour
	for _, s := range []*DataSource{shop, &full} {
		got, err := ParseDataSource("shop.toml", s.Marshal(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Error(diff)
		}
	}
	if !shop.UsedBy(&Member{Name: "x", Type: TypeData}) || shop.UsedBy(&Member{Name: "x", Type: TypeCore}) || full.UsedBy(&Member{Name: "bravo", Type: TypeAll}) {
		t.Error("it is used where it should not be, or not where it should")
	}
}

// TestDataSourceFaults: every mistake is a line with its place and its cure.
func TestDataSourceFaults(t *testing.T) {
	const good = "connection = \"Driver=SQLite3;Database=/x\"\nnontransactional = \"none\"\n"
	statement := func(more string) string {
		return good + "[[statement]]\nname = \"a\"\nsql = \"DELETE FROM t\"\n" + more
	}
	for text, want := range map[string]string{
		"":                                     `x.toml:1:1: key connection: missing; write connection = "Driver=…;Database=…"`,
		"connection = \"Driver=X;PWD=geheim\"": "key connection: names a user or a password, which have their places",
		"connection = \"Driver=X;uid = me\"":   "key connection: names a user or a password",
		"connection = \"a\"\n[[statement]]\nname = \"a\"\nsql = \"DELETE FROM t\"": "key nontransactional: missing, although there are writes",
		statement("parameters = [\"id number\"]"):                                  `key statement[0].parameters: value 1 is "id number"; write a list of 1 to 256, each a name and a type`,
		statement("parameters = [\"id decimal(5)\"]"):                              `value 1 is "id decimal(5)"`,
		statement("parameters = [\"id decimal(2,5)\"]"):                            `value 1 is "id decimal(2,5)"`,
		statement("parameters = [\"at timestamp(10)\"]"):                           `value 1 is "at timestamp(10)"`,
		statement("parameters = [\"id integer(3)\"]"):                              `value 1 is "id integer(3)"`,
		statement("roles = [\"root\"]"):                                            `key statement[0].roles: value 1 is "root"`,
		statement("[[statement]]\nname = \"a\"\nsql = \"DELETE FROM t\""):          `key statement[1].name: is "a", as of another [[statement]]; call it otherwise`,
		statement("sqll = 1"):                                                      "key statement[0].sqll: unknown key",
		good + "fail_on = [\"not found\"]":                                         "key fail_on: value 1",
		good + "[[statement]]\nname = \"A b\"\nsql = \"x\"":                        "key statement[0].name: is \"A b\"",
		good + "[[statement]]\nname = \"a\"":                                       "key statement[0].sql: missing",
		good + "password = \"geheim\"":                                             "key password: unknown key",
		"connection = \"a\"\nconnections = 0":                                      "key connections: is 0, outside its bounds",
		"connection = \"" + strings.Repeat("x", 5000) + "\"":                       "key connection: is 5000 bytes long",
	} {
		_, err := ParseDataSource("x.toml", []byte(text), "x")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestDataSourcePassword: from its file, which others must not read, or from systemd.
func TestDataSourcePassword(t *testing.T) {
	dir := t.TempDir()
	c := &Config{Dir: dir, Self: &Member{Name: "alpha", Type: TypeAll}}
	if all, err := c.DataSources(); err != nil || all != nil {
		t.Errorf("no data sources: %v, %v", all, err)
	}
	file := filepath.Join(dir, "keys", "alpha", "datasource-shop.password")
	for _, d := range []string{filepath.Dir(file), filepath.Join(dir, "datasource"), filepath.Join(dir, "credentials")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "datasource", "shop.toml"), string(shop.Marshal()), 0o640)
	if all, err := c.DataSources(); err != nil || len(all) != 1 || all[0].Name != "shop" {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := c.DataSourcePassword("", "shop"); err == nil || !strings.Contains(err.Error(), "file is missing") {
		t.Error(err)
	}
	write(file, "geheim\n", 0o644)
	if _, err := c.DataSourcePassword("", "shop"); err == nil || !strings.Contains(err.Error(), "chmod o=") {
		t.Error(err)
	}
	write(file, "geheim\n", 0o640)
	if p, err := c.DataSourcePassword("", "shop"); err != nil || p != "geheim" {
		t.Errorf("%q, %v", p, err)
	}
	write(filepath.Join(dir, "credentials", "rrts_datasource-shop.password"), "of systemd", 0o400)
	if p, err := c.DataSourcePassword(filepath.Join(dir, "credentials"), "shop"); err != nil || p != "of systemd" {
		t.Errorf("%q, %v", p, err)
	}
	write(file, "two\nlines", 0o640)
	if _, err := c.DataSourcePassword("", "shop"); err == nil || strings.Contains(err.Error(), "lines\"") || !strings.Contains(err.Error(), "is not a password") {
		t.Error(err)
	}
}
