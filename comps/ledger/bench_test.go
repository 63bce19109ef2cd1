package ledger_test

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/memstate"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// sink is a State that holds accounts only: what Apply costs without a store.
type sink struct{ *memstate.State }

// load makes a ledger with n accounts.
func load(t testing.TB, n int) (l *ledger.Ledger, clock uint64) {
	t.Helper()
	s := sink{memstate.New()}
	l = newLedger(t, s)
	clock = 1
	for made := 0; made < n; {
		in := make([]ledgerpb.Account, min(n-made, ledger.MaxEvents))
		for i := range in {
			in[i] = ledgerpb.Account{Id: id(uint64(made + i + 1)), Ledger: 1, Code: 1}
		}
		l.CreateAccounts(clock, in, nil)
		made, clock = made+len(in), clock+uint64(len(in))
		s.Apply(l.Changes())
		l.Reset()
	}
	return l, clock
}

// payments fills batch with simple transfers between n accounts; ids begin with
// the time, as clients make them.
func payments(batch []ledgerpb.Transfer, n, clock uint64) {
	for i := range batch {
		r := (clock + uint64(i)) * 0x9e3779b97f4a7c15
		debit := r % n
		credit := (debit + 1 + (r>>32)%(n-1)) % n
		batch[i] = ledgerpb.Transfer{
			Id:             u128.Int{Hi: clock + uint64(i), Lo: r},
			DebitAccountId: id(debit + 1), CreditAccountId: id(credit + 1),
			Amount: id(1 + r%1000), Ledger: 1, Code: 1,
		}
	}
}

func benchmarkTransfers(b *testing.B, accounts, size int) {
	l, clock := load(b, accounts)
	batch := make([]ledgerpb.Transfer, size)
	results := make([]ledger.Result, 0, size)
	b.ReportAllocs()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ResetTimer()
	begin := cpuTime(b)
	for n := 0; n < b.N; n += size {
		payments(batch, uint64(accounts), clock)
		results = l.CreateTransfers(clock, batch, results[:0])
		if results[0].Status != 0 || results[size-1].Status != 0 {
			b.Fatal(transferStatus(results[0].Status))
		}
		clock += uint64(size)
		l.Reset() // as if a store had taken the changes
	}
	b.ReportMetric(float64(b.N)/(cpuTime(b)-begin).Seconds(), "transfers/s/core")
}

// cpuTime is the time that this thread has spent on a processor: other load on
// the machine does not count.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	const thread = 1 // RUSAGE_THREAD
	if err := syscall.Getrusage(thread, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkTransfers10kAccounts(b *testing.B) { benchmarkTransfers(b, 10_000, 8192) }
func BenchmarkTransfers1MAccounts(b *testing.B)  { benchmarkTransfers(b, 1_000_000, 8192) }
func BenchmarkTransfersOneByOne(b *testing.B)    { benchmarkTransfers(b, 10_000, 1) }

// In steady state a transfer allocates nothing.
func TestTransfersAllocateNothing(t *testing.T) {
	l, clock := load(t, 1000)
	batch := make([]ledgerpb.Transfer, 1024)
	results := make([]ledger.Result, 0, len(batch))
	round := func() {
		payments(batch, 1000, clock)
		batch[3].Flags = uint32(ledgerpb.TransferFlagsLinked)
		results = l.CreateTransfers(clock, batch, results[:0])
		clock += uint64(len(batch))
		l.Reset()
	}
	for range 200 { // until the window of ids turns over
		round()
	}
	if n := testing.AllocsPerRun(200, round); n > 1 {
		t.Errorf("%.2f allocations for %d transfers", n, len(batch))
	}
}
