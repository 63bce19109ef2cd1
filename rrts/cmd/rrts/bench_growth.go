package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

const (
	maxBenchAccounts  = 100_000_000
	maxBenchTransfers = 1_000_000_000
)

func (c *cli) benchGrowthCommand() *cobra.Command {
	var (
		sfus, clients, batch int
		accounts, transfers  uint64
		rest                 time.Duration
	)
	cmd := &cobra.Command{
		Use:   "growth",
		Short: "what a transfer costs, and how much memory the SFUs take, as the ledger grows",
		Long: `Starts a throw-away cluster, opens accounts, and lets the ledger grow to a thousand transfers, to ten
thousand and so on. For each stretch it tells the time and the processor time of a transfer, and
the memory of the largest SFU. Transactions are submitted at the SFUs' control sockets.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case clients < 1 || clients > maxBenchClients:
				return usageError{fmt.Errorf("--clients is %d, must be 1 to %d", clients, maxBenchClients)}
			case batch < 1 || batch > maxBenchBatch:
				return usageError{fmt.Errorf("--batch is %d, must be 1 to %d", batch, maxBenchBatch)}
			case accounts < 2 || accounts > maxBenchAccounts:
				return usageError{fmt.Errorf("--accounts is %d, must be 2 to %d", accounts, maxBenchAccounts)}
			case transfers < 1000 || transfers > maxBenchTransfers:
				return usageError{fmt.Errorf("--transfers is %d, must be 1000 to %d", transfers, maxBenchTransfers)}
			}
			rrtsd, err := findRrtsd()
			if err != nil {
				return err
			}
			var rows [][]string
			err = bench.Growth(cmd.Context(), bench.GrowthConfig{
				Accounts: accounts, Transfers: transfers, Batch: batch, Clients: clients, Rest: rest,
				Arena: arena.Config{SFUs: sfus, Rrtsd: rrtsd}, Out: c.out,
				Step: func(s bench.GrowthStep) error {
					if c.json {
						return c.out.Object(s)
					}
					rows = append(rows, []string{
						fmt.Sprint(s.Transfers), fmt.Sprintf("%.2f µs", s.WallUs), fmt.Sprintf("%.2f µs", s.SFUCPUUs),
						fmt.Sprintf("%.0f MB", s.RSSMB), fmt.Sprintf("%.0f MB", s.MaxRSSMB), fmt.Sprintf("%.0f MB", s.StateMB),
					})
					return nil
				},
			})
			if err != nil || c.json {
				return err
			}
			return c.out.Table([]string{"transfers", "time of one", "CPU of one, per SFU", "memory", "at most", "on disk"}, rows)
		},
	}
	cmd.Flags().IntVar(&sfus, "sfus", 3, "number of SFUs, 1 to 7")
	cmd.Flags().IntVar(&clients, "clients", 4, "clients that submit at the same time")
	cmd.Flags().IntVar(&batch, "batch", 1000, "operations in a transaction")
	cmd.Flags().Uint64Var(&accounts, "accounts", 10_000, "accounts that are opened first")
	cmd.Flags().Uint64Var(&transfers, "transfers", 1_000_000, "up to how many transfers the ledger grows")
	cmd.Flags().DurationVar(&rest, "rest", 5*time.Second, "how long the SFUs are left alone before their steady memory is read")
	return cmd
}
