package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/comps/txn/overruled"
	"virtualservicesinc.com/rrts/client"
)

func (c *cli) txOverruledCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "overruled FILE",
		Short: "look through the transactions that a forced recovery overruled",
		Long: `An SFU that a forced recovery has overruled writes the transactions that only it has into a file of its
state directory, overruled-epoch-N.jsonl: one JSON object a line, with what it had answered and the
transaction itself. This command lists them, and asks the cluster what it knows of each.

"here" is what the overruled SFU had answered; what it had committed its clients may have been told.
"now" is what the cluster says: a transaction that the client has submitted again since is committed. What
is unknown now is not in the ledger: settle it with the client, or take the transaction out of the file and
submit it again under its own id (rrts tx submit).

Exit status: 0 when the cluster knows all that was committed, 1 otherwise.`,
		Example: "  rrts tx overruled /var/lib/rrts/bravo.old-20261127T120000Z/overruled-epoch-2.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name the file: %s FILE", cmd.CommandPath())}
			}
			return c.txOverruled(cmd.Context(), args[0])
		},
	}
}

func (c *cli) txOverruled(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	op, _, err := c.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, exec.MaxLine)
	var rows [][]string
	missing := 0
	for n := 1; lines.Scan(); n++ {
		var r overruled.Row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		tx, err := exec.ParseTransaction(r.Transaction)
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		o, err := op.Status(ctx, tx.Id)
		var no *client.NotCommittedError
		if errors.As(err, &no) {
			o, err = no.Outcome, nil
		}
		if err != nil {
			return fmt.Errorf("transaction %v: %w", tx.Id, err)
		}
		now := o.State.String()
		if r.State == "committed" && now != "committed" {
			missing++
		}
		if c.json {
			row := map[string]any{"id": tx.Id.String(), "here": r.State, "csn": r.CSN, "user": r.User, "now": now, "events": len(tx.Accounts) + len(tx.Transfers) + len(tx.Access), "memo": tx.Memo}
			if err := c.out.Object(row); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{tx.Id.String(), r.State, strconv.FormatUint(r.CSN, 10), now,
			strconv.Itoa(len(tx.Accounts) + len(tx.Transfers) + len(tx.Access)), strconv.FormatUint(r.User, 10), r.Committed, tx.Memo})
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !c.json {
		if err := c.out.Table([]string{"TRANSACTION", "HERE", "CSN", "NOW", "EVENTS", "USER", "COMMITTED", "MEMO"}, rows); err != nil {
			return err
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d transactions that had been committed are not known to the cluster", missing)
	}
	return nil
}
