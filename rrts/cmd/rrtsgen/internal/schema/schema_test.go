package schema

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestRefusals plays testdata/refuse: "file" writes a file of that name, "load"
// compiles the named ones and prints what is refused.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	datadriven.RunTest(t, "testdata/refuse", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "file":
			name := filepath.Join(dir, d.CmdArgs[0].Key)
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(d.Input+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return ""
		case "load":
			var files []string
			for _, a := range d.CmdArgs {
				files = append(files, a.Key)
			}
			_, err := Source{Root: dir}.Load(t.Context(), files)
			if err == nil {
				return "ok"
			}
			return strings.ReplaceAll(err.Error(), dir, "DIR")
		default:
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		}
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"id": "Id", "user_data_128": "UserData128", "camelCase": "CamelCase", "_x__y_": "XY", "size": "Size_", "string": "String_", "size_of": "SizeOf",
	} {
		if got := fieldName(name); got != want {
			t.Errorf("field %s is %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"State": "STATE", "TransferStatus": "TRANSFER_STATUS", "HTTPCode": "HTTP_CODE", "Is2FA": "IS2_FA", "A": "A", "snake_Case": "SNAKE_CASE",
	} {
		if got := upperSnake(name); got != want {
			t.Errorf("the values of %s begin with %s, want %s", name, got, want)
		}
	}
}

// TestFind: every .proto file below a folder but those of tests and of options.
func TestFind(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"b/b.proto", "a.proto", "b/c.txt", "b/testdata/d.proto", "rrts/schema/rrtspb/options.proto"} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := Source{Root: root}
	got, err := s.Find(root)
	if err != nil || fmt.Sprint(got) != "[a.proto b/b.proto]" {
		t.Errorf("found %v, %v", got, err)
	}
	if _, err := s.Rel(filepath.Join(root, "..", "x.proto")); err == nil {
		t.Error("a file above the root is accepted")
	}
}

func TestModule(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte("// a comment\nmodule \"example.com/x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, module, err := Module(deep)
	if err != nil || dir != root || module != "example.com/x" {
		t.Errorf("%s, %s, %v", dir, module, err)
	}
	if err := os.WriteFile(filepath.Join(root, "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Module(deep); err == nil || !strings.Contains(err.Error(), "has no module line") {
		t.Errorf("an empty go.mod: %v", err)
	}
}
