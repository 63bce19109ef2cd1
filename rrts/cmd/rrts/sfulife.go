package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func (c *cli) sfuRemoveCommand() *cobra.Command {
	var force, files bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "take an SFU out of the cluster for good",
		Long: `Takes an SFU out of the cluster: it loses its vote first, where it has one, then its place. If it is
this machine's it is stopped, its configuration and keys are removed, and its state is moved aside.
On another machine, run rrts sfu remove NAME --files there: it is refused by the others from now on, and
says so if it is started. Its number is never given again.

With --files only what this machine has of it is taken away: for an SFU that is out of the cluster.`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if files {
				return c.removeFiles(cmd.Context(), args[0])
			}
			return c.remove(cmd.Context(), args[0], force)
		},
	}
	cmd.Flags().BoolVar(&files, "files", false, "only this machine's files of an SFU that is out of the cluster")
	cmd.Flags().BoolVar(&force, "force", false, "even if the cluster cannot work without it")
	return cmd
}

func (c *cli) remove(ctx context.Context, name string, force bool) error {
	op, cluster, err := c.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	m, err := c.findMember(ctx, op, name)
	if err != nil {
		return err
	}
	if err := c.mayGo(ctx, op, name, force); err != nil {
		return err
	}
	c.out.Progress("removing %s", name)
	answer, err := txnpb.MembersClient{Caller: op}.Remove(ctx, &txnpb.RemoveMember{Number: m.Number})
	c.out.Progress("")
	switch {
	case err != nil:
		return err
	case answer.Refused != "":
		return errors.New(answer.Refused)
	}
	if err := c.renewShared(cluster, answer.Roster); err != nil {
		return err
	}
	own, err := c.machineName()
	if err != nil {
		return err
	}
	where := "take its files away on " + m.Machine + ": rrts sfu remove " + name + " --files"
	if m.Machine == own {
		state, err := c.clear(ctx, name)
		if err != nil {
			return err
		}
		where = "its state is in " + state
	}
	if c.json {
		return c.out.Object(map[string]any{"removed": name, "number": m.Number, "machine": m.Machine})
	}
	return c.out.Table(nil, [][]string{{name + " is no member any more; " + where}})
}

// removeFiles takes away what this machine has of an SFU that is out of the cluster.
// One that runs is in it, or has not been told yet.
func (c *cli) removeFiles(ctx context.Context, name string) error {
	if _, err := os.Stat(filepath.Join(c.dir, "sfu", name+".toml")); err != nil {
		return usageError{fmt.Errorf("this machine has no files of an SFU %q", name)}
	}
	if c.dir == config.DefaultDir && systemdRuns() && exec.CommandContext(ctx, "systemctl", "is-active", "--quiet", unitOf(name)).Run() == nil {
		return fmt.Errorf("%s runs: take it out of the cluster first, with rrts sfu remove %s where the master keys are; then it stops by itself", name, name)
	}
	state, err := c.clear(ctx, name)
	if err != nil {
		return err
	}
	if c.json {
		return c.out.Object(map[string]any{"cleared": name, "state": state})
	}
	return c.out.Table(nil, [][]string{{"configuration and keys of " + name + " are removed; its state is in " + cmp.Or(state, "no place any more")}})
}

// clear removes an SFU's configuration and keys from this machine, and moves what it
// has of state out of the way of the next SFU of that name. It returns where that is.
func (c *cli) clear(ctx context.Context, name string) (state string, err error) {
	if c.dir == config.DefaultDir && systemdRuns() {
		if err := systemctl(ctx, "disable", "--now", unitOf(name)); err != nil {
			return "", err
		}
	}
	return c.aside(name)
}

// renewShared takes note on this machine of who is in the cluster now.
func (c *cli) renewShared(cluster *config.Cluster, roster *txnpb.Roster) error {
	after, err := members.Cluster(cluster, roster)
	if err != nil {
		return fmt.Errorf("the cluster's roster: %w", err)
	}
	kit, err := config.LoadClientKit(filepath.Join(c.dir, "client-kit.toml"))
	if err != nil {
		return err
	}
	kit.Gateways = after.Gateways()
	return c.here().Renew((&genesis.Welcome{Cluster: after, Kit: kit.Marshal()}).SharedFiles()...)
}

func (c *cli) sfuStopCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "stop NAME",
		Aliases: []string{"drain"},
		Short:   "drain an SFU of this machine and stop it",
		Long: `Stops an SFU of this machine without harm to anybody: its leaving is announced to the cluster, it takes no
new work, clients are told where to move, what is in flight is finished or handed over, then it stops.
It stays in the cluster, and stays stopped until rrts sfu start or the next start of the machine. drain is
another word for it: an SFU is not left half alive.

An SFU that the cluster cannot work without is not stopped without --force.`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.localUnit(args[0]); err != nil {
				return err
			}
			if err := c.mayStop(cmd.Context(), args[0], force); err != nil {
				return err
			}
			c.out.Progress("draining %s", args[0])
			err := systemctl(cmd.Context(), "stop", unitOf(args[0]))
			c.out.Progress("")
			if err != nil {
				return err
			}
			return c.showLife(args[0], "stopped")
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "even if the cluster cannot work without it")
	return cmd
}

func (c *cli) sfuStartCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "start NAME",
		Short: "start an SFU of this machine, and wait until it is ready",
		Args:  oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.localUnit(args[0]); err != nil {
				return err
			}
			c.out.Progress("starting %s", args[0])
			err := systemctl(cmd.Context(), "start", unitOf(args[0]))
			c.out.Progress("")
			if err != nil {
				return err
			}
			return c.showLife(args[0], "started")
		},
	}
}

func (c *cli) showLife(name, what string) error {
	if c.json {
		return c.out.Object(map[string]any{"sfu": name, "state": what})
	}
	return c.out.Table(nil, [][]string{{name + " is " + what}})
}

// localUnit makes sure that an SFU is this machine's and systemd's.
func (c *cli) localUnit(name string) error {
	if _, err := os.Stat(filepath.Join(c.dir, "sfu", name+".toml")); err != nil {
		names, listErr := config.LocalSFUs(c.dir)
		if listErr != nil {
			return listErr
		}
		return usageError{fmt.Errorf("this machine has no SFU %q; it has %q; run this where it is", name, names)}
	}
	if !systemdRuns() || c.dir != config.DefaultDir {
		return errors.New("the SFU is not systemd's: end its rrtsd with SIGTERM, which drains it")
	}
	return nil
}

// mayStop asks an SFU of this machine, if one answers, whether another may stop. Where
// none does there is nothing to protect.
func (c *cli) mayStop(ctx context.Context, name string, force bool) error {
	op, _, err := c.operator(ctx, "")
	if err != nil {
		return nil
	}
	defer op.Close()
	return c.mayGo(ctx, op, name, force)
}

// mayGo refuses to let an SFU go that the others cannot do without.
func (c *cli) mayGo(ctx context.Context, op *client.Client, name string, force bool) error {
	if force {
		return nil
	}
	answer, err := c.listMembers(ctx, op)
	if err != nil {
		return fmt.Errorf("%w; with --force it is done nevertheless", err)
	}
	voters, others, leaving := 0, 0, false
	var silent []string
	at := slices.IndexFunc(answer.Roster.Members, func(m txnpb.Member) bool { return m.Name == name })
	for i, seat := range answer.Seats {
		m := &answer.Roster.Members[i]
		if seat == txnpb.SeatLearner && at >= 0 && m.Machine == answer.Roster.Members[at].Machine && c.answers(ctx, op, uint16(m.Number)) {
			return nil // the vote moves there
		}
		if seat != txnpb.SeatVoter {
			continue
		}
		voters++
		switch {
		case m.Name == name:
			leaving = true
		case c.answers(ctx, op, uint16(m.Number)):
			others++
		default:
			silent = append(silent, m.Name)
		}
	}
	// Half of the voters are enough: one that leaves in peace gives its vote up first.
	if !leaving || others > 0 && 2*others >= voters {
		return nil
	}
	if len(silent) == 0 {
		return fmt.Errorf("%s is the only SFU that orders transactions: the cluster stands still without it; add --force if it shall", name)
	}
	return fmt.Errorf("the cluster stands still without %s: of its %d voters %s do not answer; start them first, or add --force", name, voters, strings.Join(silent, ", "))
}
