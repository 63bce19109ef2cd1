package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/doctor"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

func (c *cli) doctorCommand() *cobra.Command {
	var fix bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "examine this machine: networks, names, clocks, disks, backups, keys, sleep, watchdog, units",
		Long: `Examines what the SFUs of this machine rely on, and says of each thing what was measured and, where it
is not well, what to do. It changes nothing. As root it sees everything: keys, and whether networks A
and B are two. Where an SFU runs, it also compares this machine's clock with those of the others.

With --fix it then does what is safe and needs no decision, says each thing that it did, and examines
again: it prepares the NICs of networks A and B anew, closes keys that others can look into, sets the
buffer limits of the package, and renews certificates where the master keys are. What takes a decision,
such as which cable, which clock or which disk, is left to you.

Before a machine is in a cluster it says whether the machine is fit for one.`,
		Example: "  rrts doctor\n  rrts doctor --fix",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.doctor(cmd.Context(), fix) },
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "do what is safe to do by itself, and examine again")
	return cmd
}

func (c *cli) doctor(ctx context.Context, fix bool) error {
	p := doctor.New(c.dir)
	p.Clocks = c.clocks
	p.Renew = func(ctx context.Context, sfu string) error { return c.renew(ctx, sfu, "", "") }
	c.out.Progress("examining")
	findings := p.Examine(ctx)
	c.out.Progress("")
	if fix {
		did := p.Fix(ctx, findings)
		if err := c.showFixed(did); err != nil {
			return err
		}
		if len(did) > 0 {
			p.Now = time.Now()
			c.out.Progress("examining again")
			findings = p.Examine(ctx)
			c.out.Progress("")
		}
	}
	if err := c.showFindings(findings, !fix); err != nil {
		return err
	}
	if doctor.Worst(findings) == doctor.Fail {
		return errors.New("something does not work: see the lines that begin with fail")
	}
	return nil
}

// showFixed tells each thing that was done.
func (c *cli) showFixed(did []doctor.Fixed) error {
	for _, f := range did {
		switch {
		case c.json:
			o := map[string]any{"did": f.Did}
			if f.Err != nil {
				o["error"] = f.Err.Error()
			}
			if err := c.out.Object(o); err != nil {
				return err
			}
		case f.Err != nil:
			c.out.Say("tried: %s: %v", f.Did, f.Err)
		default:
			c.out.Say("did: %s", f.Did)
		}
	}
	if len(did) == 0 {
		c.out.Say("there was nothing to do that is safe to do by itself")
	}
	return nil
}

func (c *cli) showFindings(findings []doctor.Finding, offer bool) error {
	var rows [][]string
	fixable := false
	for _, f := range findings {
		fixable = fixable || f.Fixable
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
	if err := c.out.Table(nil, rows); err != nil {
		return err
	}
	if fixable && offer {
		c.out.Say("\nrrts doctor --fix does some of it by itself")
	}
	return nil
}

// clocks asks an SFU of this machine how far the others' clocks are from its own.
func (c *cli) clocks(ctx context.Context) ([]doctor.PeerClock, error) {
	op, cluster, err := c.operator(ctx, "")
	if err != nil {
		return nil, err
	}
	defer op.Close()
	cluster = c.newest(ctx, op, cluster)
	own, err := config.LocalSFUs(c.dir)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range own {
		m := cluster.Member(name)
		if m == nil {
			continue
		}
		status, err := networksOfSFU(ctx, op, m.Number)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var all []doctor.PeerClock
		for _, n := range status {
			for i := range cluster.SFUs {
				if p := &cluster.SFUs[i]; uint32(p.Number) == n.Peer && n.ClockErrorMicros > 0 {
					all = append(all, doctor.PeerClock{SFU: p.Name, Machine: p.Machine,
						Offset: time.Duration(n.ClockOffsetMicros) * time.Microsecond, Error: time.Duration(n.ClockErrorMicros) * time.Microsecond})
				}
			}
		}
		return all, nil
	}
	return nil, errors.Join(errs...)
}

func networksOfSFU(ctx context.Context, op *client.Client, number uint16) ([]monitorpb.NetworkStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	s, err := monitorpb.MonitorClient{Caller: op.To(number)}.Status(ctx, &monitorpb.StatusRequest{})
	if err != nil {
		return nil, err
	}
	return s.Networks, nil
}
