// Package lint holds the rules of the house as tests: who may import whom, what
// the top level holds, and that every package says what it is for.
package lint

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/sim/require"
)

const module = "virtualservicesinc.com/"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath   string
	Name         string
	Doc          string
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	GoFiles      []string
}

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Dir,Imports,TestImports,XTestImports,GoFiles", "./...")
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // of packages with C, too; nothing is compiled
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// under reports whether path is dir or stands below it; dir is relative to the module.
func under(path string, dirs ...string) bool {
	for _, d := range dirs {
		if path == module+d || strings.HasPrefix(path, module+d+"/") {
			return true
		}
	}
	return false
}

// may lists, for each part of the house, what of ours it may import besides
// itself. The first entry that matches a package decides. A part without an
// entry is wiring (commands, simulation) and may import anything but commands.
var may = []struct {
	part    string
	imports []string
}{
	{"net/wire", nil},
	{"net/link", nil},
	{"net/session", []string{"net/wire"}},
	{"net/fabric", []string{"net/wire", "net/session", "net/link"}},
	{"sysd", nil},
	{"watchdog", nil},
	{"rrts/journal", nil},
	{"rrts/message", nil},
	{"rrts/schema", []string{"rrts/message"}},
	{"rrts/config", nil},
	{"rrts/engine/child", []string{"rrts/engine", "rrts/message", "rrts/schema/enginepb", "rrts/schema/childpb"}},
	{"rrts/engine", []string{"rrts/message", "rrts/schema/enginepb"}},
	{"rrts/client", []string{"rrts/message", "rrts/schema"}},
	{"rrts/site", []string{"rrts/message", "rrts/schema"}},
	{"comps/ledger/exec", []string{"rrts/message", "rrts/schema", "comps/ledger"}},
	{"comps/ledger", []string{"rrts/message", "rrts/schema/ledgerpb"}},
	{"comps/connector", []string{"rrts/engine", "rrts/message", "rrts/schema", "net"}},
	{"comps/txn", []string{"rrts/engine", "rrts/message", "rrts/schema", "rrts/journal", "comps/ledger"}},
	{"comps/effects", []string{"rrts/engine", "rrts/message", "rrts/schema"}}, // no Component: what some are built on
	{"comps/smtp", nil}, // neither
	{"comps", []string{"rrts/engine", "rrts/message", "rrts/schema", "comps/effects", "comps/smtp"}},
}

// clientMay is what of others the Go SDK may import: its users inherit it.
const clientMay = "github.com/klauspost/compress"

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		forTests := strings.HasSuffix(p.Name, "test") // such as a suite that several packages' tests run
		for _, rule := range may {
			if !under(p.ImportPath, rule.part) || forTests {
				continue
			}
			self := rule.part
			if self == "comps" { // Components never import each other
				self = strings.Join(strings.SplitN(strings.TrimPrefix(p.ImportPath, module), "/", 3)[:2], "/")
			}
			for _, imp := range p.Imports {
				if strings.HasPrefix(imp, module) && !under(imp, append(rule.imports, self)...) {
					t.Errorf("%s imports %s: %s may import only %v of ours", p.ImportPath, imp, rule.part, append(rule.imports, self))
				}
			}
			break
		}
		for _, imp := range p.Imports {
			if under(imp, "rrts/cmd") && !under(p.ImportPath, "rrts/cmd") {
				t.Errorf("%s imports %s: nothing imports a command", p.ImportPath, imp)
			}
			if under(imp, "rrts/sim") && !under(p.ImportPath, "rrts/sim") && !forTests {
				t.Errorf("%s imports %s: the simulation is for tests", p.ImportPath, imp)
			}
			if imp == module+"comps/datasource/odbc" && !under(p.ImportPath, "rrts/cmd/rrts-odbc") {
				t.Errorf("%s imports %s: drivers in C stay in the child process", p.ImportPath, imp)
			}
			if imp == module+"comps/payment/stripe" && !under(p.ImportPath, "rrts/cmd/rrts-stripe") {
				t.Errorf("%s imports %s: SDKs of payment providers stay in the child process", p.ImportPath, imp)
			}
			first, _, _ := strings.Cut(imp, "/")
			if under(p.ImportPath, "rrts/client") && strings.Contains(first, ".") &&
				!strings.HasPrefix(imp, module) && imp != clientMay && !strings.HasPrefix(imp, clientMay+"/") {
				t.Errorf("%s imports %s: the SDK may import only the standard library, rrts/message, rrts/schema and %s", p.ImportPath, imp, clientMay)
			}
		}
	}
}

// TestCoresDoNoIO holds the state machines to their word.
func TestCoresDoNoIO(t *testing.T) {
	cores := []string{"net/wire", "net/session", "comps/ledger", "comps/txn/replica", "comps/payment/life", "rrts/engine/router"}
	forbidden := []string{"os", "net", "syscall", "golang.org/x/sys/unix", "math/rand", "math/rand/v2", "crypto/rand"}
	for _, p := range packages(t) {
		if !under(p.ImportPath, cores...) {
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(forbidden, imp) {
				t.Errorf("%s imports %s: a core is handed its disk, network and randomness", p.ImportPath, imp)
			}
		}
	}
}

func TestTopLevel(t *testing.T) {
	dir := root(t)
	out, err := exec.Command("git", "-C", dir, "ls-files").Output()
	if err != nil {
		require.Skip(t, "not a git checkout: nothing to compare with")
	}
	allowed := []string{"rrts", "sysd", "net", "comps", "watchdog", "packaging", "debian", "go.mod", "go.sum", "Makefile", "README.md", ".ci", ".gitignore"}
	for _, f := range strings.Fields(string(out)) {
		top, _, _ := strings.Cut(f, "/")
		if !slices.Contains(allowed, top) {
			t.Errorf("%s: the top level holds only %v", f, allowed)
		}
	}
	for _, d := range []string{"rrts", "net", "comps"} {
		if files, _ := filepath.Glob(filepath.Join(dir, d, "*.go")); len(files) > 0 {
			t.Errorf("%s holds no Go files itself: %v", d, files)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment should begin with %q, it is %q", p.ImportPath, want, p.Doc)
		}
	}
}
