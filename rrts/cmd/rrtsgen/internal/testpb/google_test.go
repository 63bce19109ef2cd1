package testpb

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/bufbuild/protocompile"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
	"virtualservicesinc.com/rrts/schema/rrtspb"
)

var update = flag.Bool("update", false, "write googlepb anew with protoc-gen-go")

const (
	root   = "../../../../.." // of the module
	folder = "rrts/cmd/internal/codecpb/"
)

var sources = []string{folder + "sharedpb/shared.proto", folder + "kindspb/kinds.proto"}

// TestGoogle writes googlepb with -update. Without it, it checks that googlepb was
// made from the schemas as they are.
func TestGoogle(t *testing.T) {
	files := googleDescriptors(t)
	if !*update {
		for _, want := range files {
			made, err := protoregistry.GlobalFiles.FindFileByPath(want.GetName())
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(protodesc.ToFileDescriptorProto(made), want) {
				t.Errorf("googlepb is not that of %s: run go test -run TestGoogle -update", want.GetName())
			}
		}
		return
	}
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: sources, ProtoFile: files, Parameter: proto.String("module=virtualservicesinc.com"),
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "google.golang.org/protobuf/cmd/protoc-gen-go")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil || response.Error != nil {
		t.Fatal(err, response.GetError())
	}
	for _, f := range response.File {
		name := filepath.Join(root, f.GetName())
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(f.GetContent()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// googleFile is where protoc-gen-go's code of a schema is.
func googleFile(proto string) string {
	return folder + "googlepb/" + path.Base(path.Dir(proto)) + "/" + strings.TrimSuffix(path.Base(proto), ".proto") + ".pb.go"
}

// googleDescriptors are the schemas without the options of RRTS, for which there
// is no google.golang.org/protobuf code.
func googleDescriptors(t *testing.T) []*descriptorpb.FileDescriptorProto {
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(schema.Source{Root: root})}
	compiled, err := c.Compile(t.Context(), sources...)
	if err != nil {
		t.Fatal(err)
	}
	var files []*descriptorpb.FileDescriptorProto
	for _, fd := range compiled {
		f := protodesc.ToFileDescriptorProto(fd)
		var deps []string
		for _, d := range f.Dependency {
			if d != rrtspb.Path {
				deps = append(deps, d)
			}
		}
		f.Dependency = deps
		f.Options = &descriptorpb.FileOptions{GoPackage: proto.String("virtualservicesinc.com/" + path.Dir(googleFile(fd.Path())))}
		f.Service = nil
		for _, m := range f.MessageType {
			for _, x := range m.Field {
				x.Options = nil
			}
		}
		files = append(files, f)
	}
	return files
}
