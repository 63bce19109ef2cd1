package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/embedded"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func (c *cli) ledgerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ledger", Short: "read and change the ledger by JSON lines; list its rows; print statements; audit it"}
	cmd.AddCommand(c.ledgerExecCommand(), c.queryCommand(), c.statementCommand(), c.ledgerAuditCommand())
	return cmd
}

// The clocks of an embedded ledger.
const (
	clockSystem  = "system"
	clockVirtual = "virtual"
)

func (c *cli) ledgerExecCommand() *cobra.Command {
	var dir, clock string
	cmd := &cobra.Command{
		Use:   "exec [FILE|-]",
		Short: "execute requests, one a line, and print their answers",
		Long: `Reads requests from FILE, or from standard input, one JSON object a line, and prints one line of JSON
for each, in order. Each line that creates is a transaction of its own in which every event has its
own result; "linked" events succeed or fail together.

  {"create_accounts":[{"id":"1","ledger":1,"code":10,"flags":["history"]},{"id":"2","ledger":1,"code":10}]}
  {"create_transfers":[{"id":"1","debit_account_id":"1","credit_account_id":"2","amount":"1999","ledger":1,"code":1}]}
  {"lookup_accounts":["1","2"]}                     {"lookup_transfers":["1"]}
  {"get_account_transfers":{"account_id":"1","flags":["debits","credits"],"limit":10}}
  {"get_account_balances":{"account_id":"1","flags":["debits","credits","reversed"],"limit":10}}
  {"query_accounts":{"ledger":1,"limit":10}}        {"query_transfers":{"code":1,"limit":10}}
  {"get_change_events":{"limit":10}}                {"get_balances":{"account_ids":["1"],"timestamp":N}}

128-bit numbers are strings in the answers and may be numbers in requests. All other numbers are JSON
numbers up to 2^64-1: read them with a parser that keeps all digits.

A line that is not a request, or is refused, answers {"error":"line N: …"}; nothing of it is executed,
the lines after it are. The exit status is then 1.

The requests go to the cluster, through an SFU of this machine. With --embedded DIR they go to a
ledger of their own in DIR, without a cluster; it is on disk when the command ends. With --clock
virtual its time begins at 0, goes on by one nanosecond with each event, and by
{"tick":{"nanoseconds":N}}, after which pending transfers expire.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usageError{fmt.Errorf("%s takes one FILE, it got %q too; put the lines into one file", cmd.CommandPath(), args[1])}
			case clock != clockSystem && clock != clockVirtual:
				return usageError{fmt.Errorf("--clock is %q, must be %s or %s", clock, clockSystem, clockVirtual)}
			case clock == clockVirtual && dir == "":
				return usageError{errors.New("a cluster keeps its own time: --clock virtual goes with --embedded DIR")}
			}
			in := io.Reader(os.Stdin)
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			if dir != "" {
				return c.execEmbedded(cmd.Context(), in, embedded.Config{Dir: dir, Virtual: clock == clockVirtual})
			}
			op, _, err := c.operator(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer op.Close()
			return c.exec(cmd.Context(), in, clusterLedger{op})
		},
	}
	cmd.Flags().StringVar(&dir, "embedded", "", "directory of a ledger without a cluster; it is made if need be")
	cmd.Flags().StringVar(&clock, "clock", clockSystem, "clock of an embedded ledger: system or virtual")
	return cmd
}

// execEmbedded executes in on a ledger in a directory.
func (c *cli) execEmbedded(ctx context.Context, in io.Reader, cfg embedded.Config) error {
	// A reader of the answers that goes away must not end the process before what was
	// executed is on disk: the next answer fails instead.
	signal.Ignore(syscall.SIGPIPE)
	l, err := embedded.Open(cfg)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- errors.Join(c.exec(ctx, in, l), l.Close()) }()
	select {
	case err := <-done:
		return err
	case err := <-l.Broken(): // the other one may never end
		return fmt.Errorf("%w; make room, then run all the lines again: the ledger is as it was at the last end of this command, or some lines on", err)
	}
}

// exec executes the requests of in and prints the answers. When ctx ends it stops
// before the next request, even while it waits for one.
func (c *cli) exec(ctx context.Context, in io.Reader, t exec.Target) error {
	lines, feed := io.Pipe()
	defer lines.Close()
	defer context.AfterFunc(ctx, func() { feed.CloseWithError(errInterrupted) })()
	go func() { // a read from a terminal cannot be interrupted: this may last as long as the process
		_, err := io.Copy(feed, in)
		feed.CloseWithError(err)
	}()
	sum, err := exec.Run(ctx, lines, c.out.Std, t)
	if err != nil {
		return err
	}
	if sum.Errors > 0 {
		return fmt.Errorf("%d of %d requests were not executed, the first of them in line %d; their answers say why", sum.Errors, sum.Requests, sum.First)
	}
	return nil
}

// errInterrupted says that the user wanted no more.
var errInterrupted = errors.New("interrupted")

// lineTimeout is how long a cluster may take for one line: longer than an election
// and the change to another gateway together.
const lineTimeout = 30 * time.Second

// clusterLedger is a cluster as the target of requests.
type clusterLedger struct{ cluster }

// cluster is what clusterLedger needs of a client.Client.
type cluster interface {
	NewID() u128.Int
	Submit(context.Context, *txnpb.Transaction) (*txnpb.Outcome, error)
	Query(context.Context, *txnpb.Query) (*txnpb.QueryAnswer, error)
}

// Create implements exec.Target.
func (l clusterLedger) Create(ctx context.Context, accounts []ledgerpb.Account, transfers []ledgerpb.Transfer) (*txnpb.Results, error) {
	ctx, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	o, err := l.Submit(ctx, &txnpb.Transaction{Id: l.NewID(), Mode: txnpb.ModeIndependent, Accounts: accounts, Transfers: transfers})
	var no *client.NotCommittedError
	var pending *client.PendingError
	switch {
	case err == nil && o.Results != nil:
		return o.Results, nil
	case err == nil:
		return nil, errors.New("the cluster answered without results: is this software older than the cluster's?")
	case errors.As(err, &no):
		return nil, &exec.RefusedError{Reason: fmt.Sprintf("the cluster refused: %v %s", no.Outcome.State, no.Outcome.Reason)}
	case errors.As(err, &pending):
		return nil, fmt.Errorf("whether it was executed is not known (%w); run the lines from this one on again: what was executed answers \"exists\"", pending.Cause)
	}
	return nil, refusal(err)
}

// Query implements exec.Target.
func (l clusterLedger) Query(ctx context.Context, q *txnpb.Query) (*txnpb.QueryAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	a, err := l.cluster.Query(ctx, q)
	return a, refusal(err)
}

// refusal makes an error that says no to one request a refusal of that one.
func refusal(err error) error {
	var no *message.Error
	if errors.As(err, &no) && (no.Code == message.Invalid || no.Code == message.Denied) {
		return &exec.RefusedError{Reason: fmt.Sprintf("the cluster refused: %v", no)}
	}
	return err
}

// Tick implements exec.Target.
func (l clusterLedger) Tick(context.Context, uint64) error {
	return &exec.RefusedError{Reason: "tick: a cluster keeps its own time; run with --embedded DIR --clock virtual"}
}
