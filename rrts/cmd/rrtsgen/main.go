// Command rrtsgen turns .proto files into the messages, services and clients of
// RRTS.
//
//	rrtsgen generate          write NAME.rrts.go beside every NAME.proto
//	rrtsgen generate --check  list the files that generate would change
//
// It also is a plugin of protoc, under the name protoc-gen-rrts.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// run is main without the process: it returns the exit status, 0 when all is well
// and 1 when something was refused, stale or failed, said on stderr.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := command()
	root.SetArgs(args[1:])
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "rrtsgen",
		Short:         "the code generator of RRTS",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(generateCommand())
	return root
}
