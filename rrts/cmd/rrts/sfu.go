package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/grow"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/nic"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/settle"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// seatPatience is how long a new SFU is followed; it goes on catching up without
	// being watched.
	seatPatience = 30 * time.Minute
	// seatInterval is how often the roster is asked for meanwhile.
	seatInterval = 500 * time.Millisecond
)

func (c *cli) sfuCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sfu", Short: "System Functional Units of the cluster"}
	cmd.AddCommand(c.sfuAddCommand(), c.sfuReplaceCommand(), c.sfuRemoveCommand(), c.sfuStopCommand(), c.sfuStartCommand())
	return cmd
}

// oneName takes the name of an SFU as the only argument.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("name one SFU: %s NAME", cmd.CommandPath())}
	}
	return nil
}

func (c *cli) sfuAddCommand() *cobra.Command {
	f := &growFlags{}
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "add an SFU to this machine, or to another one",
		Long: `Adds an SFU to the running cluster: on this machine at once; on another, with --machine, it prints one
line to run there, as rrts node add does. At most one SFU of a machine votes: a further one follows the
log without a vote.`,
		Example: "  rrts sfu add edge-1 --type edge\n  rrts sfu add wit --type witness --machine box",
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.plan.SFU = args[0]
			return c.growAnywhere(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.plan.Machine, "machine", "", "the machine that it runs on (default: this one)")
	f.add(cmd)
	f.place.add(cmd)
	return cmd
}

func (c *cli) sfuReplaceCommand() *cobra.Command {
	f := &growFlags{}
	cmd := &cobra.Command{
		Use:   "replace NAME",
		Short: "replace an SFU that has lost its disk or its machine",
		Long: `Puts a new SFU of the same name, type and gateway into the place of one that is lost for good: with a
new number and new keys, so that what is left of the old one can do no harm. If it was this machine's,
it is done at once; otherwise it prints one line to run on the SFU's machine, bare or not, as rrts node
add does. What that machine still has of the old one's state is moved aside.

It needs the master keys. Where their machine is lost too, rrts kit open puts them on another one.`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.plan.SFU = args[0]
			return c.replace(cmd.Context(), f)
		},
	}
	f.add(cmd)
	f.place.add(cmd)
	cmd.Flags().StringVar(&f.plan.Machine, "machine", "", "the machine that it runs on from now on (default: the same)")
	return cmd
}

// replace fills the plan with what the lost SFU was, and grows.
func (c *cli) replace(ctx context.Context, f *growFlags) error {
	op, _, err := c.operator(ctx, "")
	if err != nil {
		return err
	}
	old, err := c.findMember(ctx, op, f.plan.SFU)
	op.Close()
	if err != nil {
		return err
	}
	f.plan.Replaces = uint16(old.Number)
	f.kind = old.Type
	f.carrier = cmp.Or(f.carrier, old.Carrier)
	if f.plan.Machine == "" || f.plan.Machine == old.Machine {
		f.plan.UDPA, f.plan.UDPB = cmp.Or(f.plan.UDPA, old.UdpA), cmp.Or(f.plan.UDPB, old.UdpB)
		if len(f.plan.Gateways) == 0 {
			f.plan.Gateways = old.Gateways
		}
	}
	f.plan.NoVote = f.plan.NoVote || !old.Voter && config.Type(old.Type).Transactions()
	f.plan.Machine = cmp.Or(f.plan.Machine, old.Machine)
	own, err := c.machineName()
	if err != nil {
		return err
	}
	if f.plan.Machine == own {
		if err := c.moveAside(ctx, old.Name); err != nil {
			return err
		}
	}
	return c.growAnywhere(ctx, f)
}

// moveAside makes room on this machine for the SFU that replaces one.
func (c *cli) moveAside(ctx context.Context, name string) error {
	if c.dir == config.DefaultDir && systemdRuns() {
		if err := systemctl(ctx, "stop", unitOf(name)); err != nil {
			return err
		}
	}
	state, err := c.aside(name)
	if err == nil && state != "" {
		c.out.Say("the old state of %s is in %s", name, state)
		found, err := filepath.Glob(filepath.Join(state, "overruled-epoch-*.jsonl"))
		if err != nil {
			return err
		}
		for _, f := range found {
			c.out.Say("the transactions that only it had: rrts tx overruled %s", f)
		}
	}
	return err
}

// aside takes an SFU that does not run out of this machine's configuration, and gives
// its state another name, which it returns; empty where there is none.
func (c *cli) aside(name string) (state string, err error) {
	dir := defaultStateDir(name)
	if cfg, err := config.Load(c.dir, name); err == nil {
		dir = cfg.SFU.StateDir
	}
	if settle.Vacant(dir) != nil {
		state = fmt.Sprintf("%s.old-%s", dir, time.Now().UTC().Format("20060102T150405Z"))
		if err := os.Rename(dir, state); err != nil {
			return "", fmt.Errorf("the old state: %w", err)
		}
	}
	return state, c.here().Remove(name)
}

// machineName is this machine's name in the cluster.
func (c *cli) machineName() (string, error) {
	m, err := config.LoadMachine(filepath.Join(c.dir, "machine.toml"))
	if err != nil {
		return "", err
	}
	return m.Name, nil
}

// growAnywhere adds an SFU to the machine of the plan.
func (c *cli) growAnywhere(ctx context.Context, f *growFlags) error {
	own, err := c.machineName()
	if err != nil {
		return err
	}
	if f.plan.Machine != "" && f.plan.Machine != own {
		return c.growElsewhere(ctx, f)
	}
	f.plan.Machine = own
	a, closeOp, err := c.admission(ctx, f)
	if err != nil {
		return err
	}
	defer closeOp()
	g := &grow.Guest{StateDir: f.place.stateDir, RunDir: f.place.runDir}
	c.fillGuest(g, nic.Key{}, &f.place)
	offer := a.Offer()
	request, err := g.Ask(ctx, &offer)
	if err != nil {
		return err
	}
	grant, err := a.Admit(ctx, request)
	if err != nil {
		return err
	}
	if err := g.Install(grant); err != nil {
		return err
	}
	if err := c.settled(ctx, a.Plan.SFU, true); err != nil {
		return err
	}
	return c.grown(ctx, a)
}

// listMembers returns the roster as the cluster has it now. A cluster that has just
// begun is given a moment to write its first one down.
func (c *cli) listMembers(ctx context.Context, op *client.Client) (*txnpb.MembersAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, operatorTimeout)
	defer cancel()
	for {
		answer, err := txnpb.MembersClient{Caller: op}.List(ctx, &txnpb.ListMembers{})
		if err == nil && answer.Refused == "" && answer.Roster != nil {
			return answer, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the cluster's members: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the cluster's members: %s", cmp.Or(answer.Refused, "it has no roster yet; try again"))
		case <-time.After(seatInterval):
		}
	}
}

// findMember returns the member of a name.
func (c *cli) findMember(ctx context.Context, op *client.Client, name string) (*txnpb.Member, error) {
	answer, err := c.listMembers(ctx, op)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range answer.Roster.Members {
		if m := &answer.Roster.Members[i]; m.Name == name {
			return m, nil
		}
		names = append(names, answer.Roster.Members[i].Name)
	}
	return nil, usageError{fmt.Errorf("the cluster has no SFU %q; it has %q", name, names)}
}

// seatOf returns what a member is in the group, and whether that is what it is to be.
func seatOf(answer *txnpb.MembersAnswer, name string) (seat txnpb.Seat, settled bool) {
	i := slices.IndexFunc(answer.Roster.Members, func(m txnpb.Member) bool { return m.Name == name && !m.Leaving })
	if i < 0 || i >= len(answer.Seats) {
		return txnpb.SeatNone, false
	}
	m := &answer.Roster.Members[i]
	switch seat = answer.Seats[i]; {
	case m.Voter:
		return seat, seat == txnpb.SeatVoter
	case config.Type(m.Type).Transactions():
		return seat, seat != txnpb.SeatNone
	}
	return seat, true
}

// followSeat shows how a new SFU comes to its seat.
func (c *cli) followSeat(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, seatPatience)
	defer cancel()
	op, _, err := c.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	defer c.out.Progress("")
	tick := time.NewTicker(seatInterval)
	defer tick.Stop()
	for start := time.Now(); ; {
		answer, err := c.listMembers(ctx, op)
		if err == nil {
			seat, settled := seatOf(answer, name)
			number := uint16(0)
			for _, m := range answer.Roster.Members {
				if m.Name == name {
					number = uint16(m.Number)
				}
			}
			if settled && c.answers(ctx, op, number) {
				c.out.Progress("")
				return c.showSeat(name, seat)
			}
			c.out.Progress("%s comes up: %s", name, time.Since(start).Round(time.Second))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has been added, but has not come up yet (see rrts status, and on its machine journalctl -u %s): %w", name, unitOf(name), ctx.Err())
		case <-tick.C:
		}
	}
}

// answers reports whether an SFU runs.
func (c *cli) answers(ctx context.Context, op *client.Client, number uint16) bool {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	_, err := monitorpb.MonitorClient{Caller: op.To(number)}.Status(ctx, &monitorpb.StatusRequest{})
	return err == nil
}

func (c *cli) showSeat(name string, seat txnpb.Seat) error {
	word := map[txnpb.Seat]string{txnpb.SeatNone: "runs", txnpb.SeatLearner: "follows the log", txnpb.SeatVoter: "votes"}[seat]
	if c.json {
		return c.out.Object(map[string]any{"sfu": name, "seat": word})
	}
	return c.out.Table(nil, [][]string{{name + " is up and " + word}})
}
