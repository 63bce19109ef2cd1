package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/gengo"
	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

// sources are the flags and arguments by which every command finds .proto files.
type sources struct {
	root    string
	include []string
}

func (s *sources) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.root, "root", "", "folder that paths in import are relative to (default: where go.mod is)")
	c.Flags().StringSliceVarP(&s.include, "include", "I", nil, "further folder in which imports are looked for")
}

// source returns where the files are, and the folder that holds the schema: by
// default rrts/schema below the root if there is one, otherwise the root.
func (s *sources) source() (src schema.Source, dir string, err error) {
	src = schema.Source{Root: s.root, Include: s.include}
	if src.Root == "" {
		if src.Root, _, err = schema.Module("."); err != nil {
			return src, "", err
		}
	}
	dir = filepath.Join(src.Root, "rrts", "schema")
	if _, err := os.Stat(dir); err != nil {
		dir = src.Root
	}
	return src, dir, nil
}

// load compiles the files, or every file of the schema's folder if none are given.
func (s *sources) load(ctx context.Context, files []string) (src schema.Source, dir string, sch *schema.Schema, err error) {
	src, dir, err = s.source()
	if err != nil {
		return src, dir, nil, err
	}
	var paths []string
	for _, f := range files {
		p, err := src.Rel(f)
		if err != nil {
			return src, dir, nil, err
		}
		paths = append(paths, p)
	}
	if len(files) == 0 {
		if paths, err = src.Find(dir); err != nil {
			return src, dir, nil, err
		}
		if len(paths) == 0 {
			return src, dir, nil, fmt.Errorf("rrtsgen: no .proto file below %s", dir)
		}
	}
	sch, err = src.Load(ctx, paths)
	return src, dir, sch, err
}

func generateCommand() *cobra.Command {
	var s sources
	var check bool
	c := &cobra.Command{
		Use:   "generate [FILE.proto ...]",
		Short: "write the Go code of .proto files beside them",
		Long: `Write NAME.rrts.go beside every NAME.proto given, or beside every .proto file of
the schema folder (rrts/schema below the root, otherwise the root itself).

With --check nothing is written: files whose code is not what the .proto file says
are listed, and the exit status is 1 if there are any.`,
		RunE: func(c *cobra.Command, args []string) error {
			src, _, sch, err := s.load(c.Context(), args)
			if err != nil {
				return err
			}
			stale := false
			for _, f := range sch.Files {
				code, err := gengo.File(f)
				if err != nil {
					return err
				}
				name := filepath.Join(src.Root, filepath.FromSlash(gengo.Name(f)))
				old, err := os.ReadFile(name)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				switch {
				case err == nil && bytes.Equal(old, code):
				case check:
					stale = true
					fmt.Fprintln(c.OutOrStdout(), gengo.Name(f))
				default:
					if err := os.WriteFile(name, code, 0o644); err != nil {
						return err
					}
				}
			}
			if stale {
				return errors.New("rrtsgen: the files above are stale: run rrtsgen generate")
			}
			return nil
		},
	}
	s.flags(c)
	c.Flags().BoolVar(&check, "check", false, "write nothing; list the files that are stale")
	return c
}
