package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
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
