// Package catalog holds the journal's explanations of RRTS's alarms to the table of
// alarms (rrts/engine/alarm), and the table to the tests.
package catalog

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/engine/alarm"
	"virtualservicesinc.com/rrts/sim/require"
	"virtualservicesinc.com/sysd"
)

var update = flag.Bool("update", false, "write what is made from the table of alarms")

// TestMade: catalog and page are those of the table.
func TestMade(t *testing.T) {
	for file, want := range map[string][]byte{
		"rrts.catalog":     alarm.Catalog(sysd.MessageID),
		"../doc/alarms.md": alarm.Page(sysd.MessageID),
	} {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != string(want) {
			t.Errorf("%s is not made from the table of alarms (%v): run `make generate`", file, err)
		}
	}
}

// TestTable: every kind has all that people need.
func TestTable(t *testing.T) {
	seen, name := map[string]bool{}, regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	for _, k := range alarm.Kinds {
		if seen[k.Name] || !name.MatchString(k.Name) {
			t.Errorf("%q is in the table twice, or is no name", k.Name)
		}
		seen[k.Name] = true
		for what, text := range map[string]string{"Subject": k.Subject, "Means": k.Means, "Done": k.Done, "Do": k.Do} {
			if text == "" || strings.TrimSpace(text) != text || strings.HasSuffix(text, ".") == (what == "Subject") {
				t.Errorf("%s: %s is %q", k.Name, what, text)
			}
		}
		if alarm.Find(k.Name+"@3") == nil || alarm.Find(k.Name).Name != k.Name {
			t.Errorf("%s is not found", k.Name)
		}
	}
	if alarm.Find("nothing") != nil {
		t.Error("what is not in the table is found")
	}
}

// TestProofs: the test that a kind names is there, and speaks of the kind; that of an
// alarm fails unless it is raised there and ends (package alarmtest).
func TestProofs(t *testing.T) {
	for _, k := range alarm.Kinds {
		dir, test, _ := strings.Cut(k.Proof, ".")
		body, err := testBody(filepath.Join("../..", dir), test)
		switch {
		case err != nil:
			t.Errorf("%s: %v", k.Name, err)
		case body == "":
			t.Errorf("%s: there is no test %s in %s: name the one in which the alarm is raised and cleared", k.Name, test, dir)
		case !strings.Contains(body, k.Name):
			t.Errorf("%s: the test %s does not speak of it", k.Name, k.Proof)
		case !k.Event && !strings.Contains(body, ".Proves(t)"):
			t.Errorf("%s: the test %s does not prove that it is raised and ends: see alarmtest.Record", k.Name, k.Proof)
		}
	}
}

// testBody returns the text of a test, with that of the transcripts that it names.
func testBody(dir, test string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, text, 0)
		if err != nil {
			return "", err
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Name.Name != test {
				continue
			}
			body := string(text[fset.Position(fn.Pos()).Offset:fset.Position(fn.End()).Offset])
			for _, m := range regexp.MustCompile(`"(testdata/[^"]*)"`).FindAllStringSubmatch(body, -1) {
				transcript, err := os.ReadFile(filepath.Join(dir, m[1]))
				if err != nil {
					return "", err
				}
				body += string(transcript)
			}
			return body, nil
		}
	}
	return "", nil
}

// TestRaised: what the code raises by name is in the table.
func TestRaised(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{range .GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}`, "virtualservicesinc.com/comps/...", "virtualservicesinc.com/rrts/engine/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range strings.Fields(string(out)) {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 3 {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Alarm" && sel.Sel.Name != "raise" {
				return true
			}
			first := call.Args[0]
			for b, ok := first.(*ast.BinaryExpr); ok; b, ok = first.(*ast.BinaryExpr) {
				first = b.X
			}
			if lit, ok := first.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				found++
				if name, err := strconv.Unquote(lit.Value); err != nil || alarm.Find(name) == nil {
					t.Errorf("%s raises %s, which is not in rrts/engine/alarm/table.go", file, lit.Value)
				}
			}
			return true
		})
	}
	if found == 0 {
		t.Error("no alarm is raised by name: the test tests nothing")
	}
}

// TestJournalctlReadsIt compiles the catalog as an installation does.
func TestJournalctlReadsIt(t *testing.T) {
	require.Tool(t, "journalctl", "systemd")
	root := t.TempDir()
	dir := filepath.Join(root, "usr/lib/systemd/catalog")
	for _, d := range []string{dir, filepath.Join(root, "var/lib/systemd/catalog")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("rrts.catalog")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rrts.catalog"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("journalctl", "--root", root, "--update-catalog").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, k := range alarm.Kinds {
		out, err := exec.Command("journalctl", "--root", root, "--dump-catalog", sysd.MessageID(k.Name)).CombinedOutput()
		for _, part := range []string{"Subject: " + k.Subject + "\n", "\nWhat was done: ", "\nWhat to do: "} {
			if err != nil || !strings.Contains(string(out), part) {
				t.Errorf("%s: no %q: %v\n%s", k.Name, part, err, out)
			}
		}
	}
}
