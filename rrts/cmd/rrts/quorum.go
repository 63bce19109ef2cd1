package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// forceWithin is how long a forced recovery may take until transactions are decided
// again: some elections, and the replay of what the journal holds.
const forceWithin = 30 * time.Second

func (c *cli) quorumCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "quorum", Short: "what to do when too few SFUs are left to decide"}
	cmd.AddCommand(c.quorumForceCommand())
	return cmd
}

// forceFlags are those of `rrts quorum force`.
type forceFlags struct {
	sfu        string
	otherIsOff bool
	yes        bool
}

func (c *cli) quorumForceCommand() *cobra.Command {
	f := &forceFlags{}
	cmd := &cobra.Command{
		Use:   "force --other-is-off",
		Short: "let an SFU of this machine go on alone: the others are off for good",
		Long: `Where most of the SFUs that vote are lost, those that are left decide nothing: they cannot know whether the
others are dead or only unreachable. This command tells an SFU of this machine that they are off, and lets
it go on as the only one that votes.

First see to it that the others are switched off, and stay so: what they still commit is overruled. The
command shows how far this SFU and the others are, and asks. Then the group's epoch rises, payments go on
within seconds, and the others are overruled: when one of them returns it hears so, takes no part any more,
writes down the transactions that only it has (rrts tx overruled), and waits to be replaced under a new
identity: rrts sfu replace NAME.

It is refused while most of those that vote can be reached, on an SFU whose journal is damaged, and where
another SFU that can be reached holds more.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.force(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.otherIsOff, "other-is-off", false, "you have seen to it that the other voters are switched off")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&f.sfu, "sfu", "", "the SFU of this machine that goes on (default: any that answers)")
	return cmd
}

func (c *cli) force(ctx context.Context, f *forceFlags) error {
	if !f.otherIsOff {
		return usageError{errors.New("switch the other machines off first, and say so: rrts quorum force --other-is-off")}
	}
	op, _, err := c.operator(ctx, f.sfu)
	if err != nil {
		return err
	}
	defer op.Close()
	replica := txnpb.ReplicaClient{Caller: op}
	prospect, err := replica.Force(ctx, &txnpb.ForceRequest{OtherIsOff: true})
	switch {
	case err != nil:
		return fmt.Errorf("this SFU does not say how it stands: %w; if its journal is damaged (rrts status), it cannot go on alone: restore a backup", err)
	case prospect.Refused != "":
		return errors.New(prospect.Refused)
	}
	if err := c.showProspect(prospect); err != nil {
		return err
	}
	if !f.yes {
		if err := c.confirm(fmt.Sprintf("SFU number %d goes on alone, and the others are overruled. Type yes", prospect.Own.Sfu)); err != nil {
			return err
		}
	}
	done, err := replica.Force(ctx, &txnpb.ForceRequest{GoOn: true, OtherIsOff: true})
	switch {
	case err != nil:
		return fmt.Errorf("whether it was done is not known, ask again: %w", err)
	case done.Refused != "":
		return errors.New(done.Refused)
	}
	return c.goesOn(ctx, op, done)
}

// showProspect prints how far this SFU and the others are.
func (c *cli) showProspect(a *txnpb.ForceAnswer) error {
	if c.json {
		others := []map[string]any{}
		for i := range a.Others {
			k := &a.Others[i]
			o := map[string]any{"sfu": k.Member.Name, "machine": k.Member.Machine, "votes": k.Seat == txnpb.SeatVoter, "answers": k.Answers}
			if k.LastIndex > 0 {
				o["csn"], o["entry"], o["heard_s_ago"] = k.Csn, k.LastIndex, k.AgeMillis/1000
			}
			others = append(others, o)
		}
		return c.out.Object(map[string]any{"sfu": a.Own.Sfu, "csn": a.Own.Csn, "entry": a.Own.LastIndex, "epoch": a.Epoch, "others": others, "warnings": a.Warnings})
	}
	rows := [][]string{{"this one", fmt.Sprint(a.Own.Csn), fmt.Sprint(a.Own.LastIndex), "now"}}
	for i := range a.Others {
		k := &a.Others[i]
		name := k.Member.Name + " on " + k.Member.Machine
		switch {
		case k.LastIndex == 0:
			rows = append(rows, []string{name, "not known", "not known", "not since this SFU started"})
		case k.Answers:
			rows = append(rows, []string{name, fmt.Sprint(k.Csn), fmt.Sprint(k.LastIndex), "now"})
		default:
			age := time.Duration(k.AgeMillis) * time.Millisecond
			rows = append(rows, []string{name, fmt.Sprint(k.Csn), fmt.Sprint(k.LastIndex), age.Round(time.Second).String() + " ago"})
		}
	}
	if err := c.out.Table([]string{"SFU", "CSN", "LOG ENTRY", "HEARD"}, rows); err != nil {
		return err
	}
	for _, w := range a.Warnings {
		c.out.Say("%s", w)
	}
	return nil
}

// confirm asks a question that is answered with yes or not at all.
func (c *cli) confirm(question string) error {
	if !c.atTerminal() {
		return usageError{errors.New("nobody can be asked here: add --yes if you are sure")}
	}
	fmt.Fprintf(os.Stderr, "%s: ", question)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

// goesOn waits until transactions are decided again, and says what is left to do.
func (c *cli) goesOn(ctx context.Context, op *client.Client, a *txnpb.ForceAnswer) error {
	c.out.Progress("going on alone")
	defer c.out.Progress("")
	began := time.Now()
	for {
		answer, err := txnpb.MembersClient{Caller: op}.List(ctx, &txnpb.ListMembers{})
		if err == nil && answer.Leader == a.Own.Sfu && answer.Roster != nil && answer.Roster.Force != nil && answer.Roster.Force.Epoch == a.Epoch {
			return c.showForced(answer.Roster)
		}
		if time.Since(began) > forceWithin {
			return fmt.Errorf("it is decided, but SFU number %d does not lead after %v: see journalctl -u 'rrts@*': %w", a.Own.Sfu, forceWithin, errors.Join(err, errUnreachable))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *cli) showForced(r *txnpb.Roster) error {
	c.out.Progress("")
	var names []string
	by := ""
	for i := range r.Members {
		switch m := &r.Members[i]; {
		case m.Overruled:
			names = append(names, m.Name)
		case m.Number == r.Force.By:
			by = m.Name
		}
	}
	if c.json {
		return c.out.Object(map[string]any{"sfu": by, "epoch": r.Force.Epoch, "csn": r.Force.Csn, "overruled": names})
	}
	lines := [][]string{{fmt.Sprintf("%s goes on alone, in epoch %d from CSN %d on", by, r.Force.Epoch, r.Force.Csn)}}
	for _, n := range names {
		lines = append(lines, []string{fmt.Sprintf("%s is overruled; to bring it back: rrts sfu replace %s", n, n)})
	}
	return c.out.Table(nil, lines)
}
