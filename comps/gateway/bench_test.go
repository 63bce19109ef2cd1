package gateway_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// BenchmarkSubmits measures the edge alone: clients of the SDK, each with one
// connection and one request in flight, over TLS on loopback, before a transaction
// service that commits whatever comes. All in one process: the figures of client
// and gateway together.
func BenchmarkSubmits(b *testing.B) {
	for _, clients := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { benchmarkSubmits(b, clients) })
	}
}

func benchmarkSubmits(b *testing.B, clients int) {
	w := newWorld(b).start(1).register()
	var batches, csn atomic.Uint64
	w.fate = func(r message.Responder[*txnpb.Outcomes], in *txnpb.SubmitBatch) bool {
		batches.Add(1)
		out := &txnpb.Outcomes{Outcomes: make([]txnpb.Outcome, len(in.Submissions))}
		for i := range out.Outcomes {
			out.Outcomes[i] = txnpb.Outcome{State: txnpb.StateCommitted, Csn: csn.Add(1), Results: &txnpb.Results{Timestamp: 1, Count: 1}}
		}
		w.mu.Lock()
		w.batches = w.batches[:0]
		w.requests = w.requests[:0]
		w.mu.Unlock()
		r.Reply(out)
		return true
	}
	first := w.open()
	all := []*client.Client{first}
	for len(all) < clients {
		all = append(all, w.open(func(c *client.Config) { c.Token = first.Token() }))
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	var latest sync.Map
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	cpu := processor()
	for i, c := range all {
		wg.Go(func() {
			worst := time.Duration(0)
			for left.Add(-1) >= 0 {
				start := time.Now()
				if _, err := c.Submit(b.Context(), payment(c)); err != nil {
					b.Error(err)
					return
				}
				worst = max(worst, time.Since(start))
			}
			latest.Store(i, worst)
		})
	}
	wg.Wait()
	b.StopTimer()
	worst := time.Duration(0)
	latest.Range(func(_, v any) bool { worst = max(worst, v.(time.Duration)); return true })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submits/s")
	b.ReportMetric(float64((processor()-cpu).Microseconds())/float64(b.N), "cpu-µs/submit")
	b.ReportMetric(float64(b.N)/float64(max(batches.Load(), 1)), "submits/batch")
	b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
}

// processor returns the processor time of this process.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
