package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func (c *cli) paymentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "payment",
		Short: "payments through providers: what they are, what is to happen to them",
		Long: `Payments that customers make through a payment provider: /etc/rrts/payment/NAME.toml describes one. A payment
is held in the ledger first, then by the provider; it is captured, in part or whole, or voided; what was
captured can be refunded. A call whose outcome is not known decides nothing: the money stays held.

Amounts are in the smallest unit of the provider's currency. A card's number has no place anywhere: a token
of the provider's stands for it.`,
	}
	cmd.AddCommand(c.paymentProvidersCommand(), c.paymentListCommand(), c.paymentShowCommand(), c.paymentCreateCommand(), c.paymentCaptureCommand(),
		c.paymentVoidCommand(), c.paymentRefundCommand(), c.paymentReconcileCommand())
	return cmd
}

// paymentID reads the argument that names a payment.
func paymentID(text string) (u128.Int, error) {
	id, err := u128.Parse(text)
	if err != nil || id.IsZero() {
		return id, usageError{fmt.Errorf("ID is %q, must be a payment's id; rrts payment list prints them", text)}
	}
	return id, nil
}

func paymentAmount(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n > paymentpb.MaxAmount {
		return 0, usageError{fmt.Errorf("AMOUNT is %q, must be 1 to %d of the currency's smallest unit", text, uint64(paymentpb.MaxAmount))}
	}
	return n, nil
}

// arguments bounds how many there are, as a fault of the command line.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usageError{fmt.Errorf("name %s: %s", what, cmd.UseLine())}
		}
		return nil
	}
}

func (c *cli) paymentProvidersCommand() *cobra.Command {
	return &cobra.Command{
		Use: "providers", Short: "list the payment providers, and whether they answer", Args: noArgs,
		Long: "Lists the payment providers with their accounts, and asks each of them whether it answers. The status is 1 when one\ndoes not.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				all, err := op.Providers(cmd.Context())
				if err != nil {
					return noPayments(err)
				}
				var rows [][]string
				silent := 0
				for i := range all {
					p := &all[i]
					state := "well"
					if p.Fault != "" {
						silent++
						state = p.Fault
					}
					rows = append(rows, []string{p.Name, p.Kind, p.Currency, fmt.Sprint(p.Ledger), p.ClearingAccount.String(), state})
					if c.json {
						if err := c.out.Object(map[string]any{"provider": p.Name, "kind": p.Kind, "currency": p.Currency, "ledger": p.Ledger, "code": p.Code,
							"clearing_account": p.ClearingAccount.String(), "settled_account": p.SettledAccount.String(), "fees_account": p.FeesAccount.String(),
							"well": p.Fault == "", "fault": p.Fault}); err != nil {
							return err
						}
					}
				}
				if !c.json {
					if err := c.out.Table([]string{"PROVIDER", "KIND", "CURRENCY", "LEDGER", "CLEARING", "STATE"}, rows); err != nil {
						return err
					}
				}
				if silent > 0 {
					return fmt.Errorf("%d of %d providers do not answer", silent, len(all))
				}
				return nil
			})
		},
	}
}

// noPayments names the cure where no SFU has payment providers.
func noPayments(err error) error {
	return fmt.Errorf("%w; payment providers are described in /etc/rrts/payment/NAME.toml, see payment.toml(5)", err)
}

// paymentRow is a payment for programs.
type paymentRow struct {
	ID        string `json:"id"`
	Provider  string `json:"provider"`
	Status    string `json:"status"`
	Amount    uint64 `json:"amount"`
	Captured  uint64 `json:"captured"`
	Refunded  uint64 `json:"refunded"`
	Refunding uint64 `json:"refunding"`
	Settled   uint64 `json:"settled"`
	Fee       uint64 `json:"fee"`
	Merchant  string `json:"merchant_account"`
	Created   string `json:"created"`
	Changed   string `json:"changed"`
	Reference string `json:"reference,omitempty"`
}

func rowOfPayment(p *paymentpb.Payment) paymentRow {
	at := func(ns uint64) string { return time.Unix(0, int64(ns)).UTC().Format(time.RFC3339Nano) }
	return paymentRow{p.Id.String(), p.Provider, life.StatusWord(p.Status), p.Amount, p.Captured, p.Refunded, p.Refunding, p.Settled, p.Fee,
		p.MerchantAccount.String(), at(p.Created), at(p.Changed), p.Reference}
}

// paymentWord is a payment's status for people.
func paymentWord(p *paymentpb.Payment) string {
	return (&life.Payment{Status: p.Status, Amount: p.Amount, Captured: p.Captured, Refunded: p.Refunded}).Word()
}

func (c *cli) paymentListCommand() *cobra.Command {
	var provider, status, before string
	var limit uint32
	cmd := &cobra.Command{
		Use: "list", Short: "list payments, the newest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := &paymentpb.ListRequest{Provider: provider, Limit: limit}
			var err error
			if in.Before, err = moment(before, false); err != nil {
				return usageError{fmt.Errorf("--before is %q: %w", before, err)}
			}
			words := []string{"created", "authorized", "captured", "voided", "failed", "settled", "refunded"}
			if status != "" {
				i := slices.Index(words, status)
				if i < 0 {
					return usageError{fmt.Errorf("--status is %q, must be one of %s", status, strings.Join(words, ", "))}
				}
				in.Status = paymentpb.StatusCreated + paymentpb.Status(i)
			}
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				out, err := paymentpb.PaymentsClient{Caller: op}.List(cmd.Context(), in)
				if err != nil {
					return noPayments(err)
				}
				var rows [][]string
				for i := range out.Payments {
					p := &out.Payments[i]
					if c.json {
						if err := c.out.Object(rowOfPayment(p)); err != nil {
							return err
						}
					}
					rows = append(rows, []string{p.Id.String(), p.Provider, paymentWord(p), fmt.Sprint(p.Amount), fmt.Sprint(p.Captured), fmt.Sprint(p.Refunded),
						time.Unix(0, int64(p.Created)).UTC().Format(time.RFC3339)})
				}
				if c.json {
					return nil
				}
				if err := c.out.Table([]string{"ID", "PROVIDER", "STATUS", "AMOUNT", "CAPTURED", "REFUNDED", "CREATED"}, rows); err != nil {
					return err
				}
				if out.Next != 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "there are more: --before %d\n", out.Next)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&provider, "provider", "", "only those of one provider")
	cmd.Flags().StringVar(&status, "status", "", "only created, authorized, captured, voided, failed, settled or refunded ones")
	cmd.Flags().StringVar(&before, "before", "", "only those that were created before that: a day, a time, or nanoseconds since 1970")
	cmd.Flags().Uint32Var(&limit, "limit", 50, "how many, at most 1000")
	return cmd
}

func (c *cli) paymentShowCommand() *cobra.Command {
	var here bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "show a payment: its steps, what is owed, what the provider says",
		Args: arguments(1, 1, "the payment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := paymentID(args[0])
			if err != nil {
				return err
			}
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				p, err := paymentpb.PaymentsClient{Caller: op}.Show(cmd.Context(), &paymentpb.ShowRequest{Id: id, Ask: !here})
				if err != nil {
					return err
				}
				return c.printPayment(p)
			})
		},
	}
	cmd.Flags().BoolVar(&here, "ledger", false, "only what the ledger has: do not ask the provider")
	return cmd
}

func (c *cli) printPayment(p *paymentpb.Payment) error {
	there := ""
	if g := p.Charge; g != nil {
		there = fmt.Sprintf("%s, %d of %d captured, %d refunded", life.ChargeWord(g.Status), g.Captured, g.Amount, g.Refunded)
	} else if p.ChargeFault != "" {
		there = "not known: " + p.ChargeFault
	}
	type step struct {
		Step     string `json:"step"`
		Amount   uint64 `json:"amount"`
		Transfer string `json:"transfer_id"`
		Time     string `json:"time"`
	}
	type owed struct {
		Operation string `json:"operation"`
		State     string `json:"state"`
		Attempts  uint32 `json:"attempts"`
		Reason    string `json:"reason,omitempty"`
	}
	var steps []step
	for _, s := range p.Steps {
		steps = append(steps, step{s.Step.String(), s.Amount, s.TransferId.String(), time.Unix(0, int64(s.Timestamp)).UTC().Format(time.RFC3339Nano)})
	}
	var open []owed
	for _, o := range p.Owed {
		open = append(open, owed{o.Operation, txnpb.EffectState(o.State).String(), o.Attempts, o.Reason})
	}
	if c.json {
		return c.out.Object(struct {
			paymentRow
			Steps    []step `json:"steps"`
			Owed     []owed `json:"owed,omitempty"`
			Provider string `json:"provider_says,omitempty"`
		}{rowOfPayment(p), steps, open, there})
	}
	rows := [][]string{{"payment", p.Id.String()}, {"provider", p.Provider}, {"status", paymentWord(p)}, {"amount", fmt.Sprint(p.Amount)}, {"captured", fmt.Sprint(p.Captured)},
		{"refunded", fmt.Sprint(p.Refunded)}, {"merchant", p.MerchantAccount.String()}}
	for _, more := range []struct {
		name  string
		value uint64
	}{{"refunding", p.Refunding}, {"paid out", p.Settled}, {"fee", p.Fee}} {
		if more.value > 0 {
			rows = append(rows, []string{more.name, fmt.Sprint(more.value)})
		}
	}
	if p.Reference != "" {
		rows = append(rows, []string{"reference", p.Reference})
	}
	if there != "" {
		rows = append(rows, []string{"provider says", there})
	}
	for _, o := range open {
		rows = append(rows, []string{"owed", strings.TrimSuffix(fmt.Sprintf("%s, %s, %d attempts: %s", o.Operation, o.State, o.Attempts, o.Reason), ": ")})
	}
	if err := c.out.Table(nil, rows); err != nil {
		return err
	}
	var table [][]string
	for _, s := range steps {
		table = append(table, []string{s.Step, fmt.Sprint(s.Amount), s.Transfer, s.Time})
	}
	return c.out.Table([]string{"STEP", "AMOUNT", "TRANSFER", "TIME"}, table)
}

// waitFlag says how long a command waits for the provider.
func waitFlag(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", time.Minute, "how long to wait for what the provider says; 0 does not wait")
}

// makeCall submits a transaction that owes a call for a payment, waits for its end, and
// prints the payment.
func (c *cli) makeCall(ctx context.Context, op *client.Client, p *client.Payment, tx *txnpb.Transaction, wait time.Duration) error {
	if _, err := op.Submit(ctx, tx); err != nil {
		return fmt.Errorf("payment %v: %w", p.ID, err)
	}
	var failed error
	if wait > 0 {
		waiting, stop := context.WithTimeout(ctx, wait)
		defer stop()
		_, err := op.Completed(waiting, tx.Id)
		var not *client.NotCompletedError
		switch {
		case errors.As(err, &not):
			for _, end := range not.Outcome.Completion.Ends {
				if end.State != txnpb.EffectStateDone {
					failed = fmt.Errorf("%s has failed: %s", end.Operation, end.Reason)
					break
				}
			}
		case err != nil && ctx.Err() == nil:
			failed = fmt.Errorf("payment %v: what becomes of it is not known within %v, and nothing is lost: ask again, rrts payment show %v", p.ID, wait, p.ID)
		case err != nil:
			return err
		}
	}
	shown, err := paymentpb.PaymentsClient{Caller: op}.Show(ctx, &paymentpb.ShowRequest{Id: p.ID, Ask: true})
	if err == nil {
		err = c.printPayment(shown)
	}
	return errors.Join(err, failed)
}

// existing returns a payment to be gone on with.
func existing(ctx context.Context, op *client.Client, id u128.Int) (*client.Payment, *paymentpb.Payment, error) {
	shown, err := paymentpb.PaymentsClient{Caller: op}.Show(ctx, &paymentpb.ShowRequest{Id: id})
	if err != nil {
		return nil, nil, err
	}
	at, err := op.Provider(ctx, shown.Provider)
	if err != nil {
		return nil, nil, err
	}
	return &client.Payment{ID: id, Provider: at, Merchant: shown.MerchantAccount, Amount: shown.Amount}, shown, nil
}

func (c *cli) paymentCreateCommand() *cobra.Command {
	var token, description, memo string
	var capture bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "create PROVIDER ACCOUNT AMOUNT",
		Short: "hold a payment to an account, and let the provider hold it",
		Long: `Holds AMOUNT in the ledger for ACCOUNT, and has the provider hold it with the customer, whose card the token
stands for. With --capture it is taken at once. Where the provider refuses, the ledger holds nothing any
more, and the status is 1.`,
		Example: "  rrts payment create sandbox 2001 1999 --token visa --capture",
		Args:    arguments(3, 3, "provider, account and amount"),
		RunE: func(cmd *cobra.Command, args []string) error {
			merchant, err := u128.Parse(args[1])
			if err != nil {
				return usageError{fmt.Errorf("ACCOUNT is %q, must be an account's id", args[1])}
			}
			amount, err := paymentAmount(args[2])
			if err != nil {
				return err
			}
			if token == "" {
				return usageError{errors.New("--token is missing: what stands for the customer's card at the provider")}
			}
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				at, err := op.Provider(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				p, err := client.NewPayment(at, op.NewID(), merchant, amount, token)
				if err != nil {
					return err
				}
				p.Description = description
				tx := op.Transaction()
				tx.Memo = memo
				tx.Transfers = []ledgerpb.Transfer{p.Hold()}
				e := p.Authorize()
				if capture {
					e.Done = &txnpb.Continuation{Effects: []txnpb.Effect{p.Capture(amount)}}
				}
				tx.Effects = []txnpb.Effect{e}
				return c.makeCall(cmd.Context(), op, p, tx, wait)
			})
		},
	}
	cmd.Flags().StringVar(&token, "token", "", "what stands for the customer's card at the provider")
	cmd.Flags().StringVar(&description, "description", "", "what the customer reads on the bill")
	cmd.Flags().StringVar(&memo, "memo", "", "what the transaction is for, kept with it")
	cmd.Flags().BoolVar(&capture, "capture", false, "take the money as soon as the provider holds it")
	waitFlag(cmd, &wait)
	return cmd
}

func (c *cli) paymentCaptureCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "capture ID [AMOUNT]", Short: "take the money of a payment, or a part of it",
		Long: "Takes the money of an authorized payment. With less than the whole AMOUNT the rest is free: it cannot be taken later.",
		Args: arguments(1, 2, "the payment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onPayment(cmd.Context(), args, wait, func(p *client.Payment, shown *paymentpb.Payment, amount uint64, tx *txnpb.Transaction) error {
				if amount == 0 {
					amount = shown.Amount
				}
				if shown.Status != paymentpb.StatusAuthorized || amount > shown.Amount {
					return fmt.Errorf("%d cannot be captured: the payment of %d is %s", amount, shown.Amount, paymentWord(shown))
				}
				tx.Effects = []txnpb.Effect{p.Capture(amount)}
				return nil
			})
		},
	}
	waitFlag(cmd, &wait)
	return cmd
}

func (c *cli) paymentVoidCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "void ID", Short: "give up a payment that is not captured",
		Args: arguments(1, 1, "the payment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onPayment(cmd.Context(), args, wait, func(p *client.Payment, shown *paymentpb.Payment, _ uint64, tx *txnpb.Transaction) error {
				if shown.Status != paymentpb.StatusAuthorized && shown.Status != paymentpb.StatusCreated {
					return fmt.Errorf("it cannot be voided: the payment is %s", paymentWord(shown))
				}
				tx.Effects = []txnpb.Effect{p.Void()}
				return nil
			})
		},
	}
	waitFlag(cmd, &wait)
	return cmd
}

func (c *cli) paymentRefundCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "refund ID [AMOUNT]", Short: "give back what was captured, or a part of it",
		Long: "Holds AMOUNT on the merchant's account, and has the provider give it back. Left out it is all that was not given back yet.",
		Args: arguments(1, 2, "the payment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onPayment(cmd.Context(), args, wait, func(p *client.Payment, shown *paymentpb.Payment, amount uint64, tx *txnpb.Transaction) error {
				left := shown.Captured - min(shown.Captured, shown.Refunded+shown.Refunding)
				if amount == 0 {
					amount = left
				}
				if amount == 0 || amount > left {
					return fmt.Errorf("%d cannot be refunded: the payment is %s, %d was captured, %d is refunded or about to be", amount, paymentWord(shown), shown.Captured, shown.Refunded+shown.Refunding)
				}
				hold, e := p.Refund(client.DerivedTransferID(tx.Id, 0), amount)
				tx.Transfers, tx.Effects = []ledgerpb.Transfer{hold}, []txnpb.Effect{e}
				return nil
			})
		},
	}
	waitFlag(cmd, &wait)
	return cmd
}

// onPayment submits what build makes of a payment that is there.
func (c *cli) onPayment(ctx context.Context, args []string, wait time.Duration, build func(p *client.Payment, shown *paymentpb.Payment, amount uint64, tx *txnpb.Transaction) error) error {
	id, err := paymentID(args[0])
	if err != nil {
		return err
	}
	amount := uint64(0)
	if len(args) > 1 {
		if amount, err = paymentAmount(args[1]); err != nil {
			return err
		}
	}
	return c.withOperator(ctx, func(op *client.Client) error {
		p, shown, err := existing(ctx, op, id)
		if err != nil {
			return err
		}
		tx := op.Transaction()
		if err := build(p, shown, amount, tx); err != nil {
			return fmt.Errorf("payment %v: %w", id, err)
		}
		return c.makeCall(ctx, op, p, tx, wait)
	})
}

func (c *cli) paymentReconcileCommand() *cobra.Command {
	var since, until string
	cmd := &cobra.Command{
		Use:   "reconcile [PROVIDER]",
		Short: "find where ledger and provider differ",
		Long: `Compares the payments of the ledger with the charges of a provider, or of all of them, and prints what
differs. A payment for which a call is owed is under way, and differs from nobody. Nothing is changed. The
status is 1 when something differs.

--since and --until bound when payments were created: 2026-11-27, 2026-11-27T09:30:00Z, or nanoseconds since
1970. Left out, the last 30 days up to now are compared.

  status         one holds money that the other does not hold
  captured       not the same was taken
  refunded       not the same was given back
  unknown-there  the ledger has a payment that the provider does not know
  unknown-here   the provider has a charge that the ledger does not know
  twice          the provider has more than one charge for a payment`,
		Args: arguments(0, 1, "one provider, or none for all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := paymentpb.ReconcileRequest{Since: uint64(time.Now().AddDate(0, 0, -30).UnixNano())}
			from, err := moment(since, false)
			if err != nil {
				return usageError{fmt.Errorf("--since is %q: %w", since, err)}
			}
			if from != 0 {
				in.Since = from
			}
			if in.Until, err = moment(until, true); err != nil {
				return usageError{fmt.Errorf("--until is %q: %w", until, err)}
			}
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				names := args
				if len(names) == 0 {
					all, err := op.Providers(cmd.Context())
					if err != nil {
						return noPayments(err)
					}
					for i := range all {
						names = append(names, all[i].Name)
					}
				}
				differ := 0
				for _, name := range names {
					in.Provider = name
					n, err := c.reconcile(cmd.Context(), op, &in)
					if err != nil {
						return err
					}
					differ += n
				}
				if differ > 0 {
					return fmt.Errorf("%d payments differ", differ)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "of payments that were created from then on; left out, 30 days back")
	cmd.Flags().StringVar(&until, "until", "", "of those created before that; left out, now")
	return cmd
}

// reconcile compares one provider and prints what differs.
func (c *cli) reconcile(ctx context.Context, op *client.Client, in *paymentpb.ReconcileRequest) (differ int, err error) {
	out, err := paymentpb.PaymentsClient{Caller: op}.Reconcile(ctx, in)
	if err != nil {
		return 0, err
	}
	var rows [][]string
	for i := range out.Differences {
		d := &out.Differences[i]
		rows = append(rows, []string{d.Payment.String(), d.Kind, d.Here, d.There, d.Reference})
		if c.json {
			if err := c.out.Object(map[string]any{"provider": in.Provider, "payment": d.Payment.String(), "difference": d.Kind, "ledger": d.Here, "provider_says": d.There,
				"reference": d.Reference}); err != nil {
				return 0, err
			}
		}
	}
	if c.json {
		return len(out.Differences), c.out.Object(map[string]any{"provider": in.Provider, "payments": out.Payments, "charges": out.Charges, "under_way": out.UnderWay,
			"differences": len(out.Differences), "more": out.More, "ledger_net": out.HereNet, "provider_net": out.ThereNet})
	}
	summary := fmt.Sprintf("%d payments, %d charges, %d under way, %d differ", out.Payments, out.Charges, out.UnderWay, len(out.Differences))
	if out.More {
		summary += ", and more"
	}
	if err := c.out.Table(nil, [][]string{{"provider", in.Provider}, {"compared", summary}, {"net in the ledger", fmt.Sprint(out.HereNet)}, {"net at the provider", fmt.Sprint(out.ThereNet)}}); err != nil {
		return 0, err
	}
	if len(rows) > 0 {
		err = c.out.Table([]string{"PAYMENT", "DIFFERENCE", "LEDGER", "PROVIDER", "REFERENCE"}, rows)
	}
	return len(out.Differences), err
}
