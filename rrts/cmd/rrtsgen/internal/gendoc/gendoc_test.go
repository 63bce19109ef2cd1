package gendoc

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

var update = flag.Bool("update", false, "write the golden file anew")

func TestGolden(t *testing.T) {
	s, err := schema.Source{Root: "../../../../.."}.Load(t.Context(), []string{
		"rrts/cmd/internal/codecpb/kindspb/kinds.proto",
		"rrts/cmd/internal/codecpb/sharedpb/shared.proto",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := Schema(s)
	const name = "testdata/reference.md"
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
		t.Errorf("the reference is another: run go test -update\n%s", d)
	}
}
