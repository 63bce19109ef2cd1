package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"virtualservicesinc.com/packaging/man/describe"
	"virtualservicesinc.com/rrts/config"
)

// TestProse holds the rendering of text to a transcript.
func TestProse(t *testing.T) {
	datadriven.RunTest(t, "testdata/prose", func(t *testing.T, d *datadriven.TestData) string {
		p := &page{}
		switch d.Cmd {
		case "prose":
			p.prose(d.Input)
		case "command":
			tree, err := describe.Read(strings.NewReader(d.Input))
			if err != nil {
				t.Fatal(err)
			}
			p = commandPage(stamp{"0.1.0", "2026-03-02"}, tree[0], tree[1:])
		}
		return p.String()
	})
}

// TestPages makes the pages of the programs of this tree and looks for what each
// must say.
func TestPages(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "virtualservicesinc.com/rrts/cmd/rrts", "virtualservicesinc.com/rrts/cmd/rrtsgen")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Chdir("../..")
	s := stamp{"0.1.0", "2026-03-02"}
	files, err := generate(s, bin)
	if err != nil {
		t.Fatal(err)
	}
	contains := func(page string, words ...string) {
		t.Helper()
		text, ok := files["man/"+page]
		if !ok {
			t.Errorf("no page %s", page)
			return
		}
		for _, w := range words {
			if !strings.Contains(text, escaper.Replace(w)) {
				t.Errorf("%s says nothing of %q", page, w)
			}
		}
	}
	for _, program := range []string{"rrts", "rrtsgen"} {
		tree, err := commands(filepath.Join(bin, program))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range tree[1:] {
			page := program + ".1"
			if program == "rrts" {
				page = pageName(strings.Join(strings.Fields(e.Path)[:2], " ")) + ".1"
			}
			contains(page, e.Path)
			for _, f := range append(e.Flags, e.Global...) {
				contains(page, "--"+f.Name)
			}
		}
	}
	for _, r := range config.References() {
		for _, sec := range r.Sections {
			for _, k := range sec.Settings {
				contains(r.File+".5", k.Name, k.Default)
			}
		}
	}
	contains("rrts.1", "rrts-init(1)", "--config", "3 no SFU could be reached", "cluster.toml", s.version)
	contains("rrtsd.8", "rrtsd [--config DIR] NAME", "78 (EX_CONFIG)", "/var/lib/rrts/NAME")
	for _, c := range []string{"bash/rrts", "zsh/_rrts", "fish/rrts.fish", "bash/rrtsgen", "zsh/_rrtsgen", "fish/rrtsgen.fish"} {
		if !strings.Contains(files["completions/"+c], "__complete") {
			t.Errorf("%s is no completion", c)
		}
	}

	again, err := generate(s, bin)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, again); diff != "" {
		t.Errorf("made twice, the pages differ:\n%s", diff)
	}
	out := t.TempDir()
	if err := write(out, files); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(out, "man/rrtsd.8"))
	if err != nil || !bytes.HasPrefix(got, []byte(".TH RRTSD 8 \"2026-03-02\" ")) {
		t.Errorf("%v: %.40q", err, got)
	}
}
