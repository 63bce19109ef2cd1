package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

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
