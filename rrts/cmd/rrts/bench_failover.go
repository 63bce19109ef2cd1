package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

// maxBenchKills bounds the kills of one measurement, each of which takes seconds.
const maxBenchKills = 1000

func (c *cli) benchFailoverCommand() *cobra.Command {
	var (
		sfus, clients, kills int
		input                string
		ethernet             bool
	)
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "how long clients wait when the leader is killed, and when SFUs are stopped",
		Long: `Starts a throw-away cluster and lets clients pay, each one payment after the other. The leader is
killed with SIGKILL again and again, and started again each time; then every SFU is stopped and
started in turn, as an upgrade does it. For each of these the longest time that any client went
without an answer is taken. At the end the stores are audited against what the clients were told.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case sfus < 3:
				return usageError{fmt.Errorf("--sfus is %d, must be at least 3: fewer do not go on without their leader", sfus)}
			case clients < 1 || clients > maxBenchClients:
				return usageError{fmt.Errorf("--clients is %d, must be 1 to %d", clients, maxBenchClients)}
			case kills < 0 || kills > maxBenchKills:
				return usageError{fmt.Errorf("--kills is %d, must be 0 to %d", kills, maxBenchKills)}
			}
			ns := attach(sfus)
			if ethernet && ns == nil {
				return inNamespaces(cmd.Context(), sfus)
			}
			payments, err := readPayments(input)
			if err != nil {
				return err
			}
			rrtsd, err := findRrtsd()
			if err != nil {
				return err
			}
			r, err := bench.Failover(cmd.Context(), bench.FailoverConfig{
				Kills: kills, Clients: clients, Payments: payments,
				Arena: arena.Config{SFUs: sfus, Rrtsd: rrtsd, Namespaces: ns}, Out: c.out,
			})
			if err != nil {
				return err
			}
			return c.showFailover(r)
		},
	}
	cmd.Flags().IntVar(&sfus, "sfus", 3, "number of SFUs, 3 to 7")
	cmd.Flags().IntVar(&clients, "clients", 16, "clients that pay at the same time")
	cmd.Flags().IntVar(&kills, "kills", 20, "how often the leader is killed")
	cmd.Flags().StringVar(&input, "input", "", "CSV file of payments (default: the shipped ones)")
	cmd.Flags().BoolVar(&ethernet, "ethernet", false, "raw frames in network namespaces, as root")
	return cmd
}

func (c *cli) showFailover(r *bench.FailoverReport) error {
	for _, f := range r.Findings {
		c.out.Say("audit: %s", f)
	}
	if c.json {
		if err := c.out.Object(r); err != nil {
			return err
		}
	} else {
		millis := func(ms float64) string { return fmt.Sprintf("%.1f ms", ms) }
		err := c.out.Table([]string{"what", "times", "longest gap of a client: median", "worst"}, [][]string{
			{"nothing", "", "", millis(r.CalmGapMax)},
			{"leader killed", fmt.Sprint(r.Kills), millis(r.KillGapP50), millis(r.KillGapMax)},
			{"SFU stopped and started", fmt.Sprint(r.Stops), millis(r.StopGapP50), millis(r.StopGapMax)},
		})
		if err != nil {
			return err
		}
		c.out.Say("%d payments, %d failed requests, lost %d, duplicated %d, audit %s", r.Submitted, r.Failed, r.Lost, r.Duplicated, r.Audit)
	}
	if r.Audit != "ok" {
		return errors.New("the audit found faults")
	}
	return nil
}
