package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/glance"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// statusTimeout is how long one SFU may take to answer.
const statusTimeout = 2 * time.Second

// viaFlag is --sfu of the commands that ask all SFUs through one.
func viaFlag(cmd *cobra.Command, via *string) {
	cmd.Flags().StringVar(via, "sfu", "", "ask through this SFU of this machine (default: any that answers)")
}

func (c *cli) statusCommand() *cobra.Command {
	var via string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "the cluster at a glance: SFUs, roles, rates, lag, networks, machines, alarms",
		Long: `Prints every SFU with its role and how far its state is behind the leader's, how many transactions a
second it orders and how long all but the slowest hundredth of them take, its networks, processor time and
memory; the networks between each two SFUs; the machines; backups and state transfers that are under way;
and the alarms. Rates are those of the last five seconds.

With --json each SFU is one object.

Exit status: 0 when every SFU answers, 1 when one does not, 3 when none could be reached.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op, cluster, err := c.operator(cmd.Context(), via)
			if err != nil {
				return err
			}
			defer op.Close()
			view := glance.Ask(cmd.Context(), op, c.newest(cmd.Context(), op, cluster))
			if err := c.showStatus(view); err != nil {
				return err
			}
			if n := view.Silent(); n > 0 {
				return fmt.Errorf("%d of %d SFUs do not answer", n, len(view.SFUs))
			}
			return nil
		},
	}
	viaFlag(cmd, &via)
	return cmd
}

// showStatus prints the cluster.
func (c *cli) showStatus(view *glance.Cluster) error {
	if !c.json {
		return c.out.Text(view.Screen("", 0, 0))
	}
	for i := range view.SFUs {
		if err := c.out.Object(&view.SFUs[i]); err != nil {
			return err
		}
	}
	return nil
}

// newest returns the cluster by the roster that it has now; while nobody leads, by
// what this machine starts from.
func (c *cli) newest(ctx context.Context, op *client.Client, cluster *config.Cluster) *config.Cluster {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answer, err := txnpb.MembersClient{Caller: op}.List(ctx, &txnpb.ListMembers{})
	if err != nil || answer.Roster == nil {
		return cluster
	}
	if now, err := members.Cluster(cluster, answer.Roster); err == nil {
		return now
	}
	return cluster
}
