package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

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
