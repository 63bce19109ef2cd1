package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// eventKinds are the words for what may be selected.
var eventKinds = map[string]txnpb.EventKinds{
	"accounts": txnpb.EventKindsAccounts, "transfers": txnpb.EventKindsTransfers, "expiries": txnpb.EventKindsExpiries,
}

func (c *cli) eventsCommand() *cobra.Command {
	var after string
	var accounts, kinds []string
	var filter txnpb.EventsFilter
	var past bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "print what is committed, as it happens",
		Long: `Prints an event for each account that is created, each transfer, and each pending transfer that
expires, in the order in which they were committed, from now on until it is interrupted.

Every event has a position, EPOCH.GROUP.CSN.N. --after POSITION goes on behind that event, at any SFU
and at any later time: none is left out and none comes twice. --after start begins with the first one
that there ever was. --past prints what has happened and ends.

After a forced recovery the events behind a position may be void: the command then says so and ends
with status 1.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return err
			}
			for _, text := range accounts {
				id, err := u128.Parse(text)
				if err != nil {
					return usageError{fmt.Errorf("--account is %q, must be an account's id, a whole number", text)}
				}
				filter.AccountIds = append(filter.AccountIds, id)
			}
			for _, kind := range kinds {
				bit, ok := eventKinds[kind]
				if !ok {
					return usageError{fmt.Errorf("--kind is %q, must be accounts, transfers or expiries", kind)}
				}
				filter.Kinds |= uint32(bit)
			}
			var from txnpb.Position
			if after != "" && after != "start" {
				var err error
				if from, err = client.ParsePosition(after); err != nil {
					return usageError{fmt.Errorf("--after is %q, must be start, or a position EPOCH.GROUP.CSN.N that an event has", after)}
				}
			}
			if past && after == "" {
				return usageError{errors.New("--past prints what has happened: say from where with --after, start or a position")}
			}
			op, _, err := c.operator(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer op.Close()
			s := op.Events(from, &filter)
			if after == "" {
				s = op.EventsFromNow(&filter)
			}
			return c.printEvents(cmd.Context(), s, past)
		},
	}
	cmd.Flags().StringVar(&after, "after", "", "a position, or start; left out, now")
	cmd.Flags().StringSliceVar(&accounts, "account", nil, "only of the account with this id; may be given several times")
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only accounts, transfers or expiries; may be given several times")
	cmd.Flags().Uint32Var(&filter.Ledger, "ledger", 0, "only of this ledger; 0 means all")
	cmd.Flags().Uint32Var(&filter.Code, "code", 0, "only with this code; 0 means all")
	cmd.Flags().BoolVar(&past, "past", false, "print what has happened, and end")
	return cmd
}

// eventRow is one event for programs.
type eventRow struct {
	Position      string            `json:"position"`
	CSN           uint64            `json:"csn"`
	Time          string            `json:"time"`
	Timestamp     uint64            `json:"timestamp"`
	What          string            `json:"what"` // account_created, or a ledgerpb.ChangeEventType
	AccountID     string            `json:"account_id,omitempty"`
	TransferID    string            `json:"transfer_id,omitempty"`
	PendingID     string            `json:"pending_id,omitempty"`
	DebitAccount  string            `json:"debit_account_id,omitempty"`
	CreditAccount string            `json:"credit_account_id,omitempty"`
	Amount        string            `json:"amount,omitempty"`
	Ledger        uint32            `json:"ledger"`
	Code          uint32            `json:"code"`
	Debit         *eventBalance     `json:"debit,omitempty"`
	Credit        *eventBalance     `json:"credit,omitempty"`
	TransactionID string            `json:"transaction_id,omitempty"`
	Memo          string            `json:"memo,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
}

// eventBalance is what an account holds just after the event.
type eventBalance struct {
	DebitsPending  string `json:"debits_pending"`
	DebitsPosted   string `json:"debits_posted"`
	CreditsPending string `json:"credits_pending"`
	CreditsPosted  string `json:"credits_posted"`
}

func rowOfEvent(e *client.Event) *eventRow {
	r := &eventRow{Position: client.FormatPosition(e.Position), CSN: e.Csn, Time: timeText(e.Timestamp), Timestamp: e.Timestamp}
	if a := e.Account; a != nil {
		r.What, r.AccountID, r.Ledger, r.Code = "account_created", a.Id.String(), a.Ledger, a.Code
	} else {
		t := e.Transfer
		r.What, r.TransferID, r.Ledger, r.Code = e.Type.String(), t.Id.String(), t.Ledger, t.Code
		r.DebitAccount, r.CreditAccount, r.Amount = t.DebitAccountId.String(), t.CreditAccountId.String(), t.Amount.String()
		if !t.PendingId.IsZero() {
			r.PendingID = t.PendingId.String()
		}
		r.Debit, r.Credit = balanceOfEvent(e.Debit), balanceOfEvent(e.Credit)
	}
	if n := e.Note; n != nil {
		r.TransactionID, r.Memo = n.TransactionId.String(), n.Memo
		for _, l := range n.Metadata {
			if r.Metadata == nil {
				r.Metadata = map[string]string{}
			}
			r.Metadata[l.Name] = string(l.Value)
		}
	}
	return r
}

func balanceOfEvent(b *ledgerpb.AccountBalance) *eventBalance {
	if b == nil {
		return nil
	}
	return &eventBalance{b.DebitsPending.String(), b.DebitsPosted.String(), b.CreditsPending.String(), b.CreditsPosted.String()}
}

// printEvents prints a stream as it comes.
func (c *cli) printEvents(ctx context.Context, s *client.Events, past bool) error {
	all := s.All(ctx)
	if past {
		all = s.Past(ctx)
	}
	for e, err := range all {
		if err != nil {
			if ctx.Err() != nil && !past {
				return nil // interrupted, as it should be
			}
			return err
		}
		if err := c.printEvent(rowOfEvent(e)); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) printEvent(r *eventRow) error {
	if c.json {
		return c.out.Object(r)
	}
	line := fmt.Sprintf("%s  %s  %s", r.Time, r.Position, r.What)
	if r.AccountID != "" {
		line += fmt.Sprintf("  %s  ledger %d code %d", r.AccountID, r.Ledger, r.Code)
	} else {
		line += fmt.Sprintf("  %s  %s -> %s  %s", r.TransferID, r.DebitAccount, r.CreditAccount, r.Amount)
	}
	if r.Memo != "" {
		line += "  " + strings.ReplaceAll(r.Memo, "\n", " ")
	}
	_, err := fmt.Fprintln(c.out.Std, line)
	return err
}
