package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func (c *cli) effectsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "effects",
		Short: "what transactions owe outside the ledger: SQL statements, mails, payments",
		Long: `A committed transaction may owe effects: SQL statements, mails, calls to payment providers. They wait in
queues, one for each service and target, until they are done; "committed" and "completed" are told apart
by "rrts tx status". An effect is named by its queue and its place there, as "rrts effects list" prints
it: mail:3, sql/shop:17.`,
	}
	cmd.AddCommand(c.effectsListCommand(), c.effectsShowCommand(), c.effectsQueuesCommand(), c.effectsRetryCommand(), c.effectsDiscardCommand(), c.effectsReleaseCommand())
	return cmd
}

// effectID names an effect.
type effectID struct {
	service, target string
	sequence        uint64
}

func effectIDOf(e *txnpb.OwedEffect) effectID {
	return effectID{e.Effect.Service, e.Effect.Target, e.Sequence}
}

func queueText(service, target string) string {
	if target == "" {
		return service
	}
	return service + "/" + target
}

func (id effectID) String() string {
	return queueText(id.service, id.target) + ":" + strconv.FormatUint(id.sequence, 10)
}

func parseEffectID(s string) (id effectID, err error) {
	queue, number, ok := strings.Cut(s, ":")
	if ok {
		id.sequence, err = strconv.ParseUint(number, 10, 64)
	}
	id.service, id.target, _ = strings.Cut(queue, "/")
	if !ok || err != nil || id.sequence == 0 || id.service == "" {
		return id, usageError{fmt.Errorf("ID is %q, must be an effect's id, such as mail:3 or sql/shop:17; rrts effects list prints them", s)}
	}
	return id, nil
}

// effectRow is one effect for programs.
type effectRow struct {
	ID          string `json:"id"`
	Operation   string `json:"operation"`
	Key         string `json:"key,omitempty"`
	State       string `json:"state"`
	Attempts    uint32 `json:"attempts"`
	InDoubt     bool   `json:"in_doubt,omitempty"`
	Reason      string `json:"reason,omitempty"`
	Transaction string `json:"transaction"`
	CSN         uint64 `json:"csn"`
	Ordinal     uint32 `json:"ordinal"`
	User        uint64 `json:"user,omitempty"`
	Owed        string `json:"owed"`
	Due         string `json:"due,omitempty"`
}

func effectRowOf(e *txnpb.OwedEffect) effectRow {
	r := effectRow{ID: effectIDOf(e).String(), Operation: e.Effect.Operation, Key: e.Effect.Key, State: e.State.String(), Attempts: e.Attempts, InDoubt: e.InDoubt,
		Reason: e.Reason, Transaction: e.TransactionId.String(), CSN: e.Csn, Ordinal: e.Ordinal, User: e.Principal, Owed: timeText(e.Owed)}
	if e.Due != 0 && e.State == txnpb.EffectStateOwed {
		r.Due = timeText(e.Due)
	}
	return r
}

// withOperator connects, and closes.
func (c *cli) withOperator(ctx context.Context, f func(op *client.Client) error) error {
	op, _, err := c.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	return f(op)
}

func (c *cli) effectsListCommand() *cobra.Command {
	var quarantined bool
	var queue string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the effects that are owed, queue by queue",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return err
			}
			if limit < 1 || limit > 1024 {
				return usageError{fmt.Errorf("--limit is %d, must be 1 to 1024", limit)}
			}
			f := &txnpb.OutboxFilter{Quarantined: quarantined, Limit: uint32(limit)}
			f.Service, f.Target, _ = strings.Cut(queue, "/")
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				a, err := op.Outbox(cmd.Context(), f)
				if err != nil {
					return err
				}
				if a.Held {
					c.out.Say("a restore holds the effects back until `rrts effects release`")
				}
				if a.More {
					c.out.Say("there are more; --limit shows more of them, --queue those of one queue")
				}
				return c.printEffects(a.Effects)
			})
		},
	}
	cmd.Flags().BoolVar(&quarantined, "quarantined", false, "only those in quarantine")
	cmd.Flags().StringVar(&queue, "queue", "", "only those of one queue: a service, or a service and a target, such as sql/shop")
	cmd.Flags().IntVar(&limit, "limit", 100, "the longest list that is wanted")
	return cmd
}

func (c *cli) printEffects(list []txnpb.OwedEffect) error {
	var table [][]string
	for i := range list {
		r := effectRowOf(&list[i])
		if c.json {
			if err := c.out.Object(r); err != nil {
				return err
			}
			continue
		}
		table = append(table, []string{r.ID, r.Operation, r.Key, r.State, strconv.Itoa(int(r.Attempts)), r.Owed, r.Transaction, r.Reason})
	}
	if c.json {
		return nil
	}
	return c.out.Table([]string{"EFFECT", "OPERATION", "KEY", "STATE", "ATTEMPTS", "OWED SINCE", "TRANSACTION", "REASON"}, table)
}

func (c *cli) effectsQueuesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "queues",
		Short: "list the queues: how much waits in each, and which SFU works on it",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return err
			}
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				a, err := op.Outbox(cmd.Context(), &txnpb.OutboxFilter{})
				if err != nil {
					return err
				}
				var table [][]string
				for i := range a.Queues {
					q := &a.Queues[i]
					if c.json {
						err := c.out.Object(map[string]any{"queue": queueText(q.Service, q.Target), "effects": q.Effects, "quarantined": q.Quarantined,
							"sfu": q.Holder, "fence": q.Fence, "held": q.Until > a.Stamp})
						if err != nil {
							return err
						}
						continue
					}
					table = append(table, []string{queueText(q.Service, q.Target), strconv.FormatUint(q.Effects, 10), strconv.FormatUint(q.Quarantined, 10),
						strconv.Itoa(int(q.Holder)), fmt.Sprintf("%d.%d", q.Fence>>32, uint32(q.Fence))})
				}
				if c.json {
					return nil
				}
				return c.out.Table([]string{"QUEUE", "EFFECTS", "QUARANTINED", "SFU", "FENCE"}, table)
			})
		},
	}
}

func (c *cli) effectsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "print all that is known of one effect, its arguments too",
		Long: `Prints one effect with its arguments, which may be personal data: an address, what somebody bought. Who
should not see them should not be an operator or an auditor.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name the effect: %s ID", cmd.CommandPath())}
			}
			id, err := parseEffectID(args[0])
			if err != nil {
				return err
			}
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				a, err := op.Outbox(cmd.Context(), &txnpb.OutboxFilter{Service: id.service, Target: id.target, Sequence: id.sequence, Limit: 1})
				if err != nil {
					return err
				}
				if len(a.Effects) == 0 || a.Effects[0].Sequence != id.sequence {
					return fmt.Errorf("effect %v is not owed: it is done, or never was; rrts tx status tells of its transaction", id)
				}
				e := &a.Effects[0]
				arguments := exec.AppendArguments(nil, e.Effect.Arguments)
				if c.json {
					return c.out.Object(struct {
						effectRow
						Arguments rawJSON `json:"arguments"`
					}{effectRowOf(e), arguments})
				}
				r := effectRowOf(e)
				return c.out.Table(nil, [][]string{{"effect", r.ID}, {"operation", r.Operation}, {"key", r.Key}, {"state", r.State}, {"attempts", strconv.Itoa(int(r.Attempts))},
					{"reason", r.Reason}, {"transaction", r.Transaction}, {"user", strconv.FormatUint(r.User, 10)}, {"owed since", r.Owed}, {"due", r.Due}, {"arguments", string(arguments)}})
			})
		},
	}
}

// rawJSON is JSON already.
type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

func (c *cli) effectsRetryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "retry ID…",
		Short: "try effects in quarantine again",
		Long: `Takes effects out of quarantine: they are tried again, with as many attempts as at first, and those with
the same key go on behind them. Mend the cause first.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.changeEffects(cmd, args, txnpb.EffectActionRequeue, "")
		},
	}
}

func (c *cli) effectsDiscardCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "discard ID…",
		Short: "give effects up",
		Long: `Gives up effects that are in quarantine or wait for another attempt: they are never done. What their
transaction said should follow a failure happens, such as giving back money that was held.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usageError{errors.New("say why: --reason \"…\"; it is kept with the transaction")}
			}
			return c.changeEffects(cmd, args, txnpb.EffectActionDiscard, reason)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a line; it is kept with the transaction")
	return cmd
}

func (c *cli) effectsReleaseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "release",
		Short: "let the effects of a restored cluster be done",
		Long: `After a restore no effect is done before an operator says so: the cluster before may have done them since
the backup was made. Discard those that must not be done again first.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return err
			}
			return c.submitChanges(cmd.Context(), []txnpb.EffectChange{{Action: txnpb.EffectActionRelease}}, []string{"the outbox"})
		},
	}
}

func (c *cli) changeEffects(cmd *cobra.Command, args []string, action txnpb.EffectAction, reason string) error {
	if len(args) == 0 {
		return usageError{fmt.Errorf("name the effects: %s ID…; rrts effects list prints them", cmd.CommandPath())}
	}
	var changes []txnpb.EffectChange
	for _, arg := range args {
		id, err := parseEffectID(arg)
		if err != nil {
			return err
		}
		changes = append(changes, txnpb.EffectChange{Action: action, Service: id.service, Target: id.target, Sequence: id.sequence, Reason: reason})
	}
	return c.submitChanges(cmd.Context(), changes, args)
}

// statusWords say why a change of an effect was not made.
var statusWords = map[txnpb.EffectStatus]string{
	txnpb.EffectStatusNotFound:           "it is not owed: it is done, or was discarded",
	txnpb.EffectStatusWrongState:         "it is not in quarantine, or an attempt is under way",
	txnpb.EffectStatusContinuationFailed: "what should follow its failure in the ledger cannot be done",
}

// submitChanges submits changes, each of which stands alone, and prints what became of them.
func (c *cli) submitChanges(ctx context.Context, changes []txnpb.EffectChange, names []string) error {
	return c.withOperator(ctx, func(op *client.Client) error {
		ctx, cancel := context.WithTimeout(ctx, lineTimeout)
		defer cancel()
		o, err := op.Submit(ctx, &txnpb.Transaction{Id: op.NewID(), Mode: txnpb.ModeIndependent, EffectChanges: changes})
		if err != nil {
			return err
		}
		failed := map[int]string{}
		for _, x := range o.Results.Exceptions {
			status := txnpb.EffectStatus(x.Status)
			if failed[int(x.Index)] = statusWords[status]; failed[int(x.Index)] == "" {
				failed[int(x.Index)] = status.String()
			}
		}
		var table [][]string
		for i, name := range names {
			why, bad := failed[i]
			if c.json {
				if err := c.out.Object(map[string]any{"id": name, "changed": !bad, "reason": why}); err != nil {
					return err
				}
				continue
			}
			if !bad {
				why = "ok"
			}
			table = append(table, []string{name, why})
		}
		if !c.json {
			if err := c.out.Table(nil, table); err != nil {
				return err
			}
		}
		if len(failed) > 0 {
			return fmt.Errorf("%d of %d were not changed", len(failed), len(names))
		}
		return nil
	})
}
