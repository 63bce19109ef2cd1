package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func (c *cli) txCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tx", Short: "submit transactions, ask what became of them, make them final"}
	cmd.AddCommand(c.txSubmitCommand(), c.txStatusCommand(), c.txResolveCommand(), c.txListCommand(), c.txTraceCommand(), c.txOverruledCommand())
	return cmd
}

func (c *cli) txSubmitCommand() *cobra.Command {
	var timeout time.Duration
	var id string
	cmd := &cobra.Command{
		Use:   "submit [FILE|-]",
		Short: "submit one transaction",
		Long: `Reads one transaction from FILE, or from standard input, as a JSON object, submits it and prints its
outcome.

  {"memo":"rent","metadata":{"invoice":"17"},
   "preconditions":[{"account_id":"1","measure":"credit_available","comparison":"at_least","value":"500"}],
   "accounts":[{"id":"9","ledger":1,"code":1}],
   "access":[{"account_id":"9","user":3,"rights":["owner"]}],
   "transfers":[{"debit_account_id":"1","credit_account_id":"9","amount":"500","ledger":1,"code":1}],
   "derive_transfer_ids":true,
   "effects":[{"service":"mail","operation":"receipt","key":"order-17","arguments":{"to":"Anna","amount":{"decimal":"5.00"}}}]}

All of it takes effect or none; with "mode":"independent" each event has its own result. The transaction's
id is printed before it is submitted. Whatever happens then, the same file under the same id (--id, or "id"
in the file) may be submitted again: it is executed once.

Exit status: 0 when it was committed, 1 otherwise.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("%s takes one FILE, it got %q too", cmd.CommandPath(), args[1])}
			}
			name, read := "standard input", func() ([]byte, error) { return io.ReadAll(io.LimitReader(os.Stdin, exec.MaxLine+1)) }
			if len(args) == 1 && args[0] != "-" {
				name, read = args[0], func() ([]byte, error) { return os.ReadFile(args[0]) }
			}
			text, err := read()
			if err != nil {
				return err
			}
			tx, err := exec.ParseTransaction(text)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if id != "" {
				if tx.Id, err = u128.Parse(id); err != nil {
					return usageError{fmt.Errorf("--id is %q, must be a transaction's id, a whole number", id)}
				}
			}
			op, _, err := c.operator(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer op.Close()
			if tx.Id.IsZero() {
				tx.Id = op.NewID()
			}
			c.out.Say("transaction %v", tx.Id)
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			o, err := op.Submit(ctx, tx)
			return c.printOutcome(tx.Id, o, err)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", lineTimeout, "how long to wait for the outcome")
	cmd.Flags().StringVar(&id, "id", "", "the transaction's id; left out, that of the file, or a new one")
	return cmd
}

func (c *cli) txStatusCommand() *cobra.Command {
	var completed bool
	cmd := &cobra.Command{
		Use:   "status ID",
		Short: "print where a transaction stands",
		Long: `Prints where the transaction with that id stands. "unknown" means that nothing stands under the id now:
it may still be on its way. "rrts tx resolve" makes it final. A transaction that is committed and owes
effects, such as a mail, is completed when these are done; --completed waits for that, for at most ten
minutes.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if completed {
				return c.askWithin(cmd, args, completedTimeout, func(op *client.Client, ctx context.Context, id u128.Int) (*txnpb.Outcome, error) {
					o, err := op.Completed(ctx, id)
					var no *client.NotCompletedError
					if errors.As(err, &no) { // the table says so
						err = nil
					}
					return o, err
				})
			}
			return c.ask(cmd, args, (*client.Client).Status)
		},
	}
	cmd.Flags().BoolVar(&completed, "completed", false, "wait until all effects have come to an end")
	return cmd
}

// completedTimeout bounds the wait for effects.
const completedTimeout = 10 * time.Minute

func (c *cli) txResolveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resolve ID",
		Short: "make a transaction final and print its outcome",
		Long: `Prints the final outcome of the transaction with that id. If nothing stands under the id, "aborted
(cancelled)" is recorded, and the transaction is not executed if it comes later.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd, args, (*client.Client).Resolve)
		},
	}
}

// ask asks about the transaction that the arguments name.
func (c *cli) ask(cmd *cobra.Command, args []string, question func(*client.Client, context.Context, u128.Int) (*txnpb.Outcome, error)) error {
	return c.askWithin(cmd, args, lineTimeout, question)
}

func (c *cli) askWithin(cmd *cobra.Command, args []string, within time.Duration, question func(*client.Client, context.Context, u128.Int) (*txnpb.Outcome, error)) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("name the transaction: %s ID", cmd.CommandPath())}
	}
	id, err := u128.Parse(args[0])
	if err != nil || id.IsZero() {
		return usageError{fmt.Errorf("ID is %q, must be a transaction's id, a whole number", args[0])}
	}
	op, _, err := c.operator(cmd.Context(), "")
	if err != nil {
		return err
	}
	defer op.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), within)
	defer cancel()
	o, err := question(op, ctx, id)
	if err != nil {
		return err
	}
	return c.printTransactions(&txnpb.TransactionRow{Outcome: o})
}

// printOutcome prints what a submitted transaction came to; the error says that it
// was not committed, or is not known to be.
func (c *cli) printOutcome(id u128.Int, o *txnpb.Outcome, err error) error {
	var no *client.NotCommittedError
	var pending *client.PendingError
	switch {
	case errors.As(err, &no):
		o = no.Outcome
	case errors.As(err, &pending):
		o = &txnpb.Outcome{Id: id, State: txnpb.StatePending, Reason: fmt.Sprintf("%v; submit the same again with --id %v, or make it final: rrts tx resolve %v", pending.Cause, id, id)}
	case err != nil:
		return err
	}
	if err := c.printTransactions(&txnpb.TransactionRow{Outcome: o}); err != nil {
		return err
	}
	if o.State != txnpb.StateCommitted {
		return fmt.Errorf("transaction %v is %v", id, o.State)
	}
	return nil
}

func (c *cli) txListCommand() *cobra.Command {
	var limit int
	var user uint64
	var oldest bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the transactions whose outcomes are kept, the newest ids first",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return err
			}
			if limit < 1 {
				return usageError{fmt.Errorf("--limit is %d, must be at least 1", limit)}
			}
			op, _, err := c.operator(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer op.Close()
			var rows []*txnpb.TransactionRow
			f := txnpb.TransactionsFilter{Limit: uint32(min(limit, 1000)), Reversed: !oldest, Principal: user}
			for row, err := range op.Transactions(cmd.Context(), f) {
				if err != nil {
					return err
				}
				if rows = append(rows, &row); len(rows) == limit {
					break
				}
			}
			return c.printTransactions(rows...)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "the longest list that is wanted")
	cmd.Flags().Uint64Var(&user, "user", 0, "only the transactions of the user with this number; 0 means all")
	cmd.Flags().BoolVar(&oldest, "oldest", false, "the oldest ids first")
	return cmd
}

// txRow is one transaction for programs.
type txRow struct {
	ID         string            `json:"id"`
	State      string            `json:"state"`
	CSN        uint64            `json:"csn,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	User       uint64            `json:"user,omitempty"`
	Committed  string            `json:"committed,omitempty"`
	Events     uint32            `json:"events,omitempty"`
	Exceptions []exception       `json:"exceptions,omitempty"`
	Memo       string            `json:"memo,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	Effects    *effectCounts     `json:"effects,omitempty"`
}

// effectCounts is how far the effects of a transaction are.
type effectCounts struct {
	Owed        uint32      `json:"owed"`
	Done        uint32      `json:"done"`
	Failed      uint32      `json:"failed,omitempty"`
	Discarded   uint32      `json:"discarded,omitempty"`
	Quarantined uint32      `json:"quarantined,omitempty"`
	Completed   bool        `json:"completed"`
	Ends        []effectEnd `json:"ends,omitempty"`
}

// effectEnd is what became of an effect that failed, was discarded or has a reference.
type effectEnd struct {
	Ordinal   uint32 `json:"ordinal"`
	Service   string `json:"service"`
	Operation string `json:"operation"`
	State     string `json:"state"`
	Reason    string `json:"reason,omitempty"`
	Reference string `json:"reference,omitempty"`
}

func (e *effectCounts) String() string {
	switch {
	case e == nil:
		return ""
	case e.Completed && e.Done == e.Owed:
		return "completed"
	case e.Completed:
		return fmt.Sprintf("completed, %d failed, %d discarded", e.Failed, e.Discarded)
	case e.Quarantined > 0:
		return fmt.Sprintf("%d of %d done, %d in quarantine", e.Done, e.Owed, e.Quarantined)
	}
	return fmt.Sprintf("%d of %d done", e.Done, e.Owed)
}

func effectCountsOf(o *txnpb.Outcome) *effectCounts {
	if o.Effects == 0 || o.Completion == nil {
		return nil
	}
	c := o.Completion
	e := &effectCounts{Owed: c.Owed, Done: c.Done, Failed: c.Failed, Discarded: c.Discarded, Quarantined: c.Quarantined, Completed: client.Completed(o)}
	for i := range c.Ends {
		x := &c.Ends[i]
		e.Ends = append(e.Ends, effectEnd{x.Ordinal, x.Service, x.Operation, x.State.String(), x.Reason, string(x.Result)})
	}
	return e
}

// exception is one event that was not simply created: its place among accounts,
// transfers, users, access, and the number of its status.
type exception struct {
	Index  uint32 `json:"index"`
	Status uint32 `json:"status"`
}

func txRowOf(r *txnpb.TransactionRow) txRow {
	o := r.Outcome
	row := txRow{ID: o.Id.String(), State: o.State.String(), CSN: o.Csn, Reason: o.Reason, User: r.Principal, Effects: effectCountsOf(o)}
	if r.Committed != 0 {
		row.Committed = timeText(r.Committed)
	}
	if o.Results != nil {
		row.Events = o.Results.Count
		for _, x := range o.Results.Exceptions {
			row.Exceptions = append(row.Exceptions, exception{x.Index, x.Status})
		}
	}
	if o.Note != nil {
		row.Memo = o.Note.Memo
		for _, l := range o.Note.Metadata {
			if row.Metadata == nil {
				row.Metadata = map[string]string{}
			}
			row.Metadata[l.Name] = string(l.Value)
		}
	}
	return row
}

// printTransactions prints transactions.
func (c *cli) printTransactions(rows ...*txnpb.TransactionRow) error {
	var table [][]string
	for _, r := range rows {
		row := txRowOf(r)
		if c.json {
			if err := c.out.Object(row); err != nil {
				return err
			}
			continue
		}
		table = append(table, []string{row.ID, row.State, strconv.FormatUint(row.CSN, 10), strconv.Itoa(int(row.Events)),
			strconv.Itoa(len(row.Exceptions)), strconv.FormatUint(row.User, 10), row.Committed, row.Effects.String(), row.Memo, row.Reason})
	}
	if c.json {
		return nil
	}
	return c.out.Table([]string{"TRANSACTION", "STATE", "CSN", "EVENTS", "EXCEPTIONS", "USER", "FINAL SINCE", "EFFECTS", "MEMO", "REASON"}, table)
}
