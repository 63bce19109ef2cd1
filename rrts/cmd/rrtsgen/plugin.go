package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/gengo"
	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

// pluginName is the program name under which protoc starts the plugin.
const pluginName = "protoc-gen-rrts"

func pluginCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plugin",
		Short: "be a plugin of protoc",
		Long: `Read protoc's request on the standard input and answer on the standard output.

protoc starts a program called ` + pluginName + ` for --rrts_out, so a link of that
name to rrtsgen does the same. NAME.rrts.go is written beside NAME.proto. A file
without option go_package needs the parameter MFILE.proto=IMPORT/PATH.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return plugin(c.InOrStdin(), c.OutOrStdout())
		},
	}
}

// plugin answers one request of protoc. A fault of the .proto files is part of the
// answer; the error is one of the exchange with protoc itself.
func plugin(in io.Reader, out io.Writer) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var request pluginpb.CodeGeneratorRequest
	if err := proto.Unmarshal(b, &request); err != nil {
		return fmt.Errorf("rrtsgen: the standard input is not a request of protoc: %w", err)
	}
	response := &pluginpb.CodeGeneratorResponse{SupportedFeatures: proto.Uint64(uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL))}
	if response.File, err = answer(&request); err != nil {
		response.Error = proto.String(err.Error())
	}
	if b, err = proto.Marshal(response); err != nil {
		return err
	}
	_, err = out.Write(b)
	return err
}

func answer(request *pluginpb.CodeGeneratorRequest) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	imports := make(map[string]string)
	for p := range strings.SplitSeq(request.GetParameter(), ",") {
		m, isImport := strings.CutPrefix(p, "M")
		file, path, ok := strings.Cut(m, "=")
		switch {
		case p == "":
		case isImport && ok:
			imports[file] = path
		default:
			return nil, fmt.Errorf("rrtsgen: unknown parameter %q: there is only MFILE.proto=IMPORT/PATH", p)
		}
	}
	registry, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: request.ProtoFile})
	if err != nil {
		return nil, err
	}
	var files []protoreflect.FileDescriptor
	for _, name := range request.FileToGenerate {
		fd, err := registry.FindFileByPath(name)
		if err != nil {
			return nil, err
		}
		files = append(files, fd)
	}
	sch, err := schema.FromDescriptors(files, func(file string) (string, error) {
		if path := imports[file]; path != "" {
			return path, nil
		}
		return "", errors.New("the Go package is not known: give option go_package, or the parameter M" + file + "=IMPORT/PATH")
	})
	if err != nil {
		return nil, err
	}
	var out []*pluginpb.CodeGeneratorResponse_File
	for _, f := range sch.Files {
		code, err := gengo.File(f)
		if err != nil {
			return nil, err
		}
		out = append(out, &pluginpb.CodeGeneratorResponse_File{Name: proto.String(gengo.Name(f)), Content: proto.String(string(code))})
	}
	return out, nil
}
