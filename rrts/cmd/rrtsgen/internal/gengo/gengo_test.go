package gengo

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

var update = flag.Bool("update", false, "write the golden files anew")

const root = "../../../../.." // of the module

// TestGolden: the code of the test schemas is the committed code, which package
// testpb tests.
func TestGolden(t *testing.T) {
	s, err := schema.Source{Root: root}.Load(t.Context(), []string{
		"rrts/cmd/internal/codecpb/barepb/bare.proto",
		"rrts/cmd/internal/codecpb/kindspb/kinds.proto",
		"rrts/cmd/internal/codecpb/sharedpb/shared.proto",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.Files {
		got, err := File(f)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(root, Name(f))
		if *update {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("%s is stale: run go test -update\n%s", Name(f), d)
		}
	}
}

// TestImportNames: two packages of one name, a package named as a variable of the
// generated code, and one named as a package that the code needs.
func TestImportNames(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("syntax = \"proto3\";\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var fields, imports string
	for i, p := range []string{"x/common", "y/common", "x/b", "x/message", "x/slices"} {
		pkg := strings.ReplaceAll(p, "/", ".")
		write(p+"/f.proto", "package "+pkg+";\noption go_package = \"example.com/"+p+"\";\nmessage M {}\n")
		imports += "import \"" + p + "/f.proto\";\n"
		fields += "repeated " + pkg + ".M f" + string(rune('a'+i)) + " = " + string(rune('1'+i)) + ";\n"
	}
	write("all.proto", "package all;\noption go_package = \"example.com/all\";\n"+imports+"message All {\n"+fields+"}\n")
	s, err := schema.Source{Root: dir}.Load(t.Context(), []string{"all.proto"})
	if err != nil {
		t.Fatal(err)
	}
	code, err := File(s.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(code), "import (")
	text, _, _ = strings.Cut(text, ")")
	const want = `
	"slices"

	b2 "example.com/x/b"
	"example.com/x/common"
	message2 "example.com/x/message"
	slices2 "example.com/x/slices"
	common2 "example.com/y/common"
	"virtualservicesinc.com/rrts/message"
`
	if text != want {
		t.Errorf("imports are%s, want%s", text, want)
	}
}
