package machine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// forgetful drops the rows of transactions when it may, and at that at random:
// nothing may depend on when a store does it.
type forgetful struct {
	*memstore.Store
	rng   *rand.Rand
	until map[u128.Int]uint64
	gone  map[u128.Int]bool
}

var _ store.State = (*forgetful)(nil)

func newForgetful(seed uint64) *forgetful {
	return &forgetful{Store: memstore.New(), rng: rand.New(rand.NewPCG(seed, 1)), until: map[u128.Int]uint64{}, gone: map[u128.Int]bool{}}
}

func (f *forgetful) Commit(b *store.Batch) {
	f.Store.Commit(b)
	for _, t := range b.Txns {
		f.until[t.ID] = t.Until
		delete(f.gone, t.ID)
	}
	for id, until := range f.until {
		if until < b.Stamp && f.rng.IntN(2) == 0 {
			f.gone[id] = true
		}
	}
}

func (f *forgetful) Txn(id u128.Int) ([]byte, bool) {
	if f.gone[id] {
		return nil, false
	}
	return f.Store.Txn(id)
}

// follower is a machine that is stopped, crashed and started again while it goes
// through a log.
type follower struct {
	*Machine
	state *forgetful
}

const modelWindow = 400 * time.Second

func (f *follower) open(t *rapid.T) {
	m, err := Open(f.state, Config{Window: modelWindow, Ledger: smallLedger}, testMembers)
	if err != nil {
		t.Fatal(err)
	}
	f.Machine = m
}

// logEntry is an entry of the log with what came of it.
type logEntry struct {
	data    []byte
	results []entry.Result
	chain   []byte
}

// genEntry draws an entry: few ids of times around ledger time and the window's
// edges, few principals, few accounts, so that all of them meet.
func genEntry(t *rapid.T, now uint64) *txnpb.Entry {
	e := &txnpb.Entry{ApplyVersion: rapid.SampledFrom([]uint32{entry.ApplyVersion, entry.ApplyVersion, 1}).Draw(t, "version"), Epoch: 1}
	e.Proposed = now + rapid.SampledFrom([]uint64{0, 1, uint64(time.Millisecond), uint64(time.Second), uint64(90 * time.Second), uint64(modelWindow)}).Draw(t, "ahead")
	if rapid.IntRange(0, 5).Draw(t, "clock") == 0 {
		e.Proposed -= min(e.Proposed, uint64(10*time.Minute))
	}
	if rapid.IntRange(0, 3).Draw(t, "pulse") == 0 {
		e.Expire = uint32(rapid.IntRange(1, 3).Draw(t, "expire"))
	}
	genID := func() u128.Int {
		offsets := []int64{0, 1, -1, 299_999, 300_000, 300_001, -399_999, -400_000, -400_001, -200_000}
		millis := int64(now/uint64(time.Millisecond)) + rapid.SampledFrom(offsets).Draw(t, "offset")
		if rapid.Bool().Draw(t, "round") { // so that ids repeat over entries
			millis -= millis % 50_000
		}
		return idAt(uint64(rapid.IntRange(1, 3).Draw(t, "id")), uint64(max(millis, 0)))
	}
	for range rapid.IntRange(0, 4).Draw(t, "submissions") {
		tx := txnpb.Transaction{Id: genID(), Mode: txnpb.Mode(rapid.IntRange(0, 1).Draw(t, "mode"))}
		for range rapid.IntRange(0, 1).Draw(t, "accounts") {
			a := ledgerpb.Account{Id: u128.From64(uint64(rapid.IntRange(1, 4).Draw(t, "account"))), Ledger: 1, Code: 1}
			if a.Id.Lo > 1 {
				a.Flags = uint32(ledgerpb.AccountFlagsDebitsMustNotExceedCredits)
			}
			tx.Accounts = append(tx.Accounts, a)
		}
		for range rapid.IntRange(0, 3).Draw(t, "transfers") {
			tr := ledgerpb.Transfer{
				Id:              u128.From64(uint64(rapid.IntRange(1, 40).Draw(t, "transfer"))),
				DebitAccountId:  u128.From64(uint64(rapid.IntRange(1, 4).Draw(t, "from"))),
				CreditAccountId: u128.From64(uint64(rapid.IntRange(1, 4).Draw(t, "to"))),
				Amount:          u128.From64(uint64(rapid.IntRange(1, 5).Draw(t, "amount"))), Ledger: 1, Code: 1,
			}
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				tr.Flags, tr.Timeout = uint32(ledgerpb.TransferFlagsPending), uint32(rapid.IntRange(0, 100).Draw(t, "timeout"))
			case 1:
				tr.Flags, tr.PendingId = uint32(ledgerpb.TransferFlagsPostPendingTransfer), u128.From64(uint64(rapid.IntRange(1, 40).Draw(t, "pending")))
			case 2:
				tr.Flags = uint32(ledgerpb.TransferFlagsLinked)
			}
			tx.Transfers = append(tx.Transfers, tr)
		}
		if rapid.IntRange(0, 3).Draw(t, "version 3") == 0 {
			tx.Memo = rapid.SampledFrom([]string{"", "rent"}).Draw(t, "memo")
			tx.Access = []txnpb.AccessChange{{AccountId: u128.From64(uint64(rapid.IntRange(1, 4).Draw(t, "account"))),
				User: uint64(rapid.IntRange(0, 3).Draw(t, "user")), Rights: uint32(rapid.SampledFrom([]int{8, 2, 4, 1, 0}).Draw(t, "rights"))}}
			if rapid.Bool().Draw(t, "condition") {
				tx.Preconditions = []txnpb.Precondition{{AccountId: u128.From64(uint64(rapid.IntRange(1, 4).Draw(t, "account"))),
					Measure: txnpb.MeasureCreditBalance, Comparison: txnpb.ComparisonAtLeast, Value: u128.From64(uint64(rapid.IntRange(0, 3).Draw(t, "value")))}}
			}
		}
		if rapid.IntRange(0, 2).Draw(t, "version 6") == 0 {
			tx.Effects = genEffects(t, 2)
		}
		s := txnpb.Submission{Principal: uint64(rapid.IntRange(1, 2).Draw(t, "principal")), Role: uint32(message.RoleClient)}
		if rapid.IntRange(0, 2).Draw(t, "operator") == 0 {
			s.Role = uint32(message.RoleOperator)
			for range rapid.IntRange(0, 2).Draw(t, "users") {
				name := rapid.SampledFrom([]string{"ann", "bob", "cid"}).Draw(t, "name")
				u := txnpb.UserChange{LoginHash: loginOf(name), PublicName: rapid.SampledFrom([]string{"ann", "bob", "cid"}).Draw(t, "public"), Verifier: "v", Role: 1}
				if rapid.Bool().Draw(t, "old") {
					u.Number = uint64(rapid.IntRange(1, 3).Draw(t, "number"))
				}
				tx.Users = append(tx.Users, u)
			}
		}
		if rapid.IntRange(0, 2).Draw(t, "changes") == 0 {
			s.Role = uint32(rapid.SampledFrom([]message.Role{message.RoleSFU, message.RoleSFU, message.RoleOperator}).Draw(t, "changer"))
			tx.Users, tx.EffectChanges = nil, genChanges(t, message.Role(s.Role))
		}
		s.Transaction = message.Marshal(&tx)
		e.Submissions = append(e.Submissions, s)
		if rapid.IntRange(0, 4).Draw(t, "twice") == 0 {
			e.Submissions = append(e.Submissions, s)
		}
	}
	for range rapid.IntRange(0, 1).Draw(t, "resolves") {
		e.Resolves = append(e.Resolves, txnpb.ResolveRequest{Id: genID(), Principal: uint64(rapid.IntRange(0, 2).Draw(t, "resolver"))})
	}
	return e
}

// genEffects draws effects of few queues, some of them followed by others.
func genEffects(t *rapid.T, depth int) (out []txnpb.Effect) {
	for range rapid.IntRange(1, 2).Draw(t, "effects") {
		e := txnpb.Effect{Service: rapid.SampledFrom([]string{"mail", "sql"}).Draw(t, "service"), Operation: "x"}
		if depth > 0 && rapid.Bool().Draw(t, "followed") {
			e.Done = &txnpb.Continuation{Effects: genEffects(t, depth-1)}
			e.Failed = &txnpb.Continuation{Effects: genEffects(t, depth-1)}
		}
		out = append(out, e)
	}
	return out
}

func genChanges(t *rapid.T, role message.Role) (out []txnpb.EffectChange) {
	actions := []txnpb.EffectAction{txnpb.EffectActionTake, txnpb.EffectActionKeep, txnpb.EffectActionClaim, txnpb.EffectActionClaim, txnpb.EffectActionDone,
		txnpb.EffectActionRetry, txnpb.EffectActionQuarantine, txnpb.EffectActionFail}
	if role == message.RoleOperator {
		actions = []txnpb.EffectAction{txnpb.EffectActionRequeue, txnpb.EffectActionDiscard, txnpb.EffectActionRelease}
	}
	for range rapid.IntRange(1, 4).Draw(t, "changes") {
		c := txnpb.EffectChange{Action: rapid.SampledFrom(actions).Draw(t, "action"), Service: rapid.SampledFrom([]string{"mail", "sql"}).Draw(t, "service"),
			Sequence: uint64(rapid.IntRange(1, 5).Draw(t, "sequence")), Fence: 1<<32 | uint64(rapid.IntRange(1, 2).Draw(t, "fence")),
			Holder: uint32(rapid.IntRange(1, 2).Draw(t, "holder")), LeaseMillis: minLease, DelayMillis: uint32(rapid.IntRange(0, 1).Draw(t, "delay"))}
		if rapid.Bool().Draw(t, "result") {
			c.Result = []byte("r")
		}
		out = append(out, c)
	}
	return out
}

// outboxModel is the outbox in its plainest form: what became of each effect, once.
type outboxModel struct {
	owed, ended map[string]bool // service and sequence
}

// check holds the outbox of a store against itself and against what was there before.
func (o *outboxModel) check(t *rapid.T, m *Machine) {
	a, err := Outbox(m.store, &txnpb.OutboxFilter{Limit: maxListed})
	if err != nil {
		t.Fatal(err)
	}
	here, left := map[string]bool{}, map[uint64]txnpb.Completion{}
	queues := map[string]txnpb.EffectQueue{}
	for i := range a.Effects {
		e := &a.Effects[i]
		name := fmt.Sprintf("%s %d", e.Effect.Service, e.Sequence)
		if o.ended[name] {
			t.Fatalf("effect %s is there again", name)
		}
		here[name] = true
		c, q := left[e.Csn], queues[e.Effect.Service]
		c.Owed++
		q.Effects++
		if e.State == txnpb.EffectStateQuarantined {
			c.Quarantined++
			q.Quarantined++
		}
		left[e.Csn], queues[e.Effect.Service] = c, q
	}
	for name := range o.owed {
		if !here[name] {
			o.ended[name] = true
		}
	}
	o.owed = here
	for i := range a.Queues {
		q := &a.Queues[i]
		if want := queues[q.Service]; want.Effects != q.Effects || want.Quarantined != q.Quarantined {
			t.Fatalf("queue %v, and in it are %d effects, %d of them in quarantine", q, want.Effects, want.Quarantined)
		}
	}
	for csn := range m.meta.Csn {
		c, err := readOutbox[txnpb.Completion](m.store, completionKey(csn+1))
		if err != nil {
			t.Fatal(err)
		}
		want := left[csn+1]
		switch {
		case c == nil && want.Owed > 0:
			t.Fatalf("CSN %d owes %d effects and has no completion", csn+1, want.Owed)
		case c != nil && (c.Owed-c.Done-c.Failed-c.Discarded != want.Owed || c.Quarantined != want.Quarantined):
			t.Fatalf("CSN %d: %v, and %d effects are owed, %d in quarantine", csn+1, c, want.Owed, want.Quarantined)
		}
	}
}

// memory is the rule of exactly once in its plainest form: what was final stays
// final while its row must live.
type memory struct {
	rows map[u128.Int]*remembered
	csn  uint64
}

type remembered struct {
	content   [16]byte // zero: any content
	principal uint64
	until     uint64
	outcome   []byte
}

// check holds one result against the rules. before is ledger time before it was executed.
func (m *memory) check(t *rapid.T, r *entry.Result, principal uint64, before uint64) {
	now := before + 1
	id := r.Key.ID
	row := m.rows[id]
	if row != nil && row.until < now {
		row = nil
	}
	age := entry.TimeOf(id)
	encoded := message.Marshal(&r.Outcome)
	got := r.Outcome.State
	expect := func(want txnpb.State) {
		if got != want {
			t.Fatalf("%v at %v is %v, want %v", id, now, got, want)
		}
	}
	switch {
	case row != nil && r.Key.Resolve && principal != 0 && principal != row.principal:
		expect(txnpb.StateRefused)
	case row != nil && !r.Key.Resolve && row.content != [16]byte{} && row.content != r.Key.Content:
		expect(txnpb.StateIdReused)
	case row != nil:
		if !bytes.Equal(encoded, row.outcome) {
			t.Fatalf("%v was answered %x, and now %x", id, row.outcome, encoded)
		}
	case age > now+uint64(MaxAhead):
		expect(txnpb.StateIdFromFuture)
	case age+uint64(modelWindow) < now:
		expect(txnpb.StateExpired)
	case r.Key.Resolve:
		expect(txnpb.StateAborted)
	case got == txnpb.StateRefused: // without the role or the right: not remembered
	case got == txnpb.StateCommitted:
		if m.csn++; r.Outcome.Csn != m.csn {
			t.Fatalf("%v has CSN %d, want %d", id, r.Outcome.Csn, m.csn)
		}
	default:
		expect(txnpb.StateAborted)
	}
	if row == nil && (got == txnpb.StateCommitted || got == txnpb.StateAborted) {
		content := r.Key.Content
		if r.Key.Resolve {
			content = [16]byte{}
		}
		m.rows[id] = &remembered{content, principal, max(age, now) + uint64(modelWindow), encoded}
	}
}

// TestReplicasAgree: over any log every replica gives the same answers and has the
// same chain at each index, wherever it was stopped, crashed to what it had flushed
// and started again, and whenever its store dropped what it may. And what was
// answered holds to the rules of exactly once.
func TestReplicasAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log []logEntry
		first := &follower{state: newForgetful(1)}
		first.open(t)
		rules := &memory{rows: map[u128.Int]*remembered{}}
		outbox := &outboxModel{owed: map[string]bool{}, ended: map[string]bool{}}
		now := uint64(1_790_000_000 * time.Second)
		for range rapid.IntRange(1, 25).Draw(t, "entries") {
			e := genEntry(t, now)
			data := message.Marshal(e)
			stamp := max(first.Stamp(), e.Proposed-1)
			stamp += first.due(stamp+1, uint64(e.Expire))
			index, term := first.Applied()
			results, err := first.Apply(index+1, term, data, nil)
			if err != nil {
				t.Fatal(err)
			}
			if first.Stamp() < stamp {
				t.Fatalf("ledger time went from %d to %d", stamp, first.Stamp())
			}
			rules.checkEntry(t, e, results, stamp)
			outbox.check(t, first.Machine)
			log = append(log, logEntry{data, results, first.Digest().Chain})
			now = max(now, e.Proposed)
		}
		for n := range 2 {
			second := &follower{state: newForgetful(uint64(n) + 2)}
			second.replay(t, log)
			if a, b := first.Digest(), second.Digest(); a.String() != b.String() || first.NextExpiry() != second.NextExpiry() || first.Stamp() != second.Stamp() {
				t.Fatalf("one replica ends with %v, another with %v", a, b)
			}
		}
	})
}

// checkEntry holds the results of an entry against the rules; stamp is ledger time
// after its pulse.
func (m *memory) checkEntry(t *rapid.T, e *txnpb.Entry, results []entry.Result, stamp uint64) {
	for i := range results {
		r := &results[i]
		principal, ops := uint64(0), 0
		if i < len(e.Submissions) {
			var tx txnpb.Transaction
			if err := tx.Parse(e.Submissions[i].Transaction); err != nil {
				t.Fatal(err)
			}
			principal, ops = e.Submissions[i].Principal, operations(&tx)
		} else {
			principal = e.Resolves[i-len(e.Submissions)].Principal
		}
		known := m.rows[r.Key.ID]
		m.check(t, r, principal, stamp)
		if m.rows[r.Key.ID] != known { // it was executed now
			if res := r.Outcome.Results; res != nil && res.Timestamp != stamp+1 {
				t.Fatalf("%v has stamp %d, want %d", r.Key.ID, res.Timestamp, stamp+1)
			}
			stamp += uint64(max(1, ops))
		}
	}
}

// due counts the pending transfers that a pulse at a stamp expires, at most so many.
func (f *follower) due(stamp, most uint64) (n uint64) {
	f.state.Expiring(func(expiry, _ uint64) bool {
		if expiry < stamp && n < most {
			n++
			return true
		}
		return false
	})
	return n
}

// replay takes a fresh replica through a log: it flushes, crashes and restarts
// where the draw says, and each time goes through what it lost once more.
func (f *follower) replay(t *rapid.T, log []logEntry) {
	f.open(t)
	for crashes := 0; ; {
		index, _ := f.Applied()
		if index == uint64(len(log)) {
			return
		}
		l := log[index]
		results, err := f.Apply(index+1, 1, slices.Clone(l.data), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(results), fmt.Sprint(l.results); got != want {
			t.Fatalf("entry %d: one replica answers %s, another %s", index+1, want, got)
		}
		if got := f.Digest(); !bytes.Equal(got.Chain, l.chain) || got.AppliedIndex != index+1 || f.state.Applied() != index+1 {
			t.Fatalf("entry %d: the chains differ, or the state stands at %d", index+1, f.state.Applied())
		}
		switch rapid.IntRange(0, 6).Draw(t, "fate") {
		case 0:
			if err := f.state.Flush(); err != nil {
				t.Fatal(err)
			}
		case 1:
			if crashes++; crashes < 5 {
				f.state.Crash()
				f.state.gone = map[u128.Int]bool{} // what the crash took back may live again
				f.open(t)
			}
		case 2:
			f.open(t)
		}
	}
}
