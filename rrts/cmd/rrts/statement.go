package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/embedded"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

func (c *cli) statementCommand() *cobra.Command {
	var dir, from, to string
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "statement ACCOUNT",
		Short: "print an account's statement: every transfer with the balance after it",
		Long: `Prints what happened on an account between two moments: its balances before, one line for each transfer
and each pending transfer that expired, with the balances just after it, and its balances at the end.
The balance is the posted credits less the posted debits; "held" is what pending transfers hold of it.

--from and --to are inclusive: 2026-11-27, 2026-11-27T09:30:00Z, or nanoseconds since 1970. A day alone
means, in UTC, its first moment after --from and its last one after --to.

The account is the cluster's, read through an SFU of this machine; with --embedded DIR it is one of the
ledger in DIR.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name the account: rrts ledger statement ACCOUNT")}
			}
			account, err := u128.Parse(args[0])
			if err != nil {
				return usageError{fmt.Errorf("ACCOUNT is %q, must be an account's id, a whole number", args[0])}
			}
			if asCSV && c.json {
				return usageError{errors.New("--csv and --json: choose one of them")}
			}
			first, err := moment(from, false)
			if err != nil {
				return usageError{fmt.Errorf("--from is %q: %w", from, err)}
			}
			last, err := moment(to, true)
			if err != nil {
				return usageError{fmt.Errorf("--to is %q: %w", to, err)}
			}
			if last != 0 && first > last {
				return usageError{fmt.Errorf("--from %s is after --to %s", from, to)}
			}
			s, err := c.readStatement(cmd.Context(), dir, account, first, last)
			if err != nil {
				return err
			}
			return c.printStatement(s, asCSV)
		},
	}
	cmd.Flags().StringVar(&dir, "embedded", "", "directory of a ledger without a cluster")
	cmd.Flags().StringVar(&from, "from", "", "the first moment; left out, from the beginning")
	cmd.Flags().StringVar(&to, "to", "", "the last moment; left out, up to now")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print comma-separated values")
	return cmd
}

func (c *cli) readStatement(ctx context.Context, dir string, account u128.Int, from, to uint64) (s *client.Statement, err error) {
	if dir == "" {
		op, _, err := c.operator(ctx, "")
		if err != nil {
			return nil, err
		}
		defer op.Close()
		return op.Statement(ctx, account, from, to)
	}
	// Virtual, so that reading expires nothing by this machine's clock.
	l, err := embedded.Open(embedded.Config{Dir: dir, Virtual: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return client.ReadStatement(ctx, l, account, from, to)
}

// moment reads a time in nanoseconds since 1970, 0 for "". Of a day it is the first
// nanosecond, or the last one.
func moment(text string, last bool) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		return n, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		if t, err = time.Parse(time.DateOnly, text); err != nil {
			return 0, errors.New("write it like 2026-11-27, 2026-11-27T09:30:00Z, or as nanoseconds since 1970")
		}
		if last {
			t = t.AddDate(0, 0, 1).Add(-1)
		}
	}
	if n := t.UnixNano(); n > 0 && t.Year() < 2262 {
		return uint64(n), nil
	}
	return 0, errors.New("it must lie between 1970 and 2262")
}

// statementRow is one line of a statement in all its forms.
type statementRow struct {
	Time       string `json:"time"`
	Timestamp  uint64 `json:"timestamp"`
	What       string `json:"what"` // opening, closing, or a ledgerpb.ChangeEventType
	TransferID string `json:"transfer_id,omitempty"`
	Other      string `json:"other_account,omitempty"`
	Code       uint32 `json:"code,omitempty"`
	Debit      string `json:"debit,omitempty"`
	Credit     string `json:"credit,omitempty"`
	Balance    string `json:"balance"`
	Held       string `json:"held"`
	Expected   string `json:"expected"`
	CSN        uint64 `json:"csn,omitempty"`
	Memo       string `json:"memo,omitempty"`
}

var statementHeader = []string{"time", "timestamp", "what", "transfer_id", "other_account", "code", "debit", "credit", "balance", "held", "expected", "csn", "memo"}

func (r *statementRow) fields() []string {
	number := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	return []string{r.Time, number(r.Timestamp), r.What, r.TransferID, r.Other, number(uint64(r.Code)), r.Debit, r.Credit, r.Balance, r.Held, r.Expected, number(r.CSN), r.Memo}
}

func statementRows(s *client.Statement) []statementRow {
	rows := []statementRow{boundRow("opening", &s.Opening)}
	for i := range s.Lines {
		l := &s.Lines[i]
		t, b := l.Transfer, l.Balance
		r := statementRow{
			Time: timeText(l.Timestamp), Timestamp: l.Timestamp, What: l.Type.String(), TransferID: t.Id.String(), Other: t.DebitAccountId.String(), Code: t.Code,
			Balance: less(b.CreditsPosted, b.DebitsPosted), Held: b.DebitsPending.String(), Expected: b.CreditsPending.String(),
			CSN: l.Csn, Memo: s.Notes[l.Csn].Memo,
		}
		if t.DebitAccountId == s.Opening.Id {
			r.Other, r.Debit = t.CreditAccountId.String(), t.Amount.String()
		} else {
			r.Credit = t.Amount.String()
		}
		rows = append(rows, r)
	}
	return append(rows, boundRow("closing", &s.Closing))
}

func boundRow(what string, a *ledgerpb.Account) statementRow {
	return statementRow{What: what, Balance: less(a.CreditsPosted, a.DebitsPosted), Held: a.DebitsPending.String(), Expected: a.CreditsPending.String()}
}

func timeText(ns uint64) string { return time.Unix(0, int64(ns)).UTC().Format(time.RFC3339Nano) }

// less prints a − b.
func less(a, b u128.Int) string {
	if d, under := a.Sub(b); !under {
		return d.String()
	}
	d, _ := b.Sub(a)
	return "-" + d.String()
}

func (c *cli) printStatement(s *client.Statement, asCSV bool) error {
	rows := statementRows(s)
	switch {
	case c.json:
		for i := range rows {
			if err := c.out.Object(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	case asCSV:
		w := csv.NewWriter(c.out.Std)
		w.Write(statementHeader) // Error tells
		for i := range rows {
			w.Write(rows[i].fields())
		}
		w.Flush()
		return w.Error()
	}
	table := make([][]string, len(rows))
	for i := range rows {
		table[i] = rows[i].fields()
		table[i] = append(table[i][:1:1], table[i][2:]...) // the time says it already
	}
	return c.out.Table([]string{"TIME", "WHAT", "TRANSFER", "OTHER ACCOUNT", "CODE", "DEBIT", "CREDIT", "BALANCE", "HELD", "EXPECTED", "CSN", "MEMO"}, table)
}
