package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

func (c *cli) benchCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "measure what a cluster, or the interconnect, reaches on these machines"}
	cmd.AddCommand(c.benchTxnCommand(), c.benchFailoverCommand(), c.benchRestartCommand(), c.benchGrowthCommand(), c.benchIdleCommand(), c.benchNetCommand(), c.benchLoginCommand(),
		c.benchGatewayCommand(), c.floodCommand(), c.benchCodecCommand())
	return cmd
}

const (
	maxBenchClients = 20000
	// maxBenchBatch is the bound on the operations of one transaction.
	maxBenchBatch = 8192
)

func (c *cli) benchTxnCommand() *cobra.Command {
	var (
		sfus, clients, batch int
		duration             time.Duration
		ethernet             bool
	)
	cmd := &cobra.Command{
		Use:   "txn",
		Short: "transactions per second and their latency, gateways, TLS and fsync included",
		Long: `Starts a throw-away cluster, opens accounts and lets clients submit transfers, each one transaction
after the other over a connection of its own. Every transaction is on the disks of a quorum before
it is answered.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case clients < 1 || clients > maxBenchClients:
				return usageError{fmt.Errorf("--clients is %d, must be 1 to %d", clients, maxBenchClients)}
			case batch < 1 || batch > maxBenchBatch:
				return usageError{fmt.Errorf("--batch is %d, must be 1 to %d", batch, maxBenchBatch)}
			case duration < time.Second:
				return usageError{fmt.Errorf("--duration is %v, must be at least 1s", duration)}
			}
			ns := attach(sfus)
			if ethernet && ns == nil {
				return inNamespaces(cmd.Context(), sfus)
			}
			rrtsd, err := findRrtsd()
			if err != nil {
				return err
			}
			r, err := bench.Txn(cmd.Context(), bench.TxnConfig{
				Clients: clients, Batch: batch, Duration: duration,
				Arena: arena.Config{SFUs: sfus, Rrtsd: rrtsd, Namespaces: ns}, Out: c.out,
			})
			if err != nil {
				return err
			}
			if c.json {
				return c.out.Object(r)
			}
			return c.out.Table([]string{"SFUs", "clients", "batch", "transfers/s", "submits/s", "p50", "p99", "p99.9", "errors"}, [][]string{{
				fmt.Sprint(r.SFUs), fmt.Sprint(clients), fmt.Sprint(batch), fmt.Sprintf("%.0f", r.TransfersPerS), fmt.Sprintf("%.0f", r.SubmitsPerS),
				micros(r.P50us), micros(r.P99us), micros(r.P999us), fmt.Sprint(r.Errors),
			}})
		},
	}
	cmd.Flags().IntVar(&sfus, "sfus", 3, "number of SFUs, 1 to 7")
	cmd.Flags().IntVar(&clients, "clients", 16, "clients that submit at the same time")
	cmd.Flags().IntVar(&batch, "batch", 1, "transfers in a transaction")
	cmd.Flags().DurationVar(&duration, "duration", 10*time.Second, "length of the measurement")
	cmd.Flags().BoolVar(&ethernet, "ethernet", false, "raw frames in network namespaces, as root")
	return cmd
}

// micros prints a latency.
func micros(us int64) string { return (time.Duration(us) * time.Microsecond).String() }
