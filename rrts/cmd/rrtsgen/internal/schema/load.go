package schema

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/reflect/protoreflect"

	files "virtualservicesinc.com/rrts/schema"
	"virtualservicesinc.com/rrts/schema/rrtspb"
)

// Source says where .proto files are.
type Source struct {
	// Root is the folder that the files' paths and imports are relative to.
	Root string
	// Include are further folders in which imports are looked for.
	Include []string
}

// Find returns the paths, relative to the root, of all .proto files below the
// folder dir, sorted. The file of options is not among them, nor is anything in a
// folder called testdata.
func (s Source) Find(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(p) != ".proto":
			return nil
		}
		rel, err := s.Rel(p)
		if err == nil && rel != rrtspb.Path {
			files = append(files, rel)
		}
		return err
	})
	slices.Sort(files)
	return files, err
}

// Rel returns file's path relative to the root, with slashes.
func (s Source) Rel(file string) (string, error) {
	root, err := filepath.Abs(s.Root)
	if err != nil {
		return "", err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(root, abs)
	if err != nil {
		return "", err
	}
	if rel = filepath.ToSlash(rel); strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("rrtsgen: %s is not below the root folder %s", file, s.Root)
	}
	return rel, nil
}

// Load compiles files, whose paths are relative to the root. The error joins
// everything that was found, one line each.
func (s Source) Load(ctx context.Context, paths []string) (*Schema, error) {
	return s.load(ctx, paths, s.goImport)
}

// LoadPlain is Load for other languages than Go: files need neither an option go_package
// nor a go.mod, and the Go names in the model mean nothing.
func (s Source) LoadPlain(ctx context.Context, paths []string) (*Schema, error) {
	return s.load(ctx, paths, func(file string) (string, error) { return strings.TrimSuffix(file, ".proto"), nil })
}

func (s Source) load(ctx context.Context, paths []string, goImport func(file string) (string, error)) (*Schema, error) {
	paths = slices.Clone(paths)
	slices.Sort(paths)
	paths = slices.Compact(paths)
	var found []error
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(s),
		SourceInfoMode: protocompile.SourceInfoStandard,
		Reporter: reporter.NewReporter(func(err reporter.ErrorWithPos) error {
			found = append(found, err)
			return nil
		}, nil),
	}
	compiled, err := c.Compile(ctx, paths...)
	if len(found) > 0 {
		return nil, errors.Join(found...)
	}
	if err != nil {
		return nil, err
	}
	descriptors := make([]protoreflect.FileDescriptor, len(compiled))
	for i, f := range compiled {
		descriptors[i] = f
	}
	return FromDescriptors(descriptors, goImport)
}

// FindFileByPath implements protocompile.Resolver. The options always come from
// this program, so that a file means the same to every user of one rrtsgen.
func (s Source) FindFileByPath(name string) (protocompile.SearchResult, error) {
	if name == rrtspb.Path {
		return protocompile.SearchResult{Source: strings.NewReader(rrtspb.Options)}, nil
	}
	for _, dir := range append([]string{s.Root}, s.Include...) {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return protocompile.SearchResult{Source: io.Reader(strings.NewReader(string(text)))}, err
	}
	// RRTS's own, for a site that has not installed them.
	if rest, own := strings.CutPrefix(name, files.Root); own {
		if text, err := files.Files.ReadFile(rest); err == nil {
			return protocompile.SearchResult{Source: strings.NewReader(string(text))}, nil
		}
	}
	return protocompile.SearchResult{}, fmt.Errorf("no file %s below %s", name, strings.Join(append([]string{s.Root}, s.Include...), ", "))
}

// goImport returns the Go import path of a file without option go_package: the
// module of the root folder's go.mod and the file's folder.
func (s Source) goImport(file string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(s.Root, filepath.FromSlash(path.Dir(file))))
	if err != nil {
		return "", err
	}
	root, module, err := Module(dir)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return "", err
	}
	return path.Join(module, filepath.ToSlash(rel)), nil
}

// Module returns the folder of the go.mod that dir belongs to, and its module path.
func Module(dir string) (root, module string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		text, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil {
			for line := range strings.Lines(string(text)) {
				if m, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
					return d, strings.Trim(strings.TrimSpace(m), `"`), nil
				}
			}
			return "", "", fmt.Errorf("rrtsgen: %s has no module line", filepath.Join(d, "go.mod"))
		}
		if d == filepath.Dir(d) {
			return "", "", fmt.Errorf("rrtsgen: no go.mod in %s or above: run it inside a Go module, or give option go_package in the .proto file", dir)
		}
	}
}
