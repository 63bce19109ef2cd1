package machine

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// testWindow is short, so that transcripts reach its edges in numbers that people read.
const testWindow = time.Hour

var (
	testMembers = &raftpb.ConfState{Voters: []uint64{1, 2, 3}}
	smallLedger = ledger.Config{MaxCachedAccounts: 1000, MaxCachedPendings: 1000, MaxCachedIDs: 1000}
)

// bench is a machine on a store.
type bench struct {
	t     *testing.T
	store *memstore.Store
	*Machine
}

func (b *bench) open() {
	m, err := Open(b.store, Config{Window: testWindow, Ledger: smallLedger}, testMembers)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Machine = m
}

// idAt makes the id number n of a time in milliseconds.
func idAt(n, millis uint64) u128.Int { return u128.Int{Hi: millis << 16, Lo: n} }

// words are the words of one line: bare ones, key=value, and key=(a,b,c).
type words struct {
	t    *testing.T
	list []string
}

func (w words) has(word string) bool {
	for _, x := range w.list {
		if x == word {
			return true
		}
	}
	return false
}

func (w words) get(key string) string {
	for _, x := range w.list {
		if v, ok := strings.CutPrefix(x, key+"="); ok {
			return v
		}
	}
	return ""
}

func (w words) number(key string) uint64 {
	v := w.get(key)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 0, 64)
	if err != nil {
		w.t.Fatalf("%s: %v", key, err)
	}
	return n
}

func (w words) each(key string, f func(string)) {
	if v := strings.Trim(w.get(key), "()"); v != "" {
		for item := range strings.SplitSeq(v, ",") {
			f(item)
		}
	}
}

// submission reads what an operator submits, or a client, an auditor, nobody, a component:
//
//	1 at=5000 by=7 [client] [independent] accounts=(1,2:limit) transfers=(11:1>2:100,12:1>2:5:linked) users=(new:alice,3:disable)
func (w words) submission() txnpb.Submission {
	n, err := strconv.ParseUint(w.list[0], 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	tx := txnpb.Transaction{Id: idAt(n, w.number("at"))}
	if w.has("independent") {
		tx.Mode = txnpb.ModeIndependent
	}
	if v := w.get("mode"); v != "" {
		tx.Mode = txnpb.Mode(w.number("mode"))
	}
	w.each("accounts", func(item string) {
		id, flags, _ := strings.Cut(item, ":")
		a := ledgerpb.Account{Id: u128.From64(w.parse(id)), Ledger: 1, Code: 1}
		for f := range strings.SplitSeq(flags, ":") {
			switch at, imported := strings.CutPrefix(f, "imported"); {
			case f == "limit":
				a.Flags |= uint32(ledgerpb.AccountFlagsDebitsMustNotExceedCredits)
			case f == "linked":
				a.Flags |= uint32(ledgerpb.AccountFlagsLinked)
			case imported:
				a.Flags |= uint32(ledgerpb.AccountFlagsImported)
				if a.Timestamp = 1; at != "" {
					a.Timestamp = w.parse(at)
				}
			}
		}
		tx.Accounts = append(tx.Accounts, a)
	})
	w.each("transfers", func(item string) {
		f := strings.Split(item, ":")
		from, to, _ := strings.Cut(f[1], ">")
		t := ledgerpb.Transfer{Id: u128.From64(w.parse(f[0])), DebitAccountId: u128.From64(w.parse(from)),
			CreditAccountId: u128.From64(w.parse(to)), Amount: u128.From64(w.parse(f[2])), Ledger: 1, Code: 1}
		for _, f := range f[3:] {
			switch {
			case f == "linked":
				t.Flags |= uint32(ledgerpb.TransferFlagsLinked)
			case strings.HasPrefix(f, "imported"):
				t.Flags |= uint32(ledgerpb.TransferFlagsImported)
				if t.Timestamp = 2; f != "imported" {
					t.Timestamp = w.parse(strings.TrimPrefix(f, "imported"))
				}
			case f == "closing_credit":
				t.Flags |= uint32(ledgerpb.TransferFlagsClosingCredit)
			case f == "balancing_credit":
				t.Flags |= uint32(ledgerpb.TransferFlagsBalancingCredit)
			case strings.HasPrefix(f, "void"):
				t.Flags |= uint32(ledgerpb.TransferFlagsVoidPendingTransfer)
				t.PendingId = u128.From64(w.parse(strings.TrimPrefix(f, "void")))
			case strings.HasPrefix(f, "pending"):
				t.Flags |= uint32(ledgerpb.TransferFlagsPending)
				t.Timeout = uint32(w.parse(strings.TrimPrefix(f, "pending")))
			case strings.HasPrefix(f, "post"):
				t.Flags |= uint32(ledgerpb.TransferFlagsPostPendingTransfer)
				t.PendingId = u128.From64(w.parse(strings.TrimPrefix(f, "post")))
			}
		}
		tx.Transfers = append(tx.Transfers, t)
	})
	w.each("users", func(item string) {
		f := strings.Split(item, ":")
		var u txnpb.UserChange
		if f[0] != "new" {
			u.Number = w.parse(f[0])
		} else {
			u = txnpb.UserChange{LoginHash: loginOf(f[1]), PublicName: f[1], Verifier: "$argon2id$" + f[1], Role: uint32(message.RoleClient)}
		}
		for _, f := range f[1:] {
			switch key, value, _ := strings.Cut(f, "="); key {
			case "disable":
				u.Disabled = true
			case "login":
				u.LoginHash = loginOf(value)
			case "hash":
				u.LoginHash = []byte(value)
			case "name":
				u.PublicName = value
			case "long":
				u.PublicName = strings.Repeat("x", int(w.parse(value)))
			case "role":
				u.Role = uint32(w.parse(value))
			case "address":
				u.SealedAddress = []byte(value)
			case "noverifier":
				u.Verifier = ""
			case "keep":
				u.KeepStanding = true
			}
		}
		tx.Users = append(tx.Users, u)
	})
	w.version3(&tx)
	w.version6(&tx)
	s := txnpb.Submission{Transaction: message.Marshal(&tx), Principal: w.number("by"), Role: uint32(message.RoleOperator), UserVersion: uint32(w.number("session"))}
	for word, role := range map[string]message.Role{"client": message.RoleClient, "auditor": message.RoleAuditor, "nobody": message.RoleNone, "component": message.RoleSFU} {
		if w.has(word) {
			s.Role = uint32(role)
		}
	}
	if w.has("newer") { // a client that knows a field which this cluster does not
		s.Transaction = append(s.Transaction, 15<<3|message.WireVarint, 1)
	}
	if w.has("broken") {
		s.Transaction = append(s.Transaction, 4<<3|message.WireBytes, 2, 0x0a, 9)
	}
	return s
}

// version3 reads what came with apply version 3:
//
//	if=(account5:credit_available:at_least:10,transfer21:phase:equal:1)
//	access=(5:7:owner,5:8:read+debit,5:8:) memo=rent labels=(invoice=17,due=) derive
func (w words) version3(tx *txnpb.Transaction) {
	w.each("if", func(item string) {
		f := strings.Split(item, ":")
		p := txnpb.Precondition{Measure: named[txnpb.Measure](w.t, f[1]), Comparison: named[txnpb.Comparison](w.t, f[2]), Value: u128.From64(w.parse(f[3]))}
		if v, ok := strings.CutPrefix(f[0], "account"); ok {
			p.AccountId = u128.From64(w.parse(v))
		} else {
			p.TransferId = u128.From64(w.parse(strings.TrimPrefix(f[0], "transfer")))
		}
		tx.Preconditions = append(tx.Preconditions, p)
	})
	w.each("access", func(item string) {
		f := strings.Split(item, ":")
		c := txnpb.AccessChange{AccountId: u128.From64(w.parse(f[0])), User: w.parse(f[1])}
		for right := range strings.SplitSeq(f[2], "+") {
			if right != "" {
				c.Rights |= uint32(named[txnpb.AccessRights](w.t, right))
			}
		}
		tx.Access = append(tx.Access, c)
	})
	tx.Memo = w.get("memo")
	w.each("labels", func(item string) {
		name, value, _ := strings.Cut(item, "=")
		tx.Metadata = append(tx.Metadata, txnpb.Label{Name: name, Value: []byte(value)})
	})
	tx.DeriveTransferIds = w.has("derive")
}

// version6 reads what came with apply version 6. An effect is
// service[@target]/operation[#key]; `>` and `!` put behind it what follows when it is done
// and when it has failed: post21, void21 or move1:2:10 in the ledger, or another effect.
//
//	effects=(mail/receipt#anna,payment@sandbox/capture>post21>mail/receipt!void21)
//	arguments=(to=anna,amount:decimal=12.50) of the first effect
//	change=(take:mail:holder=1:token=5:lease=2000,claim:mail:1:fence=1:lease=2000,done:mail:1:fence=1:result=x)
func (w words) version6(tx *txnpb.Transaction) {
	w.each("effects", func(item string) { tx.Effects = append(tx.Effects, w.effect(item)) })
	w.each("arguments", func(item string) {
		name, value, _ := strings.Cut(item, "=")
		name, kind, typed := strings.Cut(name, ":")
		a := txnpb.Argument{Name: name, Value: []byte(value)}
		if typed {
			a.Kind = named[txnpb.ArgumentKind](w.t, kind)
		}
		if v, ok := strings.CutPrefix(value, "bytes"); ok {
			a.Value = bytes.Repeat([]byte("x"), int(w.parse(v)))
		}
		if value == "latin1" {
			a.Value = []byte{0xe9}
		}
		tx.Effects[0].Arguments = append(tx.Effects[0].Arguments, a)
	})
	w.each("change", func(item string) {
		f := strings.Split(item, ":")
		c := txnpb.EffectChange{Action: named[txnpb.EffectAction](w.t, f[0])}
		if len(f) > 1 {
			c.Service, c.Target, _ = strings.Cut(f[1], "@")
		}
		for _, f := range f[min(2, len(f)):] {
			switch key, value, _ := strings.Cut(f, "="); key {
			case "fence":
				c.Fence = 1<<32 | w.parse(value) // of the entries' epoch
			case "holder":
				c.Holder = uint32(w.parse(value))
			case "token":
				c.Token = w.parse(value)
			case "lease":
				c.LeaseMillis = uint32(w.parse(value))
			case "delay":
				c.DelayMillis = uint32(w.parse(value))
			case "reason":
				c.Reason = value
			case "result":
				c.Result = []byte(value)
			default:
				c.Sequence = w.parse(key)
			}
		}
		tx.EffectChanges = append(tx.EffectChanges, c)
	})
}

func (w words) effect(item string) txnpb.Effect {
	head, rest := item, ""
	if i := strings.IndexAny(item, ">!"); i >= 0 {
		head, rest = item[:i], item[i:]
	}
	var e txnpb.Effect
	head, e.Key, _ = strings.Cut(head, "#")
	queue, operation, _ := strings.Cut(head, "/")
	e.Service, e.Target, _ = strings.Cut(queue, "@")
	e.Operation = operation
	for rest != "" {
		next, then := &e.Done, rest[1:]
		if rest[0] == '!' {
			next = &e.Failed
		}
		rest = ""
		if i := strings.IndexAny(then, ">!"); i >= 0 {
			then, rest = then[:i], then[i:]
		}
		if *next == nil {
			*next = &txnpb.Continuation{}
		}
		switch {
		case strings.HasPrefix(then, "post"):
			(*next).Transfers = append((*next).Transfers, ledgerpb.Transfer{Amount: u128.Max, PendingId: u128.From64(w.parse(then[4:])), Flags: uint32(ledgerpb.TransferFlagsPostPendingTransfer)})
		case strings.HasPrefix(then, "void"):
			(*next).Transfers = append((*next).Transfers, ledgerpb.Transfer{PendingId: u128.From64(w.parse(then[4:])), Flags: uint32(ledgerpb.TransferFlagsVoidPendingTransfer)})
		default:
			(*next).Effects = append((*next).Effects, w.effect(then))
		}
	}
	return e
}

// outboxLines prints the outbox: its queues, what is owed and how far the transactions are.
func (b *bench) outboxLines(completions uint64) string {
	a, err := Outbox(b.store, &txnpb.OutboxFilter{Limit: maxListed})
	if err != nil {
		b.t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "version %d held=%v queues %d\n", a.Version, a.Held, b.meta.OutboxQueues)
	for i := range a.Queues {
		q := &a.Queues[i]
		fmt.Fprintf(&out, "queue %s@%s: fence %d holder %d until %s effects %d quarantined %d revision %d\n",
			q.Service, q.Target, uint32(q.Fence), q.Holder, stamp(q.Until), q.Effects, q.Quarantined, q.Revision)
	}
	for i := range a.Effects {
		e := &a.Effects[i]
		fmt.Fprintf(&out, "%s@%s %d: %s key %q of %d.%d by %d: %v attempts %d fence %d due %s %s\n", e.Effect.Service, e.Effect.Target, e.Sequence,
			e.Effect.Operation, e.Effect.Key, e.TransactionId.Lo, e.Ordinal, e.Principal, e.State, e.Attempts, uint32(e.Fence), stamp(e.Due), e.Reason)
	}
	for csn := uint64(1); csn <= completions; csn++ {
		c, err := readOutbox[txnpb.Completion](b.store, completionKey(csn))
		if err != nil {
			b.t.Fatal(err)
		}
		if c == nil {
			continue
		}
		fmt.Fprintf(&out, "csn %d: owed %d done %d failed %d discarded %d quarantined %d", csn, c.Owed, c.Done, c.Failed, c.Discarded, c.Quarantined)
		for i := range c.Ends {
			x := &c.Ends[i]
			fmt.Fprintf(&out, " [%d %s %s %v %q %s]", x.Ordinal, x.Service, x.Operation, x.State, x.Result, x.Reason)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// named returns the value of an enumeration that has a name, or a number.
func named[E interface {
	~uint32
	String() string
}](t *testing.T, name string) E {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return E(n)
	}
	for v := E(0); v < 64; v++ {
		if v.String() == name {
			return v
		}
	}
	t.Fatalf("nothing is named %q", name)
	return 0
}

func (w words) parse(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// loginOf stands in for the keyed hash of a login name.
func loginOf(name string) []byte { return []byte(fmt.Sprintf("%-32s", "login "+name))[:loginHashBytes] }

// line prints one outcome.
func line(o *txnpb.Outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d: %v", o.Id.Lo, o.State)
	if o.Csn != 0 {
		fmt.Fprintf(&b, " csn %d", o.Csn)
	}
	if o.Reason != "" {
		fmt.Fprintf(&b, " (%s)", o.Reason)
	}
	if r := o.Results; r != nil {
		fmt.Fprintf(&b, " stamps %s+%d", stamp(r.Timestamp), r.Count)
		for _, x := range r.Exceptions {
			fmt.Fprintf(&b, " [%d: status %d", x.Index, x.Status)
			if x.Timestamp != 0 {
				fmt.Fprintf(&b, " at %s", stamp(x.Timestamp))
			}
			b.WriteByte(']')
		}
	}
	if o.Effects > 0 {
		fmt.Fprintf(&b, " effects %d", o.Effects)
	}
	if len(o.UserNumbers) > 0 {
		fmt.Fprintf(&b, " users %v", o.UserNumbers)
	}
	return b.String() + "\n"
}

// stamp prints milliseconds, and nanoseconds beyond them.
func stamp(ns uint64) string {
	s := fmt.Sprintf("%dms", ns/uint64(time.Millisecond))
	if rest := ns % uint64(time.Millisecond); rest != 0 {
		s += fmt.Sprintf("+%d", rest)
	}
	return s
}

// TestTranscripts plays testdata/transcripts; `go test -rewrite` writes what is said now.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		b := &bench{t: t, store: memstore.New()}
		b.open()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w := words{t: t}
			for _, a := range d.CmdArgs {
				w.list = append(w.list, a.String())
			}
			switch d.Cmd {
			case "apply": // ms=5000 [version=3] [expire=10] [field]
				return b.entry(w, d.Input)
			case "empty": // a new leader's first entry
				index, term := b.Applied()
				if _, err := b.Apply(index+1, term+1, nil, nil); err != nil {
					t.Fatal(err)
				}
			case "raw": // index=+2 data=…
				index, term := b.Applied()
				_, err := b.Apply(index+w.number("skip")+1, term, []byte(w.get("data")), nil)
				return fmt.Sprintln(err)
			case "state":
				dg := b.Digest()
				return fmt.Sprintf("applied %d csn %d transactions %d stamp %s users %d expiry %s\n",
					dg.AppliedIndex, dg.Csn, dg.Transactions, stamp(b.Stamp()), b.meta.LastUser, stamp(b.NextExpiry()))
			case "account":
				var a ledgerpb.Account
				if !b.store.Account(u128.From64(w.number("id")), &a) {
					return "none\n"
				}
				return fmt.Sprintf("debits %v+%v credits %v+%v\n", a.DebitsPosted, a.DebitsPending, a.CreditsPosted, a.CreditsPending)
			case "user": // number=1, login=alice, or name=alice
				u, err := FindUser(b.store, w.number("number"), loginOf(w.get("login")))
				if err != nil {
					t.Fatal(err)
				}
				if name := w.get("name"); name != "" {
					if u, err = FindNamed(b.store, name); err != nil {
						t.Fatal(err)
					}
				}
				if u == nil {
					return "none\n"
				}
				address := ""
				if len(u.SealedAddress) > 0 {
					address = fmt.Sprintf(" address %q", u.SealedAddress)
				}
				return fmt.Sprintf("%d: %s login %q role %d disabled=%v version %d created %s%s\n", u.Number, u.PublicName,
					strings.TrimSpace(string(u.LoginHash)), u.Role, u.Disabled, u.Version, stamp(u.Created), address)
			case "access": // account=5
				a, err := readAccess(b.store, u128.From64(w.number("account")))
				if err != nil {
					t.Fatal(err)
				}
				if a == nil {
					return "none\n"
				}
				line := fmt.Sprintf("owner %d", a.Owner)
				for _, g := range a.Grants {
					line += fmt.Sprintf(", %d: %d", g.User, g.Rights)
				}
				return line + "\n"
			case "outbox": // what of effects is there
				return b.outboxLines(b.meta.Csn)
			case "refound": // another cluster begins with this state
				if err := Refound(b.store, testMembers, []byte("the old cluster!")); err != nil {
					t.Fatal(err)
				}
				b.open()
			case "row":
				row, err := Lookup(b.store, idAt(w.number("id"), w.number("at")))
				if err != nil {
					t.Fatal(err)
				}
				if row == nil {
					return "none\n"
				}
				return fmt.Sprintf("by %d at %s, %s", row.Principal, stamp(row.Committed), line(row.Outcome))
			case "reopen":
				b.open()
			case "found": // voters=3 [window=MS]
				return b.change(&txnpb.RosterChange{Found: founding(uint32(w.number("voters"))), Window: w.number("window") * uint64(time.Millisecond)})
			case "change": // add=NAME number=N [type=T] [machine=M] [vote], remove=N, promote=N, demote=N, [wrong]
				return b.change(w.change())
			case "leave":
				return b.reconfigure(&raftpb.ConfChangeV2{})
			case "group":
				return groupLine(b.Group())
			default:
				t.Fatalf("unknown command %q", d.Cmd)
			}
			return "ok\n"
		})
	})
}

// entry applies one entry: each line of the input a submission, or "resolve ID at= by=".
func (b *bench) entry(w words, input string) string {
	e := txnpb.Entry{ApplyVersion: entry.ApplyVersion, Epoch: 1, Proposed: w.number("ms") * uint64(time.Millisecond), Expire: uint32(w.number("expire"))}
	if v := w.get("proposed"); v != "" {
		e.Proposed = w.number("proposed")
	}
	if v := w.get("version"); v != "" {
		e.ApplyVersion = uint32(w.number("version"))
	}
	for l := range strings.Lines(input) {
		w := words{b.t, strings.Fields(l)}
		if w.list[0] == "resolve" {
			w.list = w.list[1:]
			e.Resolves = append(e.Resolves, txnpb.ResolveRequest{Id: idAt(w.parse(w.list[0]), w.number("at")), Principal: w.number("by")})
			continue
		}
		e.Submissions = append(e.Submissions, w.submission())
	}
	data := message.Marshal(&e)
	if w.has("field") {
		data = append(data, 15<<3|message.WireVarint, 1)
	}
	index, term := b.Applied()
	before := b.Digest()
	results, err := b.Apply(index+1, term, data, nil)
	if err != nil {
		var v *VersionError
		if now := b.Digest(); now.String() != before.String() || len(results) > 0 {
			b.t.Fatalf("a refused entry left a trace: %v, before %v", now, before)
		}
		return fmt.Sprintf("%v\nversion error: %v, unknown field: %v\n", err, errors.As(err, &v), errors.Is(err, ErrUnknownField))
	}
	var out strings.Builder
	for i := range results {
		if results[i].Key.ID != results[i].Outcome.Id {
			b.t.Fatalf("result %d is keyed %v and answers %v", i, results[i].Key.ID, results[i].Outcome.Id)
		}
		out.WriteString(line(&results[i].Outcome))
	}
	if out.Len() == 0 {
		return "ok\n"
	}
	return out.String()
}
