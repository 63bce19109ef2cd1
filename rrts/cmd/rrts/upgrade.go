package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/glance"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// leaseInterval is how often the lease is renewed, or asked for again.
	leaseInterval = 2 * time.Second
	// upgradePatience is how long a restarted SFU may take until it is level.
	upgradePatience = 10 * time.Minute
)

func (c *cli) upgradeCommand() *cobra.Command {
	u := &upgrade{cli: c}
	activate := false
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "restart this machine's SFUs with the installed software, one at a time",
		Long: `Installing a package restarts nothing: what runs goes on with the software that it was started with. This
command takes the SFUs of this machine one after the other, the leader last: it drains each, restarts it
with what is installed now, and waits until it is ready and level with the others. It holds the cluster's
lease meanwhile, so that it may be run on all machines at once and only one SFU of the cluster is away at
any time. SFUs that run the installed software already are left alone.

Going back is the same: install the earlier package (apt install rrts=VERSION) and run rrts upgrade.

Newer rules for transactions that the software brings are not used before rrts upgrade --activate says so,
once, when every SFU with transactions has it. From then on there is no way back: an SFU with older
software halts until it has the newer.`,
		Example: "  apt install --only-upgrade rrts\n  rrts upgrade --dry-run\n  rrts upgrade\n  rrts upgrade --activate",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if activate {
				return c.activate(cmd.Context())
			}
			return u.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&activate, "activate", false, "restart nothing, but activate in the whole cluster what the newer software brings")
	cmd.Flags().BoolVar(&u.dry, "dry-run", false, "say what would be restarted, and restart nothing")
	cmd.Flags().BoolVar(&u.all, "all", false, "also SFUs that run the installed software already")
	cmd.Flags().DurationVar(&u.patience, "wait", time.Hour, "how long to wait for other machines' turns, per SFU")
	cmd.MarkFlagsMutuallyExclusive("activate", "dry-run")
	return cmd
}

// upgrade is one run of the command.
type upgrade struct {
	*cli
	dry, all bool
	patience time.Duration
}

// candidate is an SFU of this machine.
type candidate struct {
	name    string
	number  uint16
	running string // the software that it runs; empty when it does not answer
	leads   bool
}

func (u *upgrade) run(ctx context.Context) error {
	if !systemdRuns() || u.dir != config.DefaultDir {
		return errors.New("the SFUs are not systemd's: end each rrtsd with SIGTERM, which drains it, and start it again")
	}
	all, err := u.candidates(ctx)
	if err != nil {
		return err
	}
	due := slices.DeleteFunc(slices.Clone(all), func(s candidate) bool { return s.running == version && !u.all })
	if u.dry || len(due) == 0 {
		return u.plan(all, due)
	}
	for _, s := range due {
		if err := u.restart(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// candidates lists this machine's SFUs in the order of their restart.
func (u *upgrade) candidates(ctx context.Context) ([]candidate, error) {
	op, _, err := u.operator(ctx, "")
	if err != nil {
		return nil, err
	}
	defer op.Close()
	names, err := config.LocalSFUs(u.dir)
	if err != nil {
		return nil, err
	}
	answer, err := u.listMembers(ctx, op)
	if err != nil {
		return nil, err
	}
	var all []candidate
	for _, name := range names {
		cfg, err := config.Load(u.dir, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(u.dir, "sfu", name+".toml"), err)
		}
		s := candidate{name: name, number: cfg.Self.Number, leads: answer.Leader == uint32(cfg.Self.Number)}
		s.running, _ = u.software(ctx, op, s.number) // one that does not answer is started
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		switch {
		case a.leads == b.leads:
			return 0
		case a.leads:
			return 1
		}
		return -1
	})
	return all, nil
}

// software asks an SFU what it runs.
func (u *upgrade) software(ctx context.Context, op *client.Client, number uint16) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	mon, err := monitorpb.MonitorClient{Caller: op.To(number)}.Status(ctx, &monitorpb.StatusRequest{})
	if err != nil {
		return "", err
	}
	return mon.Software, nil
}

// plan shows what is due.
func (u *upgrade) plan(all, due []candidate) error {
	var rows [][]string
	for _, s := range all {
		what := "stays"
		if slices.Contains(due, s) {
			what = "restart"
		}
		if u.json {
			if err := u.out.Object(map[string]any{"sfu": s.name, "running": s.running, "installed": version, "due": what == "restart"}); err != nil {
				return err
			}
			continue
		}
		running := s.running
		if running == "" {
			running = "does not answer"
		}
		rows = append(rows, []string{s.name, running, version, what})
	}
	if u.json {
		return nil
	}
	return u.out.Table([]string{"SFU", "RUNS", "INSTALLED", ""}, rows)
}

// restart takes one SFU through its restart, under the lease.
func (u *upgrade) restart(ctx context.Context, s candidate) error {
	defer u.out.Progress("")
	if err := u.take(ctx, s); err != nil {
		return err
	}
	hold, release := context.WithCancel(ctx)
	held := make(chan struct{})
	go func() {
		defer close(held)
		u.hold(hold, s)
	}()
	defer func() {
		release()
		<-held
		_ = u.lease(context.WithoutCancel(ctx), s, true) // else it ends by itself
	}()
	began := time.Now()
	u.out.Progress("%s drains and restarts", s.name)
	if err := systemctl(ctx, "restart", unitOf(s.name)); err != nil {
		return fmt.Errorf("%w\nthe other SFUs were left as they are", err)
	}
	if err := u.level(ctx, s); err != nil {
		return err
	}
	u.out.Progress("")
	took := time.Since(began)
	if u.json {
		return u.out.Object(map[string]any{"sfu": s.name, "from": s.running, "to": version, "seconds": took.Seconds()})
	}
	from := s.running
	if from == "" {
		from = "nothing"
	}
	return u.out.Table(nil, [][]string{{fmt.Sprintf("%s: %s -> %s in %.1f s", s.name, from, version, took.Seconds())}})
}

// lease asks for the lease, or gives it back.
func (u *upgrade) lease(ctx context.Context, s candidate, release bool) error {
	op, _, err := u.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	ctx, cancel := context.WithTimeout(ctx, operatorTimeout)
	defer cancel()
	answer, err := txnpb.MembersClient{Caller: op}.Lease(ctx, &txnpb.LeaseRequest{Number: uint32(s.number), Release: release})
	if err != nil {
		return err
	}
	if answer.Refused != "" {
		return errors.New(answer.Refused)
	}
	return nil
}

// take waits for the lease.
func (u *upgrade) take(ctx context.Context, s candidate) error {
	ctx, cancel := context.WithTimeout(ctx, u.patience)
	defer cancel()
	for {
		err := u.lease(ctx, s, false)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, &message.Error{Code: message.NoMethod}):
			u.out.Say("the leader's software is too old to give a lease: upgrade the other machines only when this one is done")
			return nil
		}
		u.out.Progress("%s waits for its turn: %v", s.name, err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s was not restarted, its turn did not come: %w", s.name, err)
		case <-time.After(leaseInterval):
		}
	}
}

// hold renews the lease. While the leader changes it fails for a moment, and where the
// only gateway of this machine is what restarts, for that long: the lease outlasts both.
func (u *upgrade) hold(ctx context.Context, s candidate) {
	tick := time.NewTicker(leaseInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = u.lease(ctx, s, false)
		}
	}
}

// level waits until a restarted SFU runs the installed software, has its seat and is as
// far as the others.
func (u *upgrade) level(ctx context.Context, s candidate) error {
	ctx, cancel := context.WithTimeout(ctx, upgradePatience)
	defer cancel()
	for {
		err := u.isLevel(ctx, s)
		if err == nil {
			return nil
		}
		u.out.Progress("%s is not level yet: %v", s.name, err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s was restarted and is not level with the others: %w; see rrts status and journalctl -u %s; the other SFUs were left as they are", s.name, err, unitOf(s.name))
		case <-time.After(leaseInterval / 4):
		}
	}
}

// levelEntries is how far an SFU under load may be behind and still count as level.
const levelEntries = 100

func (u *upgrade) isLevel(ctx context.Context, s candidate) error {
	op, cluster, err := u.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	running, err := u.software(ctx, op, s.number)
	switch {
	case err != nil:
		return err
	case running != version:
		return fmt.Errorf("it runs %s, installed is %s: is another package being installed?", running, version)
	}
	answer, err := u.listMembers(ctx, op)
	if err != nil {
		return err
	}
	if seat, settled := seatOf(answer, s.name); !settled {
		return fmt.Errorf("its seat is %v", seat)
	}
	var own, highest uint64
	for _, st := range glance.Ask(ctx, op, u.newest(ctx, op, cluster)).SFUs {
		highest = max(highest, st.AppliedIndex)
		if st.SFU == s.number {
			own = st.AppliedIndex
		}
	}
	if own > 0 && own+levelEntries < highest {
		return fmt.Errorf("%d entries behind", highest-own)
	}
	return nil
}
