package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

func TestMain(m *testing.M) {
	main := func() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"rrtsgen": main, pluginName: main})
}

// TestScripts plays testdata/*.txt, each a folder of files and the commands that a
// user types in it.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("SITE", root)
		return nil
	}})
}

// TestTree: the code and the lock file in this repository are those of its .proto
// files.
func TestTree(t *testing.T) {
	for _, args := range [][]string{{"generate", "--check"}, {"check"}} {
		var out strings.Builder
		if status := run(append([]string{"rrtsgen"}, args...), strings.NewReader(""), &out, &out); status != 0 {
			t.Errorf("rrtsgen %s:\n%s", strings.Join(args, " "), out.String())
		}
	}
}

// request is what protoc sends to a plugin for a file, options as it has them: in
// fields that it does not know.
func request(t *testing.T, parameter string, files ...string) []byte {
	t.Helper()
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(schema.Source{Root: "../../.."}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := c.Compile(t.Context(), files...)
	if err != nil {
		t.Fatal(err)
	}
	r := &pluginpb.CodeGeneratorRequest{FileToGenerate: files, Parameter: &parameter}
	seen := make(map[string]bool)
	var add func(fd protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if seen[fd.Path()] {
			return
		}
		seen[fd.Path()] = true
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).FileDescriptor)
		}
		p := protodesc.ToFileDescriptorProto(fd)
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		q := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(b, q); err != nil {
			t.Fatal(err)
		}
		r.ProtoFile = append(r.ProtoFile, q)
	}
	for _, fd := range compiled {
		add(fd)
	}
	b, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func respond(t *testing.T, name string, request []byte) *pluginpb.CodeGeneratorResponse {
	t.Helper()
	var out, errs bytes.Buffer
	args := []string{name}
	if name != pluginName {
		args = append(args, "plugin")
	}
	if status := run(args, bytes.NewReader(request), &out, &errs); status != 0 {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	var r pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

const testpb = "rrts/cmd/internal/codecpb/"

// TestPlugin: under protoc the code is the same as that of rrtsgen generate.
func TestPlugin(t *testing.T) {
	kinds, shared := testpb+"kindspb/kinds.proto", testpb+"sharedpb/shared.proto"
	module := "virtualservicesinc.com/" + testpb
	b := request(t, "M"+kinds+"="+module+"kindspb,M"+shared+"="+module+"sharedpb", kinds, shared)
	for _, name := range []string{"/usr/bin/" + pluginName, "rrtsgen"} {
		r := respond(t, name, b)
		if r.Error != nil || len(r.File) != 2 {
			t.Fatalf("%s: error %q and %d files", name, r.GetError(), len(r.File))
		}
		for _, f := range r.File {
			want, err := os.ReadFile(filepath.Join("../../..", f.GetName()))
			if err != nil {
				t.Fatal(err)
			}
			if f.GetContent() != string(want) {
				t.Errorf("%s: %s is not what rrtsgen generate makes", name, f.GetName())
			}
		}
	}
}

func TestPluginRefuses(t *testing.T) {
	shared := testpb + "sharedpb/shared.proto"
	for parameter, want := range map[string]string{
		"":            shared + ":2:1: the Go package is not known: give option go_package, or the parameter M" + shared + "=IMPORT/PATH",
		"paths=x,M=y": `rrtsgen: unknown parameter "paths=x": there is only MFILE.proto=IMPORT/PATH`,
	} {
		if r := respond(t, "rrtsgen", request(t, parameter, shared)); r.GetError() != want || len(r.File) > 0 {
			t.Errorf("%q: error is %q, want %q", parameter, r.GetError(), want)
		}
	}
	var out, errs bytes.Buffer
	if status := run([]string{pluginName}, strings.NewReader("\xff"), &out, &errs); status != 1 || !strings.Contains(errs.String(), "not a request of protoc") {
		t.Errorf("status %d: %s", status, errs.String())
	}
}
