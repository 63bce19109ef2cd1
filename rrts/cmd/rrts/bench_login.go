package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

func (c *cli) benchLoginCommand() *cobra.Command {
	var (
		sfus, clients    int
		duration, rotate time.Duration
		destroy          bool
	)
	cmd := &cobra.Command{
		Use:   "login",
		Short: "logins per second, and the memory that they take",
		Long: `Starts a throw-away cluster and lets clients log in, each over a connection of its own and again as soon
as it was let in: TLS, a schema, a sealed login, a nonce that is spent on the disks of a quorum, and
Argon2id at the cluster's usual cost. --rotate has all login services make new keys meanwhile.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case clients < 1 || clients > maxBenchClients:
				return usageError{fmt.Errorf("--clients is %d, must be 1 to %d", clients, maxBenchClients)}
			case duration < time.Second:
				return usageError{fmt.Errorf("--duration is %v, must be at least 1s", duration)}
			}
			rrtsd, err := findRrtsd()
			if err != nil {
				return err
			}
			r, err := bench.Login(cmd.Context(), bench.LoginConfig{
				Clients: clients, Duration: duration, Rotate: rotate, Destroy: destroy,
				Arena: arena.Config{SFUs: sfus, Rrtsd: rrtsd}, Out: c.out,
			})
			if err != nil {
				return err
			}
			if c.json {
				return c.out.Object(r)
			}
			return c.out.Table([]string{"SFUs", "clients", "logins/s", "p50", "p99", "processor time", "failed", "rotations", "memory of the largest SFU"}, [][]string{{
				fmt.Sprint(r.SFUs), fmt.Sprint(clients), fmt.Sprintf("%.1f", r.LoginsPerS), micros(r.P50us), micros(r.P99us),
				fmt.Sprintf("%.0f ms", r.CPUMsPerLogin),
				fmt.Sprint(r.Failed), fmt.Sprint(r.Rotations), fmt.Sprintf("%.0f MB", r.MemoryMB),
			}})
		},
	}
	cmd.Flags().IntVar(&sfus, "sfus", 1, "number of SFUs, 1 to 7")
	cmd.Flags().IntVar(&clients, "clients", 8, "clients that log in at the same time")
	cmd.Flags().DurationVar(&duration, "duration", 10*time.Second, "length of the measurement")
	cmd.Flags().DurationVar(&rotate, "rotate", 0, "make new keys this often; 0 leaves it to the schedule")
	cmd.Flags().BoolVar(&destroy, "destroy", false, "and destroy the old ones at once")
	return cmd
}
