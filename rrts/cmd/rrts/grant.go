package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// rightNames are the rights on an account as they are typed.
var rightNames = map[string]txnpb.AccessRights{
	"none": txnpb.AccessRightsNone, "read": txnpb.AccessRightsRead, "debit": txnpb.AccessRightsDebit,
	"settle": txnpb.AccessRightsSettle, "owner": txnpb.AccessRightsOwner,
}

// parseRights reads names joined by commas.
func parseRights(text string) (rights txnpb.AccessRights, err error) {
	for name := range strings.SplitSeq(text, ",") {
		r, ok := rightNames[name]
		if !ok {
			return 0, fmt.Errorf("%q is no right, these are: %s", name, strings.Join(slices.Sorted(maps.Keys(rightNames)), ", "))
		}
		rights |= r
	}
	return rights, nil
}

// nameRights is the reverse of parseRights.
func nameRights(rights uint32) string {
	var names []string
	for _, name := range [...]string{"read", "debit", "settle", "owner"} {
		if rights&uint32(rightNames[name]) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

func (c *cli) userGrantCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "grant USER ACCOUNT RIGHTS",
		Short: "say what a user may do with an account",
		Long: `Makes the rights of a user, by its number, on an account these, and no others: a list, joined by commas, of

  read     see its balances and transfers
  debit    move money from it, close it, post and void its pending transfers
  settle   post and void pending transfers that debit it
  owner    all of these, and grant others rights; an account has one owner at most
  none     nothing

It is a transaction like others: from its CSN on it counts, on every SFU, and for what is submitted by
sessions that are open already. User 0 with owner takes the owner away.`,
		Example: "  rrts user grant 1000 42 owner\n  rrts user grant 1001 42 read,debit\n  rrts user grant 1001 42 none",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 3 {
				return usageError{errors.New("name the user's number, the account and the rights: rrts user grant USER ACCOUNT RIGHTS")}
			}
			user, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usageError{fmt.Errorf("USER is %q, must be a user's number, as rrts user add printed it", args[0])}
			}
			account, err := parseAccount(args[1])
			if err != nil {
				return err
			}
			rights, err := parseRights(args[2])
			if err != nil {
				return usageError{err}
			}
			return c.grant(cmd.Context(), user, account, rights)
		},
	}
}

func parseAccount(text string) (u128.Int, error) {
	account, err := u128.Parse(text)
	if err != nil || account.IsZero() {
		return account, usageError{fmt.Errorf("ACCOUNT is %q, must be an account's id, a whole number", text)}
	}
	return account, nil
}

func (c *cli) grant(ctx context.Context, user uint64, account u128.Int, rights txnpb.AccessRights) error {
	op, _, err := c.operator(ctx, "")
	if err != nil {
		return err
	}
	defer op.Close()
	ctx, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	tx := op.Transaction()
	tx.Access = []txnpb.AccessChange{client.Grant(account, user, rights)}
	o, err := op.Submit(ctx, tx)
	var not *client.NotCommittedError
	if err != nil && !errors.As(err, &not) {
		return err
	}
	if err != nil {
		return fmt.Errorf("nothing was changed: %s", o.Reason)
	}
	if c.json {
		return c.out.Object(map[string]any{"user": user, "account": account.String(), "rights": nameRights(uint32(rights)), "csn": o.Csn})
	}
	return c.out.Table(nil, [][]string{{fmt.Sprintf("user %d has on account %v: %s, from CSN %d on", user, account, nameRights(uint32(rights)), o.Csn)}})
}

func (c *cli) userRightsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rights ACCOUNT",
		Short: "print who may do what with an account",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name the account: rrts user rights ACCOUNT")}
			}
			account, err := parseAccount(args[0])
			if err != nil {
				return err
			}
			op, _, err := c.operator(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer op.Close()
			all, err := op.Access(cmd.Context(), account)
			if err != nil {
				return err
			}
			return c.showRights(all)
		},
	}
}

func (c *cli) showRights(all []txnpb.AccountAccess) error {
	var rows [][]string
	show := func(user uint64, rights uint32) error {
		if c.json {
			return c.out.Object(map[string]any{"user": user, "rights": nameRights(rights)})
		}
		rows = append(rows, []string{fmt.Sprint(user), nameRights(rights)})
		return nil
	}
	for i := range all {
		a := all[i].Access
		if a.Owner != 0 {
			if err := show(a.Owner, uint32(txnpb.AccessRightsOwner)); err != nil {
				return err
			}
		}
		for _, g := range a.Grants {
			if err := show(g.User, g.Rights); err != nil {
				return err
			}
		}
	}
	if c.json {
		return nil
	}
	if len(rows) == 0 {
		rows = [][]string{{"nobody but operators", ""}}
	}
	return c.out.Table([]string{"USER", "RIGHTS"}, rows)
}
