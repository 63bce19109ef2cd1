package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

func (c *cli) benchIdleCommand() *cobra.Command {
	var (
		sfus           int
		rest, duration time.Duration
		ethernet       bool
	)
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "what SFUs take that nobody asks for anything",
		Long: `Starts a throw-away cluster and leaves it alone. For each SFU it tells the processor time in percent of
a core, how often its threads woke, and its resident memory.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case duration < time.Second:
				return usageError{fmt.Errorf("--duration is %v, must be at least 1s", duration)}
			case rest < 0:
				return usageError{fmt.Errorf("--rest is %v, must be at least 0", rest)}
			}
			ns := attach(sfus)
			if ethernet && ns == nil {
				return inNamespaces(cmd.Context(), sfus)
			}
			rrtsd, err := findRrtsd()
			if err != nil {
				return err
			}
			r, err := bench.Idle(cmd.Context(), bench.IdleConfig{
				Rest: rest, Duration: duration,
				Arena: arena.Config{SFUs: sfus, Rrtsd: rrtsd, Namespaces: ns}, Out: c.out,
			})
			if err != nil {
				return err
			}
			if c.json {
				return c.out.Object(r)
			}
			var rows [][]string
			for _, s := range r.SFUs {
				role := "follower"
				if s.Leader {
					role = "leader"
				}
				rows = append(rows, []string{s.Name, role, fmt.Sprintf("%.2f %%", s.CPU), fmt.Sprintf("%.0f", s.Wakes), fmt.Sprintf("%.1f MB", s.RSSMB)})
			}
			return c.out.Table([]string{"SFU", "role", "of a core", "wake-ups/s", "memory"}, rows)
		},
	}
	cmd.Flags().IntVar(&sfus, "sfus", 3, "number of SFUs, 1 to 7")
	cmd.Flags().DurationVar(&rest, "rest", 5*time.Second, "how long the SFUs are left alone before the measurement")
	cmd.Flags().DurationVar(&duration, "duration", 30*time.Second, "length of the measurement")
	cmd.Flags().BoolVar(&ethernet, "ethernet", false, "raw frames in network namespaces, as root")
	return cmd
}
