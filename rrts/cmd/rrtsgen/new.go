package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/gengo"
	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/lock"
	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/scaffold"
	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

// sourcesOfRRTS is where the package rrts-dev has the Go sources that a Component is
// built with.
const sourcesOfRRTS = "/usr/share/rrts/go"

func newCommand() *cobra.Command {
	var component scaffold.Component
	var python bool
	var output string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "begin a component of your own: a message, a program that answers it, and what an SFU needs to run it",
		Long: `Write the first files of a component of your own into a new folder: a .proto file with one service, the
program that answers it, a Makefile, schema.lock and the file for /etc/rrts/components.d. The program
takes orders and pays them from the account of who called; make of it what you need.

With --python the program is in Python, and needs nothing but Python 3.`,
		Example: "  rrtsgen new orders\n  rrtsgen new stock --python --number 1001",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			component.Name = args[0]
			if err := component.Validate(); err != nil {
				return err
			}
			dir := output
			if dir == "" {
				dir = component.Name
			}
			language := "go"
			if python {
				language = "python"
			}
			if language == "go" {
				if _, err := os.Stat(filepath.Join(component.RRTS, "go.mod")); err != nil {
					return fmt.Errorf("rrtsgen: there is no go.mod in %s: install rrts-dev, or name the Go sources of RRTS with --rrts", component.RRTS)
				}
			}
			if err := begin(c, language, dir, component); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is a component in %s: change %s, then make, sudo make install, sudo systemctl restart rrts@NAME\n", dir, language, filepath.Join(dir, protoOf(language, component.Name)))
			return nil
		},
	}
	c.Flags().IntVar(&component.Number, "number", schema.FirstSite, "number of its service, 1000 to 65535, unique in the cluster")
	c.Flags().BoolVar(&python, "python", false, "the program in Python")
	c.Flags().StringVarP(&output, "output", "o", "", "folder to make (default: NAME)")
	c.Flags().StringVar(&component.RRTS, "rrts", sourcesOfRRTS, "folder of the Go sources of RRTS, for a program in Go")
	return c
}

// protoOf is the .proto file of a new Component, relative to its folder.
func protoOf(language, name string) string {
	if language == "go" {
		return name + "pb/" + name + ".proto"
	}
	return name + ".proto"
}

// begin writes the files of a new Component, and what is made of them.
func begin(c *cobra.Command, language, dir string, component scaffold.Component) error {
	files, err := scaffold.Files(language, component)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("rrtsgen: %s is there already: give another folder with --output", dir)
		}
		return err
	}
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if f.Executable {
			mode = 0o755
		}
		if err := os.WriteFile(name, f.Data, mode); err != nil {
			return err
		}
	}
	src := schema.Source{Root: dir}
	proto := protoOf(language, component.Name)
	sch, err := src.Load(c.Context(), []string{proto})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, lock.Name), []byte(lock.Of(sch).String()), 0o644); err != nil {
		return err
	}
	if language == "python" {
		both, err := src.LoadPlain(c.Context(), []string{proto, "rrts/schema/txnpb/txn.proto"})
		if err != nil {
			return err
		}
		return writePython(both, dir)
	}
	code, err := gengo.File(sch.Files[0])
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.FromSlash(gengo.Name(sch.Files[0]))), code, 0o644)
}
