// Command rrtsgen turns .proto files into the messages, services and clients of
// RRTS, and watches over their compatibility.
//
//	rrtsgen generate          write NAME.rrts.go beside every NAME.proto
//	rrtsgen generate --check  list the files that generate would change
//	rrtsgen check             refuse changes that older programs would misunderstand
//	rrtsgen lock              write what was added into schema.lock
//	rrtsgen doc               write the reference in Markdown
//	rrtsgen plugin            be a plugin of protoc, as under the name protoc-gen-rrts
//
// What it makes of a message M: a struct M with the methods AppendTo, Size, Parse,
// Reset and String; fields in the order of the source under their names in camel
// case. A field of message type is a pointer, repeated messages are values in a
// slice, an optional number or string is a pointer (optional bytes are nil when
// absent), bytes with (rrts.uint128) are a u128.Int. Of an enum: a named uint32 with
// constants. Of a service S: the numbers SService and SNameMethod, the descriptor
// SDescriptor, the interface SHandler, ServeS and SClient. Of a file: the variable
// Schema, for message.NewRegistry. One .proto file is one Go package.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/packaging/man/describe"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// run is main without the process: it returns the exit status, 0 when all is well
// and 1 when something was refused, stale or failed, said on stderr.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := command()
	root.SetArgs(args[1:])
	if strings.TrimSuffix(filepath.Base(args[0]), ".exe") == pluginName {
		root.SetArgs([]string{"plugin"})
	}
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
	root.AddCommand(generateCommand(), checkCommand(), lockCommand(), docCommand(), pythonCommand(), newCommand(), pluginCommand(), describe.Command())
	return root
}
