package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/demo"
	"virtualservicesinc.com/rrts/drill"
)

// demoSFUs is the number of SFUs of a demo.
const demoSFUs = 3

// demoInputs is where the shipped payments are looked for: as installed, and in a
// checkout, beside the programs or below the directory.
var demoInputs = []string{"/usr/share/rrts/demo/payments.csv", "packaging/demo/payments.csv", "../packaging/demo/payments.csv"}

func (c *cli) demoCommand() *cobra.Command {
	var (
		duration time.Duration
		input    string
		ethernet bool
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "three SFUs on this machine move payments, lose a machine and a network, and lose nothing",
		Long: `Starts three SFUs as three processes, opens accounts, and lets sixteen clients submit the payments
of a CSV file. On the way the leader is killed with SIGKILL, network A is cut, the killed SFU is
started again and network A comes back. Then all is stopped and the stores on disk are audited
against what the clients were told. The exit status is 0 only if the audit is ok.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ns := attach(demoSFUs)
			if ethernet && ns == nil {
				return inNamespaces(cmd.Context(), demoSFUs)
			}
			payments, err := readPayments(input)
			if err != nil {
				return err
			}
			rrtsd, err := findRrtsd()
			if err != nil {
				return err
			}
			report, err := demo.Run(cmd.Context(), demo.Config{
				Payments: payments, For: duration, Arena: arena.Config{Rrtsd: rrtsd, Namespaces: ns}, Out: c.out,
			})
			if err != nil {
				return err
			}
			return c.showDemo(report)
		},
	}
	cmd.Flags().DurationVar(&duration, "for", 0, "repeat the payments for this long, instead of once")
	cmd.Flags().StringVar(&input, "input", "", "CSV file of payments (default: the shipped ones)")
	cmd.Flags().BoolVar(&ethernet, "ethernet", false, "raw frames in network namespaces, as root")
	return cmd
}

// readPayments reads the payments that a user named, else the shipped ones.
func readPayments(named string) ([]drill.Payment, error) {
	if named != "" {
		return drill.ReadPayments(named)
	}
	paths := demoInputs
	if self, err := os.Executable(); err == nil {
		paths = append(paths, filepath.Join(filepath.Dir(self), "../packaging/demo/payments.csv"))
	}
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return drill.ReadPayments(p)
		}
	}
	return nil, errors.New("the shipped payments are not installed: name a file with --input")
}

func (c *cli) showDemo(r *demo.Report) error {
	for _, f := range r.Findings {
		c.out.Say("audit: %s", f)
	}
	if c.json {
		if err := c.out.Object(r); err != nil {
			return err
		}
	} else {
		rows := [][]string{
			{"submitted", fmt.Sprint(r.Submitted)},
			{"committed", fmt.Sprint(r.Committed)},
			{"aborted", fmt.Sprint(r.Aborted)},
			{"lost", fmt.Sprint(r.Lost)},
			{"duplicated", fmt.Sprint(r.Duplicated)},
			{"longest gap of a client", fmt.Sprintf("%d ms", r.LongestGapMs)},
			{"payments a second", fmt.Sprintf("%.0f", float64(r.Submitted)/r.Seconds)},
			{"audit", r.Audit},
		}
		if err := c.out.Table(nil, rows); err != nil {
			return err
		}
	}
	if r.Audit != "ok" {
		return errors.New("the audit found faults")
	}
	return nil
}
