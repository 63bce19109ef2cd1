package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/glance"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/engine/alarm"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/sysd"
)

func (c *cli) alarmsCommand() *cobra.Command {
	var via string
	cmd := &cobra.Command{
		Use:   "alarms",
		Short: "list the alarms that stand in the cluster",
		Long: `Lists the alarms that stand, of all SFUs, the most severe first. What one means, what the system did
already and what to do says "rrts alarms explain NAME".

Exit status: 0 when none stands, or all are looked after by somebody or need nobody; 1 when a warning or a
critical one stands that nobody looks after.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := c.allAlarms(cmd.Context(), via, 0)
			if err != nil {
				return err
			}
			waiting := 0
			for _, a := range all {
				if a.AcknowledgedBy == "" && a.Severity != alarm.Info.String() {
					waiting++
				}
			}
			if err := c.printAlarms(all); err != nil {
				return err
			}
			if waiting > 0 {
				return errSilent{exitFailure}
			}
			return nil
		},
	}
	viaFlag(cmd, &via)
	cmd.AddCommand(c.alarmsAckCommand(), c.alarmsHistoryCommand(), c.alarmsTestCommand(), c.alarmsExplainCommand())
	return cmd
}

func (c *cli) alarmsHistoryCommand() *cobra.Command {
	var via string
	var limit int
	cmd := &cobra.Command{
		Use:   "history",
		Short: "list the alarms that stood, the newest first",
		Long: `Lists the alarms that ended, of all SFUs. Each SFU remembers its last 256, across restarts. One that is
marked as lost stood when its SFU was stopped, and did not come back afterwards: nobody saw how it ended.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit is %d, must be at least 1", limit)}
			}
			all, err := c.allAlarms(cmd.Context(), via, limit)
			if err != nil {
				return err
			}
			slices.SortStableFunc(all, func(a, b glance.Alarm) int { return -a.Cleared.Compare(*b.Cleared) })
			return c.printAlarms(all[:min(limit, len(all))])
		},
	}
	viaFlag(cmd, &via)
	cmd.Flags().IntVar(&limit, "limit", 20, "the longest list that is wanted")
	return cmd
}

func (c *cli) alarmsAckCommand() *cobra.Command {
	var by string
	var undo bool
	cmd := &cobra.Command{
		Use:   "ack NAME",
		Short: "say that somebody looks after an alarm",
		Long: `Says at every SFU where an alarm of that name stands that somebody looks after it. It stays in the list, with
who that is, until it ends; the next one of its name is nobody's again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name the alarm as rrts alarms does: %s NAME", cmd.CommandPath())}
			}
			if by == "" && !undo {
				by = whoami()
			}
			if undo {
				by = ""
			}
			var mu sync.Mutex
			var at []string
			err := c.everySFU(cmd.Context(), "", func(ctx context.Context, m *config.Member, mon monitorpb.MonitorClient) error {
				a, err := mon.Acknowledge(ctx, &monitorpb.AcknowledgeRequest{Name: args[0], By: by})
				if err == nil && a.Stands {
					mu.Lock()
					at = append(at, m.Name)
					mu.Unlock()
				}
				return err
			})
			if len(at) == 0 {
				return errors.Join(fmt.Errorf("no alarm %q stands; rrts alarms lists those that do", args[0]), err)
			}
			slices.Sort(at)
			c.out.Say("%s, at %s: %s", args[0], strings.Join(at, ", "), cmp.Or(by, "nobody")+" looks after it")
			return err
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "who looks after it (default: you)")
	cmd.Flags().BoolVar(&undo, "undo", false, "nobody looks after it any more")
	return cmd
}

func (c *cli) alarmsTestCommand() *cobra.Command {
	var sfu string
	var stands time.Duration
	cmd := &cobra.Command{
		Use:   "test [KIND]",
		Short: "raise an alarm, to see that it arrives",
		Long: `Raises the alarm alarm-test at every SFU, or at one. It is seen in rrts alarms, in rrts top, in the journal
(journalctl -x MESSAGE_ID=…, printed here) and in the mail that goes out on alarms, and ends by itself.

With a KIND, such as disk-full, the alarm KIND@test is raised, with the severity of its kind: a critical
one wakes those whom critical ones wake. An event, which does not stand, is logged once.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := testKind
			if len(args) > 0 {
				kind = args[0]
			}
			k := alarm.Find(kind)
			switch {
			case len(args) > 1:
				return usageError{fmt.Errorf("name one kind of alarm, or none: %s [KIND]", cmd.CommandPath())}
			case k == nil || k.Name != kind:
				return usageError{fmt.Errorf("there is no kind of alarm %q; %s lists them", kind, alarmsPage)}
			case stands < time.Second || stands > maxTest || stands%time.Second != 0:
				return usageError{fmt.Errorf("--for is %v, must be whole seconds from 1s to %v", stands, maxTest)}
			}
			found := sfu == ""
			err := c.everySFU(cmd.Context(), "", func(ctx context.Context, m *config.Member, mon monitorpb.MonitorClient) error {
				if sfu != "" && m.Name != sfu {
					return nil
				}
				found = true
				_, err := mon.TestAlarm(ctx, &monitorpb.TestAlarmRequest{By: whoami(), Kind: kind, Seconds: uint32(stands / time.Second)})
				return err
			})
			if err == nil && !found {
				err = usageError{fmt.Errorf("the cluster has no SFU %q", sfu)}
			}
			if err != nil {
				return err
			}
			name := kind
			if kind != testKind {
				name += "@test"
			}
			if k.Event {
				c.out.Say("%s is logged: journalctl -x MESSAGE_ID=%s", kind, sysd.MessageID(kind))
			} else {
				c.out.Say("%s stands for %v: rrts alarms; journalctl -x MESSAGE_ID=%s", name, stands, sysd.MessageID(kind))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&sfu, "at", "", "only at this SFU")
	cmd.Flags().DurationVar(&stands, "for", time.Minute, "how long it stands")
	return cmd
}

const (
	testKind   = "alarm-test"
	maxTest    = time.Hour // the Monitor's bound
	alarmsPage = "/usr/share/doc/rrts/alarms.md"
)

func (c *cli) alarmsExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain NAME",
		Short: "say what an alarm means, what was done already, and what to do",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name one alarm: %s NAME", cmd.CommandPath())}
			}
			k := alarm.Find(args[0])
			if k == nil {
				return usageError{fmt.Errorf("there is no alarm %q; rrts alarms lists those that stand, %s all", args[0], alarmsPage)}
			}
			if c.json {
				return c.out.Object(struct {
					Name     string `json:"name"`
					Severity string `json:"severity"`
					Subject  string `json:"subject"`
					Means    string `json:"means"`
					Done     string `json:"done"`
					Do       string `json:"do"`
				}{k.Name, k.Severity.String(), k.Subject, k.Means, k.Done, k.Do})
			}
			return c.out.Text(k.Text())
		},
	}
}

// everySFU asks every SFU's Monitor at once. The error names those that did not answer.
func (c *cli) everySFU(ctx context.Context, via string, ask func(context.Context, *config.Member, monitorpb.MonitorClient) error) error {
	op, cluster, err := c.operator(ctx, via)
	if err != nil {
		return err
	}
	defer op.Close()
	return askEach(ctx, op, c.newest(ctx, op, cluster), ask)
}

func askEach(ctx context.Context, op *client.Client, cluster *config.Cluster, ask func(context.Context, *config.Member, monitorpb.MonitorClient) error) error {
	errs := make([]error, len(cluster.SFUs))
	var asking sync.WaitGroup
	for i := range cluster.SFUs {
		m := &cluster.SFUs[i]
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, statusTimeout)
			defer cancel()
			if err := ask(ctx, m, monitorpb.MonitorClient{Caller: op.To(m.Number)}); err != nil {
				errs[i] = fmt.Errorf("%s: %w", m.Name, err)
			}
		})
	}
	asking.Wait()
	return errors.Join(errs...)
}

// allAlarms are the alarms that stand in the cluster or, with ended above 0, so many of
// each SFU's that ended. Some SFUs' are better than none: only when none answers is that
// an error.
func (c *cli) allAlarms(ctx context.Context, via string, ended int) ([]glance.Alarm, error) {
	var mu sync.Mutex
	view, answers := glance.Cluster{}, 0
	err := c.everySFU(ctx, via, func(ctx context.Context, m *config.Member, mon monitorpb.MonitorClient) error {
		a, err := mon.Alarms(ctx, &monitorpb.AlarmsRequest{Ended: uint32(ended)})
		if err != nil {
			return err
		}
		list := a.Standing
		if ended > 0 {
			list = a.Ended
		}
		s := glance.SFU{Name: m.Name}
		for i := range list {
			s.Alarms = append(s.Alarms, glance.TakeAlarm(m.Name, &list[i]))
		}
		mu.Lock()
		defer mu.Unlock()
		view.SFUs = append(view.SFUs, s)
		answers++
		return nil
	})
	if answers == 0 {
		return nil, err
	}
	if err != nil {
		c.out.Say("rrts: not all SFUs answer: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	slices.SortFunc(view.SFUs, func(a, b glance.SFU) int { return strings.Compare(a.Name, b.Name) })
	return view.Alarms(), nil
}

// printAlarms prints a list.
func (c *cli) printAlarms(all []glance.Alarm) error {
	var rows [][]string
	for _, a := range all {
		if c.json {
			if err := c.out.Object(a); err != nil {
				return err
			}
			continue
		}
		when, count := "", fmt.Sprint(a.Count)
		if a.Raised != nil {
			when = a.Raised.Local().Format(time.DateTime)
		}
		if a.Flapping {
			count += " flapping"
		}
		note := a.Detail
		switch {
		case a.Lost:
			note = "(lost at a restart) " + note
		case a.Cleared != nil:
			note = fmt.Sprintf("(stood %v) %s", a.Cleared.Sub(*a.Raised).Round(time.Second), note)
		}
		rows = append(rows, []string{a.Severity, a.SFU, a.Name, when, count, a.AcknowledgedBy, note})
	}
	switch {
	case c.json:
		return nil
	case len(rows) == 0:
		return c.out.Text("no alarms\n")
	}
	return c.out.Table([]string{"SEVERITY", "SFU", "ALARM", "SINCE", "COUNT", "LOOKED AFTER BY", "DETAIL"}, rows)
}

// whoami is who runs the command.
func whoami() string {
	u, err := user.Current()
	if err != nil {
		return "somebody"
	}
	return u.Username
}
