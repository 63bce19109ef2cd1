package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

const (
	// maxFloodRate bounds the bad connections of a second, maxFloodAddresses from how
	// many addresses of the loopback network they come.
	maxFloodRate      = 100_000
	maxFloodAddresses = 250
)

func (c *cli) benchGatewayCommand() *cobra.Command {
	cfg := bench.GatewayConfig{}
	var sfus int
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "what thousands of clients cost a gateway, and whether a flood disturbs the honest ones",
		Long: `Starts a throw-away cluster and connects all clients to the gateway of one SFU, which does not lead.
Idle clients say nothing but that they live; active ones pay, each one payment after the other.
Then honest clients pay alone, and again while attackers of a process of their own flood that
gateway with half-open, slow and nonsensical connections, from several addresses, and newcomers
log in. Memory is that of the gateway's process: the clients live in this one.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, n := range []struct {
				flag     string
				n, least int
				most     int
			}{
				{"idle", cfg.Idle, 0, 60_000}, {"active", cfg.Active, 0, maxBenchClients}, {"honest", cfg.Honest, 0, maxBenchClients},
				{"attackers", cfg.Flood.Attackers, 1, maxBenchClients}, {"rate", cfg.Flood.Rate, 1, maxFloodRate},
				{"addresses", cfg.Flood.Addresses, 1, maxFloodAddresses},
			} {
				if n.n < n.least || n.n > n.most {
					return usageError{fmt.Errorf("--%s is %d, must be %d to %d", n.flag, n.n, n.least, n.most)}
				}
			}
			if cfg.Duration < time.Second {
				return usageError{fmt.Errorf("--duration is %v, must be at least 1s", cfg.Duration)}
			}
			if cfg.Rest <= 0 {
				return usageError{fmt.Errorf("--rest is %v, must be more than 0", cfg.Rest)}
			}
			rrtsd, err := findRrtsd()
			if err != nil {
				return err
			}
			if cfg.Self, err = os.Executable(); err != nil {
				return err
			}
			cfg.Arena, cfg.Out = arena.Config{SFUs: sfus, Rrtsd: rrtsd}, c.out
			r, err := bench.Gateway(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if c.json {
				return c.out.Object(r)
			}
			return c.showGateway(r)
		},
	}
	cmd.Flags().IntVar(&sfus, "sfus", 3, "number of SFUs, 1 to 7")
	cmd.Flags().IntVar(&cfg.Idle, "idle", 10_000, "clients that are connected and do nothing")
	cmd.Flags().IntVar(&cfg.Active, "active", 1000, "clients that pay at the same time")
	cmd.Flags().IntVar(&cfg.Honest, "honest", 100, "clients that pay beside a flood; 0: no flood")
	cmd.Flags().IntVar(&cfg.Flood.Attackers, "attackers", 1000, "bad connections that are open at the same time")
	cmd.Flags().IntVar(&cfg.Flood.Rate, "rate", 1000, "bad connections that are opened in a second, at the most")
	cmd.Flags().IntVar(&cfg.Flood.Addresses, "addresses", 16, "addresses from which they come")
	cmd.Flags().DurationVar(&cfg.Duration, "duration", 10*time.Second, "length of each measurement of payments")
	cmd.Flags().DurationVar(&cfg.Rest, "rest", 15*time.Second, "for how long idle clients are looked at")
	return cmd
}

func (c *cli) showGateway(r *bench.GatewayReport) error {
	err := c.out.Table([]string{"clients", "payments/s", "p50", "p99", "memory of the gateway, each", "its processor time at rest"}, [][]string{
		{"none", "", "", "", "", fmt.Sprintf("%.1f %%", r.EmptyCPU)},
		{fmt.Sprintf("%d idle", r.Idle), "", "", "", fmt.Sprintf("%.1f kB", r.IdleKBPerConnection), fmt.Sprintf("%.1f %%", r.IdleCPU)},
		{fmt.Sprintf("%d active", r.Active), fmt.Sprintf("%.0f", r.SubmitsPerS), micros(r.P50us), micros(r.P99us), fmt.Sprintf("%.1f kB", r.ActiveKBPerConnection), ""},
		{fmt.Sprintf("%d honest", r.Honest), "", micros(r.NormalP50us), micros(r.NormalP99us), "", ""},
		{fmt.Sprintf("%d beside a flood", r.Honest), "", micros(r.FloodP50us), micros(r.FloodP99us), "", ""},
	})
	if err != nil {
		return err
	}
	c.out.Say("%d errors; %.0f bad connections a second: p99 %.2f times the usual; %d newcomers, p99 %s",
		r.Errors, r.FloodPerS, r.FloodRatio, r.Opened, micros(r.OpenP99us))
	return nil
}

// floodCommand is the process that `rrts bench gateway` starts for its flood.
func (c *cli) floodCommand() *cobra.Command {
	var f bench.Flood
	cmd := &cobra.Command{
		Use: "flood ADDRESS", Short: "the attackers of rrts bench gateway", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := f.Attack(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Println(n)
			return err
		},
	}
	cmd.Flags().IntVar(&f.Attackers, "attackers", 1, "")
	cmd.Flags().IntVar(&f.Rate, "rate", 1, "")
	cmd.Flags().IntVar(&f.Addresses, "addresses", 1, "")
	return cmd
}
