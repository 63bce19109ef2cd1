package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/grow"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/nic"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/config/join"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// joinPort is where a machine that joins connects, unless the operator says
	// otherwise.
	joinPort = "7409"
	// joinPatience is how long a line is good, unless the operator says otherwise.
	joinPatience = time.Hour
	// dialTime is how long the new machine tries to connect.
	dialTime = 15 * time.Second
	// witnessName is what the first witness is called, unless the operator says otherwise.
	witnessName = "witness"
)

func (c *cli) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "machines of the cluster"}
	cmd.AddCommand(c.nodeAddCommand(), c.nodeJoinCommand(), c.nodeRenewCommand())
	return cmd
}

// growFlags describe a new SFU, and how its machine reaches this one.
type growFlags struct {
	plan    grow.Plan
	kind    string // of the SFU
	carrier string
	at      string // HOST:PORT
	good    time.Duration
	place   placeFlags // where the SFU is this machine's
}

func (f *growFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kind, "type", string(config.TypeAll), "what it runs: all, core, edge, data or witness")
	cmd.Flags().StringArrayVar(&f.plan.Gateways, "gateway", nil, "HOST:PORT where clients reach it (default: that machine's host name, port 7400 or the next free one)")
	cmd.Flags().StringVar(&f.carrier, "carrier", "", "what carries its frames to other machines, ethernet or udp (default: udp for a witness, else what carries the others')")
	cmd.Flags().StringVar(&f.plan.UDPA, "udp-a", "", "IP:PORT where it receives UDP, if UDP carries its frames (default: its machine's address towards this one, port 7401 or the next free one)")
	cmd.Flags().StringVar(&f.plan.UDPB, "udp-b", "", "the same on a second network, where there is one")
	cmd.Flags().BoolVar(&f.plan.NoVote, "no-vote", false, "it does not vote")
	cmd.Flags().StringVar(&f.at, "at", "", "HOST:PORT where this machine waits for the new one (default: the host of this machine's gateway, port "+joinPort+")")
	cmd.Flags().DurationVar(&f.good, "for", joinPatience, "how long the line is good")
}

func (c *cli) nodeAddCommand() *cobra.Command {
	f := &growFlags{}
	cmd := &cobra.Command{
		Use:   "add [MACHINE]",
		Short: "add a machine: print the one line to run on it, and wait until it has joined",
		Long: `Adds a machine with one SFU to the running cluster. It prints one line, and waits until that line was
run, as root, on the new machine, which has the package rrts and nothing else. The line holds a secret
for one machine that is good for an hour: hand it over as you would a password.

The new machine makes its own private keys; they never leave it, and the cluster's master keys never
leave this machine. Its SFU begins as a learner, is sent the state, and votes once it has caught up.

A witness votes and keeps the log, and holds no accounts: any third machine will do. UDP over the
ordinary network carries its frames; the others go on with networks A and B among themselves.`,
		Example: "  rrts node add pc2\n  rrts node add box --type witness",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
			case 1:
				f.plan.Machine = args[0]
			default:
				return usageError{errors.New("name one machine: rrts node add [MACHINE]")}
			}
			return c.growElsewhere(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.plan.SFU, "sfu", "", "the name of its SFU (default: the next free one of alpha, bravo, carol …, of a witness witness)")
	f.add(cmd)
	return cmd
}

// admission prepares for one new SFU. close ends its connection to the cluster.
func (c *cli) admission(ctx context.Context, f *growFlags) (a *grow.Admission, close func(), err error) {
	master, err := genesis.LoadMaster(filepath.Join(c.dir, "master"))
	if err != nil {
		return nil, nil, err
	}
	op, cluster, err := c.operator(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	answer, err := c.listMembers(ctx, op)
	if err == nil {
		cluster, err = members.Cluster(cluster, answer.Roster)
	}
	if err != nil {
		op.Close()
		return nil, nil, err
	}
	f.plan.Type = config.Type(f.kind)
	f.plan.Carrier = config.Carrier(cmp.Or(f.carrier, string(cluster.Interconnect.Carrier)))
	if f.carrier == "" && f.plan.Type == config.TypeWitness {
		f.plan.Carrier = config.UDP
	}
	if f.plan.SFU == "" {
		var taken []string
		for _, m := range cluster.SFUs {
			taken = append(taken, m.Name)
		}
		f.plan.SFU = freeName(taken)
		if f.plan.Type == config.TypeWitness && !slices.Contains(taken, witnessName) {
			f.plan.SFU = witnessName
		}
	}
	if m := cluster.Member(f.plan.SFU); m != nil && m.Number != f.plan.Replaces {
		op.Close()
		return nil, nil, usageError{fmt.Errorf("the cluster has an SFU %s, on %s; choose another name with --sfu, or replace it with rrts sfu replace %s", m.Name, m.Machine, m.Name)}
	}
	return &grow.Admission{
		Plan: f.plan, Software: version, Master: master, Cluster: cluster, Add: txnpb.MembersClient{Caller: op}.Add, Rand: rand.Reader, Now: time.Now,
	}, func() { op.Close() }, nil
}

// growElsewhere waits for a machine to join.
func (c *cli) growElsewhere(ctx context.Context, f *growFlags) error {
	a, closeOp, err := c.admission(ctx, f)
	if err != nil {
		return err
	}
	defer closeOp()
	machine, err := config.LoadMachine(filepath.Join(c.dir, "machine.toml"))
	if err != nil {
		return err
	}
	at, err := joinAddress(f.at, a.Cluster, machine.Name)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		return usageError{fmt.Errorf("--at is %q, must be HOST:PORT", f.at)}
	}
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return fmt.Errorf("waiting for the new machine: %w; choose another port with --at", err)
	}
	secret, err := join.NewSecret(rand.Reader)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, f.good)
	defer cancel()
	if a.Plan.Carrier == config.Ethernet {
		go func() {
			offer := a.Offer()
			if err := nic.Announce(wait, secret.BeaconKey(), offer.EtherTypes, machine); err != nil {
				c.out.Say("the new machine cannot find the networks by itself: %v; name its NICs there with --nic-a and --nic-b", err)
			}
		}()
	}
	line := fmt.Sprintf("rrts node join %s %s", at, secret.Reveal())
	if err := c.showLine(a, line, f.good); err != nil {
		return err
	}
	host := &join.Host{Secret: secret, Offer: a.Offer(), Log: func(format string, args ...any) { c.out.Say(format, args...) }}
	host.Admit = func(ctx context.Context, r *join.Request) (*join.Grant, error) {
		g, err := a.Admit(ctx, r)
		if err == nil {
			c.out.Say("%s on %s is a member%s", a.Plan.SFU, r.Machine, networksOf(r))
		}
		return g, err
	}
	if err := host.Serve(wait, l); err != nil {
		return err
	}
	return c.grown(ctx, a)
}

func networksOf(r *join.Request) string {
	switch {
	case r.NetworkA == "":
		return ""
	case r.NetworkB == "":
		return fmt.Sprintf(", network A at %s, no network B", r.NetworkA)
	}
	return fmt.Sprintf(", network A at %s, network B at %s", r.NetworkA, r.NetworkB)
}

func (c *cli) showLine(a *grow.Admission, line string, good time.Duration) error {
	if c.json {
		return c.out.Object(map[string]any{"sfu": a.Plan.SFU, "type": a.Plan.Type, "line": line, "good_for_s": int(good.Seconds())})
	}
	c.out.Say("Run this line as root on the new machine, within %v:\n", good)
	if err := c.out.Table(nil, [][]string{{line}}); err != nil {
		return err
	}
	c.out.Say("\nwaiting for it")
	return nil
}

// joinAddress is where the new machine connects to.
func joinAddress(at string, c *config.Cluster, machine string) (string, error) {
	if at != "" {
		if !strings.Contains(at, ":") {
			at = net.JoinHostPort(at, joinPort)
		}
		return at, nil
	}
	for _, m := range c.SFUs {
		if m.Machine != machine {
			continue
		}
		for _, g := range m.Gateways {
			if host, _, err := net.SplitHostPort(g); err == nil {
				return net.JoinHostPort(host, joinPort), nil
			}
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("%w; name this machine with --at HOST:PORT", err)
	}
	return net.JoinHostPort(host, joinPort), nil
}

// grown takes note here of the cluster with the new SFU in it, and follows the SFU
// until it has its seat.
func (c *cli) grown(ctx context.Context, a *grow.Admission) error {
	w := &genesis.Welcome{Cluster: a.After, Kit: a.Kit}
	if err := c.here().Renew(w.SharedFiles()...); err != nil {
		return err
	}
	return c.followSeat(ctx, a.Plan.SFU)
}

func (c *cli) nodeJoinCommand() *cobra.Command {
	var place placeFlags
	var noStart bool
	g := &grow.Guest{}
	cmd := &cobra.Command{
		Use:   "join HOST:PORT SECRET",
		Short: "join this machine to a cluster, with the line that rrts node add printed",
		Long: `Joins this machine to the cluster whose rrts node add printed the line. It finds the NICs of networks A
and B by what the other machine sends on them, makes the SFU's private keys, gets the configuration, and
starts the SFU.

On a machine that is in the cluster already it adds a further SFU. One that takes the place of an SFU of
this machine, as rrts sfu replace prints it, moves what is left of that one aside first.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError{errors.New("copy the whole line that rrts node add printed: rrts node join HOST:PORT SECRET")}
			}
			secret, err := join.ParseSecret(args[1])
			if err != nil {
				return usageError{err}
			}
			g.StateDir, g.RunDir = place.stateDir, place.runDir
			return c.join(cmd.Context(), g, args[0], secret, &place, !noStart)
		},
	}
	cmd.Flags().StringVar(&g.Machine, "machine", "", "the name of this machine (default: its host name)")
	cmd.Flags().StringArrayVar(&g.Gateways, "gateway", nil, "HOST:PORT where clients reach this machine (default: its host name, port 7400)")
	cmd.Flags().StringVar(&g.UDPA, "udp-a", "", "IP:PORT where the SFU receives UDP, if UDP carries its frames (default: this machine's address towards the other one, port 7401 or the next free one)")
	cmd.Flags().StringVar(&g.UDPB, "udp-b", "", "the same on a second network, where there is one")
	cmd.Flags().BoolVar(&noStart, "no-start", false, "leave starting the SFU to the operator")
	place.add(cmd)
	return cmd
}

func (c *cli) join(ctx context.Context, g *grow.Guest, address string, secret join.Secret, place *placeFlags, start bool) error {
	c.fillGuest(g, secret.BeaconKey(), place)
	c.out.Progress("connecting to %s", address)
	d := net.Dialer{Timeout: dialTime}
	conn, err := d.DialContext(ctx, "tcp", address)
	c.out.Progress("")
	if err != nil {
		return fmt.Errorf("%w; is rrts node add still waiting there, and does the name lead to that machine?", err)
	}
	if at, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		g.Address = at.AddrPort().Addr().Unmap().WithZone("")
	}
	err = join.Join(ctx, conn, secret, func(o *join.Offer) (*join.Request, error) {
		c.out.Say("cluster %s offers SFU %s of type %s", o.Cluster, o.SFU, o.Type)
		if err := c.makeRoom(ctx, o); err != nil {
			return nil, err
		}
		return g.Ask(ctx, o)
	}, g.Install)
	if err != nil {
		return err
	}
	return c.settled(ctx, g.SFU(), start)
}

// makeRoom moves aside what this machine has of the SFU that is replaced.
func (c *cli) makeRoom(ctx context.Context, o *join.Offer) error {
	if o.Replaces == 0 {
		return nil
	}
	if err := genesis.Absent(filepath.Join(c.dir, "sfu", o.SFU+".toml")); err == nil {
		return nil
	}
	cluster, err := config.LoadCluster(c.dir)
	if err != nil {
		return err
	}
	if m := cluster.Member(o.SFU); cluster.ID.String() != o.ID || m == nil || m.Number != o.Replaces {
		return nil // another one of that name: nothing is moved, and Ask says what is wrong
	}
	return c.moveAside(ctx, o.SFU)
}

// fillGuest says what this machine is.
func (c *cli) fillGuest(g *grow.Guest, key nic.Key, place *placeFlags) {
	g.Place, g.Software, g.Rand = c.here(), version, rand.Reader
	g.Host = machineName()
	if host, err := os.Hostname(); err == nil && g.Machine == "" {
		g.Machine = machineName()
		g.Host = strings.ToLower(host)
	}
	if place.nicA == noNIC {
		return
	}
	g.Networks = func(ctx context.Context, etherTypes [2]uint16) (*nic.Choice, error) {
		c.out.Progress("looking for networks A and B")
		choice, err := nic.Choose(ctx, key, etherTypes, place.nicA, place.nicB)
		c.out.Progress("")
		if err != nil {
			return nil, err
		}
		for _, n := range choice.Note {
			c.out.Say("%s", n)
		}
		if !choice.A.IsZero() && choice.B.IsZero() {
			c.out.Say("there is no network B: the cluster works, with the alarm network-not-redundant")
		}
		return choice, nil
	}
}

// settled starts an SFU that has its place on this machine.
func (c *cli) settled(ctx context.Context, sfu string, start bool) error {
	started := false
	if start && c.dir == config.DefaultDir && systemdRuns() {
		c.out.Progress("starting %s", sfu)
		err := systemctl(ctx, "enable", "--now", unitOf(sfu))
		c.out.Progress("")
		if err != nil {
			return err
		}
		started = true
	}
	if c.json {
		return c.out.Object(map[string]any{"sfu": sfu, "started": started})
	}
	if !started {
		return c.out.Table(nil, [][]string{{sfu + " is set up. Start it: systemctl enable --now " + unitOf(sfu)}})
	}
	return c.out.Table(nil, [][]string{{sfu + " runs on this machine"}})
}
