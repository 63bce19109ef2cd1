package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/genpy"
	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
	"virtualservicesinc.com/rrts/site/python"
)

func pythonCommand() *cobra.Command {
	var s sources
	var output string
	c := &cobra.Command{
		Use:   "python FILE.proto ...",
		Short: "write the Python code of .proto files, and of what they import",
		Long: `Write a module NAME_pb.py for every NAME.proto given and for all that it imports, and rrts_site.py, which
they need, into the folder of --output. Files of RRTS, such as rrts/schema/txnpb/txn.proto, are found
wherever rrtsgen runs.`,
		Example: "  rrtsgen python --output . orders.proto rrts/schema/txnpb/txn.proto",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			src := schema.Source{Root: s.root, Include: s.include}
			if src.Root == "" {
				src.Root = "."
			}
			sch, err := src.LoadPlain(c.Context(), args)
			if err != nil {
				return err
			}
			return writePython(sch, output)
		},
	}
	s.flags(c)
	c.Flags().StringVarP(&output, "output", "o", ".", "folder to write into")
	return c
}

// writePython writes the modules of a schema into a folder.
func writePython(sch *schema.Schema, dir string) error {
	from := map[string]string{}
	for _, f := range slices.Concat(sch.Files, sch.Imports) {
		name := genpy.Module(f)
		if other, taken := from[name]; taken {
			return fmt.Errorf("rrtsgen: %s and %s would both be %s.py: call one otherwise", other, f.Path, name)
		}
		from[name] = f.Path
		if err := os.WriteFile(filepath.Join(dir, name+".py"), genpy.File(f), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, python.Name), python.Runtime, 0o644)
}
