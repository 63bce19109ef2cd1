package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

func (c *cli) benchCodecCommand() *cobra.Command {
	var each time.Duration
	cmd := &cobra.Command{
		Use:   "codec",
		Short: "encoding and decoding of messages, beside google.golang.org/protobuf",
		Long: `Encodes and decodes messages of the shapes that a cluster carries, by the code that rrtsgen generates and by
that of protoc-gen-go: in turns, in short rounds, the fastest round of each. encode and decode use a buffer
or a message again, encode-new and decode-new make a new one each time.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if each < time.Millisecond {
				return usageError{fmt.Errorf("--each is %v, must be at least 1ms", each)}
			}
			all, err := bench.Codec(cmd.Context(), each, c.out.Progress)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, r := range all {
				if c.json {
					if err := c.out.Object(r); err != nil {
						return err
					}
					continue
				}
				rows = append(rows, []string{r.Message, fmt.Sprint(r.Bytes), r.Operation, fmt.Sprintf("%.1f ns", r.OursNs), fmt.Sprintf("%.1f ns", r.ProtobufNs),
					fmt.Sprintf("%.2f", r.Ratio), fmt.Sprint(r.OursAllocs), fmt.Sprint(r.ProtobufAllocs)})
			}
			if c.json {
				return nil
			}
			return c.out.Table([]string{"message", "bytes", "operation", "rrts", "protobuf", "times", "allocations", "of protobuf"}, rows)
		},
	}
	cmd.Flags().DurationVar(&each, "each", 500*time.Millisecond, "how long each operation is measured")
	return cmd
}
