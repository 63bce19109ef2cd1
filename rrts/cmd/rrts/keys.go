package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// keysStall is how long the change of an SFU's keys may stand still.
const keysStall = 2 * time.Minute

func (c *cli) keysCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "the keys under which SFUs keep journal and state"}
	cmd.AddCommand(c.keysRotateCommand(), c.keysShowCommand())
	return cmd
}

func (c *cli) keysRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate [NAME...]",
		Short: "change the keys of journal and state, while payments go on",
		Long: `Gives the journal and the state of each SFU, or of those that are named, a fresh key, one SFU after the
other. What is written from then on is sealed under it, what was written before is sealed anew: the
journal's segments as a whole, of the state's files the keys that each has of its own. When nothing is
sealed under the old key any more, that is destroyed. Clients notice nothing.

It may be broken off, and an SFU may stop or fail meanwhile: it goes on by itself when it is started
again. rrts keys show tells how far it is.

A copy of the disk that somebody made before keeps the old files; with the store.key of the time it opens
them. These keys are not changed:

` + indent(keptKeys()) + `
Nor are backups, which are sealed to the recovery kit.`,
		Example: "  rrts keys rotate\n  rrts keys rotate bravo --json",
		RunE:    func(cmd *cobra.Command, args []string) error { return c.rotateKeys(cmd.Context(), args) },
	}
}

func (c *cli) keysShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [NAME...]",
		Short: "under which keys journal and state are",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.eachKeeper(cmd.Context(), args, func(op *client.Client, m *txnpb.Member) error {
				st, err := txnpb.ReplicaClient{Caller: op.To(uint16(m.Number))}.Keys(cmd.Context(), &txnpb.KeysRequest{})
				if err != nil {
					return fmt.Errorf("%s: %w", m.Name, err)
				}
				return c.showKeys(m.Name, st)
			})
		},
	}
}

// keptKeys says which keys a rotation leaves as they are, and how each is changed.
func keptKeys() []string {
	return []string{
		"store.key         seals the keys of journal and state; a new SFU has a new one: rrts sfu replace NAME",
		"interconnect.key  who the SFU is to the others: likewise",
		"gateway.key       of the gateway's certificate: likewise",
		"psk.key, pepper.key, token.key  the same on all SFUs; they change with a restore",
	}
}

func indent(lines []string) string { return "  " + strings.Join(lines, "\n  ") + "\n" }

// eachKeeper calls f for the SFUs that keep journal and state, or those of that name.
func (c *cli) eachKeeper(ctx context.Context, names []string, f func(*client.Client, *txnpb.Member) error) error {
	op, _, err := c.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	answer, err := c.listMembers(ctx, op)
	if err != nil {
		return err
	}
	var all []*txnpb.Member
	var known []string
	for i := range answer.Roster.Members {
		m := &answer.Roster.Members[i]
		if roster.Replicates(m.Type) && !m.Overruled && !m.Leaving {
			known = append(known, m.Name)
			if len(names) == 0 || slices.Contains(names, m.Name) {
				all = append(all, m)
			}
		}
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return usageError{fmt.Errorf("no SFU %q keeps journal and state; these do: %s", n, strings.Join(known, ", "))}
		}
	}
	var errs []error
	for _, m := range all {
		errs = append(errs, f(op, m))
	}
	return errors.Join(errs...)
}

func (c *cli) rotateKeys(ctx context.Context, names []string) error {
	defer c.out.Progress("")
	err := c.eachKeeper(ctx, names, func(op *client.Client, m *txnpb.Member) error {
		if err := c.rotateKeysOf(ctx, op, m); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		return nil
	})
	if err == nil && !c.json {
		c.out.Say("Not changed:\n%s", strings.TrimSuffix(indent(keptKeys()), "\n"))
	}
	return err
}

// rotateKeysOf gives one SFU a fresh key, and waits until the old one is destroyed.
func (c *cli) rotateKeysOf(ctx context.Context, op *client.Client, m *txnpb.Member) error {
	replica := txnpb.ReplicaClient{Caller: op.To(uint16(m.Number))}
	began := time.Now()
	st, err := replica.Keys(ctx, &txnpb.KeysRequest{Rotate: true})
	if err != nil {
		return err
	}
	destroyed, moved, last := slices.Clone(st.Older), time.Now(), *st
	for len(st.Older) > 0 {
		c.out.Progress("%s: key %d is in use; %d segments of the journal are to be sealed anew%s", m.Name, st.Current, st.SegmentsLeft, because(st.Waits))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		now, err := replica.Keys(ctx, &txnpb.KeysRequest{})
		if err == nil {
			st = now
		}
		if st.SegmentsLeft != last.SegmentsLeft || err == nil && len(st.Older) == 0 {
			moved, last = time.Now(), *st
		}
		if time.Since(moved) > keysStall {
			return fmt.Errorf("the change of keys has stood still for %v%s; it goes on by itself, see `rrts keys show`: %w", keysStall, because(st.Waits), errors.Join(err, errUnreachable))
		}
	}
	c.out.Progress("")
	if c.json {
		return c.out.Object(map[string]any{"sfu": m.Name, "key": st.Current, "destroyed": destroyed, "files": st.FilesDone, "seconds": time.Since(began).Seconds()})
	}
	return c.out.Table(nil, [][]string{{fmt.Sprintf("%s: journal and state are under key %d, destroyed is %s, after %.1f s", m.Name, st.Current, numbers(destroyed), time.Since(began).Seconds())}})
}

func (c *cli) showKeys(name string, st *txnpb.KeysStatus) error {
	if c.json {
		o := map[string]any{"sfu": name, "key": st.Current, "older": append([]uint32{}, st.Older...), "segments_left": st.SegmentsLeft}
		if st.Waits != "" {
			o["waits"] = st.Waits
		}
		return c.out.Object(o)
	}
	line := fmt.Sprintf("%s: key %d", name, st.Current)
	if len(st.Older) > 0 {
		line += fmt.Sprintf(", and %s until all is sealed anew: %d segments of the journal are left%s", numbers(st.Older), st.SegmentsLeft, because(st.Waits))
	}
	return c.out.Table(nil, [][]string{{line}})
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func numbers(ids []uint32) string {
	var all []string
	for _, id := range ids {
		all = append(all, fmt.Sprint(id))
	}
	return strings.Join(all, ", ")
}
