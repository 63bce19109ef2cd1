package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/doctor"
)

func (c *cli) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "examine this machine: networks, names, clock, disk, keys, sleep, watchdog, units",
		Long: `Examines what the SFUs of this machine rely on, and says of each thing what was measured and, where it
is not well, what to do. It changes nothing. As root it sees everything: keys, and whether networks A
and B are two.

Before a machine is in a cluster it says whether the machine is fit for one.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.out.Progress("examining")
			findings := doctor.New(c.dir).Examine(cmd.Context())
			c.out.Progress("")
			if err := c.showFindings(findings); err != nil {
				return err
			}
			if doctor.Worst(findings) == doctor.Fail {
				return errors.New("something does not work: see the lines that begin with fail")
			}
			return nil
		},
	}
}

func (c *cli) showFindings(findings []doctor.Finding) error {
	var rows [][]string
	for _, f := range findings {
		if c.json {
			if err := c.out.Object(f); err != nil {
				return err
			}
			continue
		}
		text := f.Measured
		if f.Cure != "" {
			text += " → " + f.Cure
		}
		rows = append(rows, []string{string(f.Verdict), f.Check, strings.ReplaceAll(text, "\n", " ")})
	}
	if c.json {
		return nil
	}
	return c.out.Table(nil, rows)
}
