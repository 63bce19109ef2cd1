package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/embedded"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// defaultLimit is how many rows are printed where nobody says how many: a screen or two.
const defaultLimit = 100

// query is what the commands that list rows have in common: what is selected, from where it
// is read and how it is printed.
type query struct {
	account, from, to string
	userData128       string
	f                 ledgerpb.QueryFilter // the rest of what is selected
	debits, credits   bool
	reversed          bool
	embedded          string
	stale             bool
	csv               bool
}

func (c *cli) queryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "query",
		Short: "list accounts, transfers, balances and change events by what they hold",
		Long: `Lists rows of the ledger, oldest first, or newest first with --reverse: those that agree with every
flag that is given. --limit bounds how many, 100 if it is left out; --limit 0 lists all of them, read in
pages, so that a list of any length needs little memory with --csv and --json.

--from and --to are inclusive: 2026-11-27, 2026-11-27T09:30:00Z, or nanoseconds since 1970. A day alone
means, in UTC, its first moment after --from and its last one after --to.

--json and --csv print every field under its name in the data model; the table leaves some out.

The rows are the cluster's, read through an SFU of this machine, with everything that was committed
before; with --stale as that SFU has them, even when no majority can be reached: that may be less. With
--embedded DIR they are those of the ledger in DIR.`,
	}
	cmd.AddCommand(
		c.rowsCommand("accounts", "list accounts", queryFields, func(q *query, from client.Querier, ctx context.Context, p *rowPrinter) error {
			return printRows(p, exec.AccountColumns, client.Accounts(ctx, from, q.f),
				"timestamp", "id", "ledger", "code", "debits_posted", "credits_posted", "debits_pending", "credits_pending", "flags")
		}),
		c.rowsCommand("transfers", "list transfers, of all accounts or of one", queryFields|accountFields, func(q *query, from client.Querier, ctx context.Context, p *rowPrinter) error {
			rows := client.Transfers(ctx, from, q.f)
			if q.account != "" {
				rows = client.AccountTransfers(ctx, from, q.accountFilter())
			}
			return printRows(p, exec.TransferColumns, rows,
				"timestamp", "id", "debit_account_id", "credit_account_id", "amount", "ledger", "code", "pending_id", "flags")
		}),
		c.rowsCommand("balances", "list the balances of an account with the flag history, after each of its transfers", accountFields|accountNeeded, func(q *query, from client.Querier, ctx context.Context, p *rowPrinter) error {
			return printRows(p, exec.BalanceColumns, client.AccountBalances(ctx, from, q.accountFilter()), exec.BalanceColumns.Names()...)
		}),
		c.rowsCommand("changes", "list what changed balances: transfers and expiries, with the balances after each", 0, func(q *query, from client.Querier, ctx context.Context, p *rowPrinter) error {
			return printRows(p, exec.EventColumns, client.ChangeEvents(ctx, from, ledgerpb.ChangeEventsFilter{TimestampMin: q.f.TimestampMin, TimestampMax: q.f.TimestampMax, Limit: q.f.Limit}),
				"timestamp", "type", "transfer_id", "debit_account_id", "credit_account_id", "transfer_amount", "ledger", "transfer_code",
				"debit_account_debits_posted", "debit_account_credits_posted", "credit_account_debits_posted", "credit_account_credits_posted")
		}),
	)
	return cmd
}

// What a kind of query can be asked for beside a time and a limit.
const (
	queryFields   = 1 << iota // what rows hold
	accountFields             // one account's side
	accountNeeded             // and only that
)

// rowsCommand makes the command that lists one kind of row.
func (c *cli) rowsCommand(name, short string, asks int, list func(q *query, from client.Querier, ctx context.Context, p *rowPrinter) error) *cobra.Command {
	q := &query{}
	cmd := &cobra.Command{Use: name, Short: short, RunE: func(cmd *cobra.Command, args []string) error {
		if err := noArgs(cmd, args); err != nil {
			return err
		}
		if err := q.read(name, asks, c.json); err != nil {
			return usageError{err}
		}
		return c.withLedger(cmd.Context(), q, func(from client.Querier) error {
			return list(q, from, cmd.Context(), &rowPrinter{c: c, csv: q.csv, what: name, limit: q.f.Limit})
		})
	}}
	f := cmd.Flags()
	if asks&accountFields != 0 {
		f.StringVar(&q.account, "account", "", "only of the account with this id")
		f.BoolVar(&q.debits, "debits", false, "only what debits the account")
		f.BoolVar(&q.credits, "credits", false, "only what credits the account")
	}
	if asks&queryFields != 0 {
		f.Uint32Var(&q.f.Ledger, "ledger", 0, "only of this ledger; 0 means all")
	}
	if asks != 0 {
		f.Uint32Var(&q.f.Code, "code", 0, "only with this code; 0 means all")
		f.StringVar(&q.userData128, "user-data-128", "", "only with this user_data_128")
		f.Uint64Var(&q.f.UserData64, "user-data-64", 0, "only with this user_data_64; 0 means all")
		f.Uint32Var(&q.f.UserData32, "user-data-32", 0, "only with this user_data_32; 0 means all")
		f.BoolVar(&q.reversed, "reverse", false, "newest first")
	}
	f.StringVar(&q.from, "from", "", "the first moment; left out, from the beginning")
	f.StringVar(&q.to, "to", "", "the last moment; left out, up to now")
	f.Uint32Var(&q.f.Limit, "limit", defaultLimit, "how many rows at most; 0 means all")
	f.BoolVar(&q.stale, "stale", false, "as the SFU has them, which may be less than was committed")
	f.StringVar(&q.embedded, "embedded", "", "directory of a ledger without a cluster")
	f.BoolVar(&q.csv, "csv", false, "print comma-separated values")
	return cmd
}

// read checks the flags and makes the filter of them.
func (q *query) read(name string, asks int, asJSON bool) (err error) {
	switch {
	case q.csv && asJSON:
		return errors.New("--csv and --json: choose one of them")
	case q.stale && q.embedded != "":
		return errors.New("--stale is of a cluster's replica: a ledger without a cluster has no other")
	case asks&accountNeeded != 0 && q.account == "":
		return fmt.Errorf("name the account: rrts ledger query %s --account ID", name)
	case q.account == "" && (q.debits || q.credits):
		return errors.New("--debits and --credits are one account's: name it with --account ID")
	case q.account != "" && q.f.Ledger != 0:
		return errors.New("--ledger and --account: an account is of one ledger, leave --ledger out")
	}
	if q.account != "" {
		if _, err := u128.Parse(q.account); err != nil {
			return fmt.Errorf("--account is %q, must be an account's id, a whole number", q.account)
		}
	}
	if q.userData128 != "" {
		if q.f.UserData128, err = u128.Parse(q.userData128); err != nil {
			return fmt.Errorf("--user-data-128 is %q, must be a whole number", q.userData128)
		}
	}
	if q.f.TimestampMin, err = moment(q.from, false); err != nil {
		return fmt.Errorf("--from is %q: %w", q.from, err)
	}
	if q.f.TimestampMax, err = moment(q.to, true); err != nil {
		return fmt.Errorf("--to is %q: %w", q.to, err)
	}
	if q.f.TimestampMax != 0 && q.f.TimestampMin > q.f.TimestampMax {
		return fmt.Errorf("--from %s is after --to %s", q.from, q.to)
	}
	if q.reversed {
		q.f.Flags = uint32(ledgerpb.QueryFilterFlagsReversed)
	}
	return nil
}

// accountFilter is the filter for rows of one account: of both sides, if none is chosen.
func (q *query) accountFilter() ledgerpb.AccountFilter {
	f := ledgerpb.AccountFilter{
		UserData128: q.f.UserData128, UserData64: q.f.UserData64, UserData32: q.f.UserData32, Code: q.f.Code,
		TimestampMin: q.f.TimestampMin, TimestampMax: q.f.TimestampMax, Limit: q.f.Limit,
	}
	f.AccountId, _ = u128.Parse(q.account) // it was read before
	if q.debits || !q.credits {
		f.Flags |= uint32(ledgerpb.AccountFilterFlagsDebits)
	}
	if q.credits || !q.debits {
		f.Flags |= uint32(ledgerpb.AccountFilterFlagsCredits)
	}
	if q.reversed {
		f.Flags |= uint32(ledgerpb.AccountFilterFlagsReversed)
	}
	return f
}

// withLedger calls f with what q is asked of.
func (c *cli) withLedger(ctx context.Context, q *query, f func(client.Querier) error) (err error) {
	if q.embedded != "" {
		// Virtual, so that reading expires nothing by this machine's clock.
		l, err := embedded.Open(embedded.Config{Dir: q.embedded, Virtual: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		return f(l)
	}
	op, _, err := c.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	if !q.stale {
		return f(clusterLedger{op})
	}
	s := &staleReads{Querier: clusterLedger{op}}
	if err := f(s); err != nil {
		return err
	}
	c.out.Say("stale: as this SFU has them, up to CSN %d; what was committed since may be missing", s.csn)
	return nil
}

// staleReads asks one replica for what it has, and remembers up to where all pages are
// complete.
type staleReads struct {
	client.Querier
	csn uint64
}

// Query implements client.Querier. A page is never of an older state than the one before.
func (s *staleReads) Query(ctx context.Context, q *txnpb.Query) (*txnpb.QueryAnswer, error) {
	own := *q
	own.Stale, own.MinCsn = true, s.csn
	a, err := s.Querier.Query(ctx, &own)
	if err == nil {
		s.csn = a.Csn
	}
	return a, err
}

// rowPrinter prints the rows of one query.
type rowPrinter struct {
	c     *cli
	csv   bool
	what  string
	limit uint32
	count uint32
}

// progressRows is after how many rows progress is shown: two pages.
const progressRows = 2000

// printRows prints the rows as they come; a table, whose columns are as wide as what is in
// them, when all are there. people names the columns of the table.
func printRows[T any](p *rowPrinter, columns exec.Columns[T], rows iter.Seq2[T, error], people ...string) error {
	names := columns.Names()
	var table [][]string
	var line []byte
	w := csv.NewWriter(p.c.out.Std)
	if p.csv {
		w.Write(names) // Error tells, at the end
	}
	for row, err := range rows {
		if err != nil {
			p.c.out.Progress("")
			w.Flush()
			return fmt.Errorf("after %d %s: %w", p.count, p.what, err)
		}
		switch {
		case p.c.json:
			line = append(columns.AppendJSON(line[:0], &row), '\n')
			err = p.c.out.Text(string(line))
		case p.csv:
			err = w.Write(columns.Texts(&row))
		default:
			table = append(table, tableRow(names, people, columns.Texts(&row)))
		}
		if err != nil {
			return err
		}
		if p.count++; p.count%progressRows == 0 {
			p.c.out.Progress("%d %s", p.count, p.what)
		}
	}
	p.c.out.Progress("")
	w.Flush()
	if err := w.Error(); err != nil {
		return err
	}
	if !p.csv && !p.c.json {
		if err := p.c.out.Table(headers(people), table); err != nil {
			return err
		}
	}
	if p.limit > 0 && p.count == p.limit {
		p.c.out.Say("%d %s, as --limit says; there may be more: --limit 0 lists all", p.count, p.what)
	}
	return nil
}

// tableRow picks the columns of the table; a moment is written as one.
func tableRow(names, people, texts []string) []string {
	row := make([]string, len(people))
	for i, name := range people {
		row[i] = texts[slices.Index(names, name)]
		switch {
		case name == "timestamp":
			ns, _ := u128.Parse(row[i]) // it is a number
			row[i] = timeText(ns.Lo)
		case name == "pending_id" && row[i] == "0":
			row[i] = ""
		}
	}
	return row
}

// headers are the names of columns above a table.
func headers(people []string) []string {
	row := make([]string, len(people))
	for i, name := range people {
		if name == "timestamp" {
			name = "time"
		}
		name = strings.TrimSuffix(name, "_id")
		row[i] = strings.ToUpper(strings.ReplaceAll(name, "_", " "))
	}
	return row
}
