package main

import (
	"os"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/gendoc"
)

func docCommand() *cobra.Command {
	var s sources
	var output string
	c := &cobra.Command{
		Use:   "doc [FILE.proto ...]",
		Short: "write the reference of services and messages in Markdown",
		Long: `Write a Markdown reference of the .proto files given, or of every one of the schema
folder, to the standard output or to the file of --output.`,
		RunE: func(c *cobra.Command, args []string) error {
			_, _, sch, err := s.load(c.Context(), args)
			if err != nil {
				return err
			}
			text := gendoc.Schema(sch)
			if output != "" {
				return os.WriteFile(output, text, 0o644)
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	s.flags(c)
	c.Flags().StringVarP(&output, "output", "o", "", "file to write")
	return c
}
