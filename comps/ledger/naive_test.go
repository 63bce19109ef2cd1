package ledger_test

import (
	"maps"
	"math/big"
	"slices"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// naive is the ledger again, from the data model's page and not from this
// package: rules one after another, big integers, a copy of everything before a
// chain, a walk over everything for a question. It shares no code with Ledger but
// the generated types, so that both must be wrong in the same way to agree.
type naive struct {
	accounts  map[string]*naiveAccount
	transfers map[string]*naiveTransfer
	failed    map[string]bool
	events    []naiveEvent
}

type naiveAccount struct {
	in                        ledgerpb.Account // as created, with its timestamp
	closed                    bool
	dp, dpo, cp, cpo          *big.Int // debits pending, posted, credits pending, posted
	limitDebits, limitCredits bool
}

type naiveTransfer struct {
	ledgerpb.Transfer
	status string // "", "pending", "posted", "voided", "expired"
}

type naiveEvent struct {
	at       uint64
	kind     string
	transfer ledgerpb.Transfer
	dr, cr   [4]string // balances after, decimal
	drClosed bool
	crClosed bool
}

func newNaive() *naive {
	return &naive{accounts: map[string]*naiveAccount{}, transfers: map[string]*naiveTransfer{}, failed: map[string]bool{}}
}

func (n *naive) clone() *naive {
	c := newNaive()
	for k, a := range n.accounts {
		b := *a
		b.dp, b.dpo, b.cp, b.cpo = num(a.dp), num(a.dpo), num(a.cp), num(a.cpo)
		c.accounts[k] = &b
	}
	for k, t := range n.transfers {
		u := *t
		c.transfers[k] = &u
	}
	c.failed = maps.Clone(n.failed)
	c.events = slices.Clone(n.events)
	return c
}

func num(x *big.Int) *big.Int { return new(big.Int).Set(x) }

func bigOf(x u128.Int) *big.Int {
	v, _ := new(big.Int).SetString(x.String(), 10)
	return v
}

var (
	two128  = new(big.Int).Lsh(big.NewInt(1), 128)
	maxU128 = new(big.Int).Sub(two128, big.NewInt(1))
)

func sum(xs ...*big.Int) *big.Int {
	s := new(big.Int)
	for _, x := range xs {
		s.Add(s, x)
	}
	return s
}

func tooBig(xs ...*big.Int) bool { return sum(xs...).Cmp(two128) >= 0 }

func back(x *big.Int) u128.Int {
	v, err := u128.Parse(x.String())
	if err != nil {
		panic(err)
	}
	return v
}

// batch runs a request of n events. one must run event i and return its status
// and, if that differs from the stamp, its timestamp.
func (n *naive) batch(count int, stamp uint64, linked, imported func(i int) bool, timestamp func(i int) uint64,
	one func(m *naive, i int, stamp uint64) (string, uint64), transients map[string]func(i int) string) (status []string, at []uint64) {
	status, at = make([]string, count), make([]uint64, count)
	for i := 0; i < count; {
		// A chain is a run of linked events and the one behind them.
		end := i
		for end < count && linked(end) {
			end++
		}
		open := end == count
		if !open {
			end++
		}
		before := n
		if end-i > 1 {
			before = n.clone()
		}
		culprit := -1
		for j := i; j < end; j++ {
			s := stamp + uint64(j)
			at[j] = s
			var result string
			switch {
			case open && j == end-1:
				result = "linked_event_chain_open"
			case culprit >= 0:
				result = "linked_event_failed"
			case imported(j) && !imported(0):
				result = "imported_event_not_expected"
			case !imported(j) && imported(0):
				result = "imported_event_expected"
			case imported(j) && (timestamp(j) == 0 || timestamp(j) >= 1<<63):
				result = "imported_event_timestamp_out_of_range"
			case imported(j) && timestamp(j) >= stamp+uint64(count)-1:
				result = "imported_event_timestamp_must_not_advance"
			case !imported(j) && timestamp(j) != 0:
				result = "timestamp_must_be_zero"
			default:
				var own uint64
				if result, own = one(n, j, s); own != 0 {
					at[j] = own
				}
			}
			status[j] = result
			if result != "created" && culprit < 0 {
				culprit = j
				if before != n {
					*n = *before.clone()
				}
				for k := i; k < j; k++ {
					status[k] = "linked_event_failed"
				}
			}
		}
		if culprit >= 0 {
			if id, ok := transients[status[culprit]]; ok {
				n.failed[id(culprit)] = true
			}
		}
		i = end
	}
	return status, at
}

func (n *naive) createAccounts(stamp uint64, in []ledgerpb.Account) ([]string, []uint64) {
	return n.batch(len(in), stamp,
		func(i int) bool { return in[i].Flags&1 != 0 },
		func(i int) bool { return in[i].Flags&16 != 0 },
		func(i int) uint64 { return in[i].Timestamp },
		func(m *naive, i int, s uint64) (string, uint64) { return m.account(in[i], s) }, nil)
}

func (n *naive) account(a ledgerpb.Account, stamp uint64) (string, uint64) {
	if a.Code > 65535 {
		return "reserved_field", 0
	}
	if a.Flags > 63 {
		return "reserved_flag", 0
	}
	if a.Id.IsZero() {
		return "id_must_not_be_zero", 0
	}
	if a.Id == u128.Max {
		return "id_must_not_be_int_max", 0
	}
	if e, ok := n.accounts[a.Id.String()]; ok {
		flags := e.in.Flags &^ 32
		if e.closed {
			flags |= 32
		}
		if flags != a.Flags {
			return "exists_with_different_flags", 0
		}
		if e.in.UserData128 != a.UserData128 {
			return "exists_with_different_user_data_128", 0
		}
		if e.in.UserData64 != a.UserData64 {
			return "exists_with_different_user_data_64", 0
		}
		if e.in.UserData32 != a.UserData32 {
			return "exists_with_different_user_data_32", 0
		}
		if e.in.Ledger != a.Ledger {
			return "exists_with_different_ledger", 0
		}
		if e.in.Code != a.Code {
			return "exists_with_different_code", 0
		}
		return "exists", e.in.Timestamp
	}
	if a.Flags&2 != 0 && a.Flags&4 != 0 {
		return "flags_are_mutually_exclusive", 0
	}
	if !a.DebitsPending.IsZero() {
		return "debits_pending_must_be_zero", 0
	}
	if !a.DebitsPosted.IsZero() {
		return "debits_posted_must_be_zero", 0
	}
	if !a.CreditsPending.IsZero() {
		return "credits_pending_must_be_zero", 0
	}
	if !a.CreditsPosted.IsZero() {
		return "credits_posted_must_be_zero", 0
	}
	if a.Ledger == 0 {
		return "ledger_must_not_be_zero", 0
	}
	if a.Code == 0 {
		return "code_must_not_be_zero", 0
	}
	if a.Flags&16 != 0 {
		for _, other := range n.accounts {
			if a.Timestamp <= other.in.Timestamp {
				return "imported_event_timestamp_must_not_regress", 0
			}
		}
		for _, e := range n.events {
			if e.at == a.Timestamp {
				return "imported_event_timestamp_must_not_regress", 0
			}
		}
	} else {
		a.Timestamp = stamp
	}
	n.accounts[a.Id.String()] = &naiveAccount{
		in: a, closed: a.Flags&32 != 0, limitDebits: a.Flags&2 != 0, limitCredits: a.Flags&4 != 0,
		dp: new(big.Int), dpo: new(big.Int), cp: new(big.Int), cpo: new(big.Int),
	}
	return "created", a.Timestamp
}

func (n *naive) createTransfers(stamp uint64, in []ledgerpb.Transfer) ([]string, []uint64) {
	id := func(i int) string { return in[i].Id.String() }
	return n.batch(len(in), stamp,
		func(i int) bool { return in[i].Flags&1 != 0 },
		func(i int) bool { return in[i].Flags&256 != 0 },
		func(i int) uint64 { return in[i].Timestamp },
		func(m *naive, i int, s uint64) (string, uint64) { return m.transfer(in[i], s) },
		map[string]func(int) string{
			"debit_account_not_found": id, "credit_account_not_found": id, "pending_transfer_not_found": id,
			"exceeds_credits": id, "exceeds_debits": id, "debit_account_already_closed": id, "credit_account_already_closed": id,
		})
}

func (n *naive) transfer(t ledgerpb.Transfer, stamp uint64) (string, uint64) {
	is := func(bit uint32) bool { return t.Flags&bit != 0 }
	if t.Flags > 511 || t.Code > 65535 {
		return "reserved_flag", 0
	}
	if t.Id.IsZero() {
		return "id_must_not_be_zero", 0
	}
	if t.Id == u128.Max {
		return "id_must_not_be_int_max", 0
	}
	if e, ok := n.transfers[t.Id.String()]; ok {
		return n.transferExists(t, e)
	}
	if n.failed[t.Id.String()] {
		return "id_already_failed", 0
	}
	if is(4) || is(8) {
		return n.postOrVoid(t, stamp)
	}
	if t.DebitAccountId.IsZero() {
		return "debit_account_id_must_not_be_zero", 0
	}
	if t.DebitAccountId == u128.Max {
		return "debit_account_id_must_not_be_int_max", 0
	}
	if t.CreditAccountId.IsZero() {
		return "credit_account_id_must_not_be_zero", 0
	}
	if t.CreditAccountId == u128.Max {
		return "credit_account_id_must_not_be_int_max", 0
	}
	if t.DebitAccountId == t.CreditAccountId {
		return "accounts_must_be_different", 0
	}
	if !t.PendingId.IsZero() {
		return "pending_id_must_be_zero", 0
	}
	if t.Timeout != 0 && !is(2) {
		return "timeout_reserved_for_pending_transfer", 0
	}
	if (is(64) || is(128)) && !is(2) {
		return "closing_transfer_must_be_pending", 0
	}
	if t.Ledger == 0 {
		return "ledger_must_not_be_zero", 0
	}
	if t.Code == 0 {
		return "code_must_not_be_zero", 0
	}
	dr, cr := n.accounts[t.DebitAccountId.String()], n.accounts[t.CreditAccountId.String()]
	if dr == nil {
		return "debit_account_not_found", 0
	}
	if cr == nil {
		return "credit_account_not_found", 0
	}
	if dr.in.Ledger != cr.in.Ledger {
		return "accounts_must_have_the_same_ledger", 0
	}
	if t.Ledger != dr.in.Ledger {
		return "transfer_must_have_the_same_ledger_as_accounts", 0
	}
	if is(256) {
		if n.regresses(t.Timestamp) {
			return "imported_event_timestamp_must_not_regress", 0
		}
		if t.Timestamp <= dr.in.Timestamp {
			return "imported_event_timestamp_must_postdate_debit_account", 0
		}
		if t.Timestamp <= cr.in.Timestamp {
			return "imported_event_timestamp_must_postdate_credit_account", 0
		}
		if t.Timeout != 0 {
			return "imported_event_timeout_must_be_zero", 0
		}
	} else {
		t.Timestamp = stamp
	}
	if dr.closed {
		return "debit_account_already_closed", 0
	}
	if cr.closed {
		return "credit_account_already_closed", 0
	}
	amount := bigOf(t.Amount)
	atMost := func(limit *big.Int) {
		if limit.Sign() < 0 {
			limit = new(big.Int)
		}
		if amount.Cmp(limit) > 0 {
			amount = limit
		}
	}
	if is(16) {
		atMost(new(big.Int).Sub(dr.cpo, sum(dr.dp, dr.dpo)))
	}
	if is(32) {
		atMost(new(big.Int).Sub(cr.dpo, sum(cr.cp, cr.cpo)))
	}
	if is(2) && tooBig(dr.dp, amount) {
		return "overflows_debits_pending", 0
	}
	if is(2) && tooBig(cr.cp, amount) {
		return "overflows_credits_pending", 0
	}
	if tooBig(dr.dpo, amount) {
		return "overflows_debits_posted", 0
	}
	if tooBig(cr.cpo, amount) {
		return "overflows_credits_posted", 0
	}
	if tooBig(dr.dp, dr.dpo, amount) {
		return "overflows_debits", 0
	}
	if tooBig(cr.cp, cr.cpo, amount) {
		return "overflows_credits", 0
	}
	if sum(new(big.Int).SetUint64(t.Timestamp), big.NewInt(int64(t.Timeout)*1_000_000_000)).Cmp(new(big.Int).Lsh(big.NewInt(1), 63)) >= 0 {
		return "overflows_timeout", 0
	}
	if dr.limitDebits && sum(dr.dp, dr.dpo, amount).Cmp(dr.cpo) > 0 {
		return "exceeds_credits", 0
	}
	if cr.limitCredits && sum(cr.cp, cr.cpo, amount).Cmp(cr.dpo) > 0 {
		return "exceeds_debits", 0
	}
	t.Amount = back(amount)
	if is(2) {
		dr.dp, cr.cp = sum(dr.dp, amount), sum(cr.cp, amount)
		n.transfers[t.Id.String()] = &naiveTransfer{t, "pending"}
	} else {
		dr.dpo, cr.cpo = sum(dr.dpo, amount), sum(cr.cpo, amount)
		n.transfers[t.Id.String()] = &naiveTransfer{t, ""}
	}
	dr.closed = dr.closed || is(64)
	cr.closed = cr.closed || is(128)
	n.event(t.Timestamp, map[bool]string{false: "single_phase", true: "two_phase_pending"}[is(2)], t)
	return "created", t.Timestamp
}

// regresses says whether an imported transfer comes too late for its timestamp.
func (n *naive) regresses(ts uint64) bool {
	for _, e := range n.events {
		if ts <= e.at {
			return true
		}
	}
	for _, a := range n.accounts {
		if ts == a.in.Timestamp {
			return true
		}
	}
	return false
}

func (n *naive) postOrVoid(t ledgerpb.Transfer, stamp uint64) (string, uint64) {
	is := func(bit uint32) bool { return t.Flags&bit != 0 }
	post := is(4)
	if is(4) && is(8) || is(2) || is(16) || is(32) || is(64) || is(128) {
		return "flags_are_mutually_exclusive", 0
	}
	if t.PendingId.IsZero() {
		return "pending_id_must_not_be_zero", 0
	}
	if t.PendingId == u128.Max {
		return "pending_id_must_not_be_int_max", 0
	}
	if t.PendingId == t.Id {
		return "pending_id_must_be_different", 0
	}
	if t.Timeout != 0 {
		return "timeout_reserved_for_pending_transfer", 0
	}
	p := n.transfers[t.PendingId.String()]
	if p == nil {
		return "pending_transfer_not_found", 0
	}
	if p.Flags&2 == 0 {
		return "pending_transfer_not_pending", 0
	}
	if !t.DebitAccountId.IsZero() && t.DebitAccountId != p.DebitAccountId {
		return "pending_transfer_has_different_debit_account_id", 0
	}
	if !t.CreditAccountId.IsZero() && t.CreditAccountId != p.CreditAccountId {
		return "pending_transfer_has_different_credit_account_id", 0
	}
	if t.Ledger != 0 && t.Ledger != p.Ledger {
		return "pending_transfer_has_different_ledger", 0
	}
	if t.Code != 0 && t.Code != p.Code {
		return "pending_transfer_has_different_code", 0
	}
	whole := bigOf(p.Amount)
	amount := bigOf(t.Amount)
	if post && amount.Cmp(maxU128) == 0 || !post && amount.Sign() == 0 {
		amount = whole
	}
	if amount.Cmp(whole) > 0 {
		return "exceeds_pending_transfer_amount", 0
	}
	if !post && amount.Cmp(whole) != 0 {
		return "pending_transfer_has_different_amount", 0
	}
	switch p.status {
	case "posted":
		return "pending_transfer_already_posted", 0
	case "voided":
		return "pending_transfer_already_voided", 0
	case "expired":
		return "pending_transfer_expired", 0
	}
	if p.Timeout != 0 && stamp >= p.Timestamp+uint64(p.Timeout)*1_000_000_000 {
		return "pending_transfer_expired", 0
	}
	if is(256) {
		if n.regresses(t.Timestamp) {
			return "imported_event_timestamp_must_not_regress", 0
		}
	} else {
		t.Timestamp = stamp
	}
	dr, cr := n.accounts[p.DebitAccountId.String()], n.accounts[p.CreditAccountId.String()]
	if dr.closed && post {
		return "debit_account_already_closed", 0
	}
	if cr.closed && post {
		return "credit_account_already_closed", 0
	}
	dr.dp, cr.cp = new(big.Int).Sub(dr.dp, whole), new(big.Int).Sub(cr.cp, whole)
	kind := "two_phase_voided"
	p.status = "voided"
	if post {
		kind, p.status = "two_phase_posted", "posted"
		dr.dpo, cr.cpo = sum(dr.dpo, amount), sum(cr.cpo, amount)
	} else {
		dr.closed = dr.closed && p.Flags&64 == 0
		cr.closed = cr.closed && p.Flags&128 == 0
	}
	t.DebitAccountId, t.CreditAccountId, t.Ledger, t.Code, t.Amount = p.DebitAccountId, p.CreditAccountId, p.Ledger, p.Code, back(amount)
	if t.UserData128.IsZero() {
		t.UserData128 = p.UserData128
	}
	if t.UserData64 == 0 {
		t.UserData64 = p.UserData64
	}
	if t.UserData32 == 0 {
		t.UserData32 = p.UserData32
	}
	n.transfers[t.Id.String()] = &naiveTransfer{t, ""}
	n.event(t.Timestamp, kind, t)
	return "created", t.Timestamp
}

func (n *naive) transferExists(t ledgerpb.Transfer, e *naiveTransfer) (string, uint64) {
	is := func(bit uint32) bool { return t.Flags&bit != 0 }
	if t.Flags != e.Flags {
		return "exists_with_different_flags", 0
	}
	if t.PendingId != e.PendingId {
		return "exists_with_different_pending_id", 0
	}
	if t.Timeout != e.Timeout {
		return "exists_with_different_timeout", 0
	}
	resolves := is(4) || is(8)
	if t.DebitAccountId != e.DebitAccountId && !(resolves && t.DebitAccountId.IsZero()) {
		return "exists_with_different_debit_account_id", 0
	}
	if t.CreditAccountId != e.CreditAccountId && !(resolves && t.CreditAccountId.IsZero()) {
		return "exists_with_different_credit_account_id", 0
	}
	p := n.transfers[t.PendingId.String()] // nil unless it resolves one
	amount, done := bigOf(t.Amount), bigOf(e.Amount)
	switch {
	case is(4) && amount.Cmp(maxU128) == 0, is(8) && amount.Sign() == 0:
		if done.Cmp(bigOf(p.Amount)) != 0 {
			return "exists_with_different_amount", 0
		}
	case is(16) || is(32):
		if amount.Cmp(done) < 0 {
			return "exists_with_different_amount", 0
		}
	case amount.Cmp(done) != 0:
		return "exists_with_different_amount", 0
	}
	u128w, u64w, u32w := t.UserData128, t.UserData64, t.UserData32
	if resolves && u128w.IsZero() {
		u128w = p.UserData128
	}
	if resolves && u64w == 0 {
		u64w = p.UserData64
	}
	if resolves && u32w == 0 {
		u32w = p.UserData32
	}
	if u128w != e.UserData128 {
		return "exists_with_different_user_data_128", 0
	}
	if u64w != e.UserData64 {
		return "exists_with_different_user_data_64", 0
	}
	if u32w != e.UserData32 {
		return "exists_with_different_user_data_32", 0
	}
	if t.Ledger != e.Ledger && !(resolves && t.Ledger == 0) {
		return "exists_with_different_ledger", 0
	}
	if t.Code != e.Code && !(resolves && t.Code == 0) {
		return "exists_with_different_code", 0
	}
	return "exists", e.Timestamp
}

// expire ends what expired before ts and returns how many that were.
func (n *naive) expire(ts uint64, max int) int {
	var due []*naiveTransfer
	for _, t := range n.transfers {
		if t.status == "pending" && t.Timeout != 0 && naiveExpiry(t) < ts {
			due = append(due, t)
		}
	}
	slices.SortFunc(due, func(a, b *naiveTransfer) int {
		if c := big.NewInt(int64(naiveExpiry(a))).Cmp(big.NewInt(int64(naiveExpiry(b)))); c != 0 {
			return c
		}
		return big.NewInt(int64(a.Timestamp)).Cmp(big.NewInt(int64(b.Timestamp)))
	})
	if len(due) > max {
		due = due[:max]
	}
	for i, p := range due {
		p.status = "expired"
		dr, cr := n.accounts[p.DebitAccountId.String()], n.accounts[p.CreditAccountId.String()]
		dr.dp, cr.cp = new(big.Int).Sub(dr.dp, bigOf(p.Amount)), new(big.Int).Sub(cr.cp, bigOf(p.Amount))
		dr.closed = dr.closed && p.Flags&64 == 0
		cr.closed = cr.closed && p.Flags&128 == 0
		n.event(ts+uint64(i), "two_phase_expired", p.Transfer)
	}
	return len(due)
}

func naiveExpiry(t *naiveTransfer) uint64 { return t.Timestamp + uint64(t.Timeout)*1_000_000_000 }

func (n *naive) nextExpiry() (next uint64) {
	for _, t := range n.transfers {
		if t.status == "pending" && t.Timeout != 0 && (next == 0 || naiveExpiry(t) < next) {
			next = naiveExpiry(t)
		}
	}
	return next
}

func (n *naive) event(at uint64, kind string, t ledgerpb.Transfer) {
	dr, cr := n.accounts[t.DebitAccountId.String()], n.accounts[t.CreditAccountId.String()]
	n.events = append(n.events, naiveEvent{at: at, kind: kind, transfer: t,
		dr: dr.balances(), cr: cr.balances(), drClosed: dr.closed, crClosed: cr.closed})
}

func (a *naiveAccount) balances() [4]string {
	return [4]string{a.dp.String(), a.dpo.String(), a.cp.String(), a.cpo.String()}
}

// row is the account as Ledger should have it.
func (a *naiveAccount) row() ledgerpb.Account {
	r := a.in
	r.DebitsPending, r.DebitsPosted, r.CreditsPending, r.CreditsPosted = back(a.dp), back(a.dpo), back(a.cp), back(a.cpo)
	if r.Flags &^= 32; a.closed {
		r.Flags |= 32
	}
	return r
}

// sideString is a Side in the form of naiveEvent.
func sideString(s *ledger.Side) [4]string {
	return [4]string{s.DebitsPending.String(), s.DebitsPosted.String(), s.CreditsPending.String(), s.CreditsPosted.String()}
}
