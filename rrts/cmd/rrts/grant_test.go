package main

import (
	"errors"
	"fmt"
	"testing"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// TestUserGrant: what users may do with an account is what was granted last, for sessions
// too that were open before.
func TestUserGrant(t *testing.T) {
	a := newArena(t, 1, nil)
	ctx := run(t, a)
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	names, err := arena.Register(ctx, op, 2)
	if err != nil {
		t.Fatal(err)
	}
	var users [2]*client.Client
	for i := range users {
		if users[i], err = a.Login(ctx, names[i]); err != nil {
			t.Fatal(err)
		}
		defer users[i].Close()
	}
	tx := op.Transaction()
	for id := uint64(1); id <= 2; id++ {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(id), Ledger: 1, Code: 1})
	}
	if _, err := op.Submit(ctx, tx); err != nil {
		t.Fatal(err)
	}
	number := func(i int) string { return fmt.Sprint(users[i].Session().User) }
	grant := func(i int, rights string) {
		t.Helper()
		if v := must(t, "--config", a.ConfigDir(0), "user", "grant", number(i), "1", rights); v["rights"] != rights {
			t.Errorf("grant printed %v", v)
		}
	}
	may := func(when string, i int, sees, pays bool) {
		t.Helper()
		seen, err := users[i].LookupAccounts(ctx, u128.From64(1))
		if err != nil || (len(seen) == 1) != sees {
			t.Errorf("%s: user %d sees %d accounts, %v", when, i, len(seen), err)
		}
		_, err = users[i].Submit(ctx, pay(users[i], 1))
		var not *client.NotCommittedError
		if pays != (err == nil) || err != nil && !errors.As(err, &not) {
			t.Errorf("%s: user %d pays: %v", when, i, err)
		}
	}
	may("before", 0, false, false)
	grant(0, "owner")
	may("as its owner", 0, true, true)
	may("as a stranger", 1, false, false)
	grant(1, "read")
	may("with read", 1, true, false)
	grant(1, "read,debit")
	may("with read and debit", 1, true, true)
	if out, err := rrts(t, "--config", a.ConfigDir(0), "--json", "user", "rights", "1"); err != nil ||
		string(out) != fmt.Sprintf("{\"rights\":\"owner\",\"user\":%s}\n{\"rights\":\"read,debit\",\"user\":%s}\n", number(0), number(1)) {
		t.Errorf("rights printed %s%v", out, err)
	}
	grant(1, "none")
	may("with none", 1, false, false)
	refused(t, "nothing was changed", "--config", a.ConfigDir(0), "user", "grant", "999999", "1", "read")
	refused(t, "nothing was changed", "--config", a.ConfigDir(0), "user", "grant", number(0), "77", "read")
	refused(t, "is no right, these are: debit, none, owner, read, settle", "user", "grant", number(0), "1", "write")
}
