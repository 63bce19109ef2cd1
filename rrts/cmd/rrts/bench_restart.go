package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/bench"
)

// maxBenchTransactions bounds the history that one measurement makes: what clients
// were told of it stays in memory for the audit.
const maxBenchTransactions = 20_000_000

func (c *cli) benchRestartCommand() *cobra.Command {
	var (
		sfus, clients int
		transactions  int64
		input         string
	)
	cmd := &cobra.Command{
		Use:   "restart",
		Short: "how soon SFUs with a history are back",
		Long: `Starts a throw-away cluster and lets clients pay until it has a history. Then, while they go on, one
SFU is killed and started, stopped and started, and at last all are killed at once and started: each
time it is measured how long that takes until the SFU is level with the others, or until the next
payment is committed. At the end the stores are audited.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case sfus < 3:
				return usageError{fmt.Errorf("--sfus is %d, must be at least 3: fewer do not go on without one", sfus)}
			case clients < 1 || clients > maxBenchClients:
				return usageError{fmt.Errorf("--clients is %d, must be 1 to %d", clients, maxBenchClients)}
			case transactions < 1 || transactions > maxBenchTransactions:
				return usageError{fmt.Errorf("--transactions is %d, must be 1 to %d", transactions, maxBenchTransactions)}
			}
			payments, err := readPayments(input)
			if err != nil {
				return err
			}
			rrtsd, err := findRrtsd()
			if err != nil {
				return err
			}
			r, err := bench.Restart(cmd.Context(), bench.RestartConfig{
				Transactions: transactions, Clients: clients, Payments: payments, Arena: arena.Config{SFUs: sfus, Rrtsd: rrtsd}, Out: c.out,
			})
			if err != nil {
				return err
			}
			return c.showRestart(r)
		},
	}
	cmd.Flags().IntVar(&sfus, "sfus", 3, "number of SFUs, 3 to 7")
	cmd.Flags().IntVar(&clients, "clients", 64, "clients that pay at the same time")
	cmd.Flags().Int64Var(&transactions, "transactions", 1_000_000, "length of the history")
	cmd.Flags().StringVar(&input, "input", "", "CSV file of payments (default: the shipped ones)")
	return cmd
}

func (c *cli) showRestart(r *bench.RestartReport) error {
	for _, f := range r.Findings {
		c.out.Say("audit: %s", f)
	}
	if c.json {
		if err := c.out.Object(r); err != nil {
			return err
		}
	} else {
		seconds := func(s float64) string { return fmt.Sprintf("%.2f s", s) }
		err := c.out.Table([]string{"transactions", "SFU killed: level after", "stopped: level after", "all killed: next payment after", "audit"},
			[][]string{{fmt.Sprint(r.Transactions), seconds(r.Killed), seconds(r.Stopped), seconds(r.AllKilled), r.Audit}})
		if err != nil {
			return err
		}
	}
	if r.Audit != "ok" {
		return errors.New("the audit found faults")
	}
	return nil
}
