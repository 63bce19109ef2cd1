package way

import (
	"fmt"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

func answer(index uint64, marks ...uint64) *txnpb.TraceAnswer {
	a := &txnpb.TraceAnswer{Index: index, Sent: 1}
	for i := 0; i < len(marks); i += 2 {
		a.Marks = append(a.Marks, txnpb.TraceMark{Step: txnpb.Step(marks[i]), At: marks[i+1] * 1000})
	}
	return a
}

const (
	received  = uint64(txnpb.StepReceived)
	sent      = uint64(txnpb.StepSent)
	queued    = uint64(txnpb.StepQueued)
	appended  = uint64(txnpb.StepAppended)
	durable   = uint64(txnpb.StepDurable)
	committed = uint64(txnpb.StepCommitted)
	applied   = uint64(txnpb.StepApplied)
	replied   = uint64(txnpb.StepReplied)
	answered  = uint64(txnpb.StepAnswered)
)

// TestLay: whatever the clocks say, the steps stand in the order in which they
// happened, and no time is lost.
func TestLay(t *testing.T) {
	for name, x := range map[string]struct {
		told []Told
		want string
	}{
		"three SFUs, clocks hours apart": {[]Told{
			{SFU: "alpha", Gateway: answer(0, received, 1000, sent, 1010, answered, 3010), Replica: answer(7, appended, 1500, durable, 2300, committed, 3200, applied, 3300)},
			{SFU: "bravo", Replica: answer(7, queued, 9_000_100, appended, 9_000_300, durable, 9_001_300, committed, 9_001_500, applied, 9_001_700, replied, 9_001_900)},
			{SFU: "carol", Replica: answer(7, appended, 5, durable, 405, committed, 1605, applied, 1705)},
		}, `alpha bravo 7 2.01ms
alpha 0s +0s received by the gateway
alpha 10µs +10µs left the gateway: filled its batch
bravo 110µs +100µs received by the leader: network
bravo 310µs +200µs into a log entry: queue at the leader
alpha 510µs +0s entry received
carol 710µs +0s entry received
carol 1.11ms +400µs on this SFU's disk
bravo 1.31ms +1ms on this SFU's disk
alpha 1.31ms +800µs on this SFU's disk
bravo 1.51ms +200µs on the disks of a quorum: committed
bravo 1.71ms +200µs applied
bravo 1.91ms +200µs answered by the leader
alpha 2.01ms +100µs answered by the gateway: network
alpha 2.21ms +900µs heard that it is committed
alpha 2.31ms +100µs applied
carol 2.31ms +1.2ms heard that it is committed
carol 2.41ms +100µs applied
`},
		"one SFU": {[]Told{{SFU: "alpha", Gateway: answer(0, received, 1000, sent, 1010, answered, 3010),
			Replica: answer(7, queued, 1020, appended, 1030, durable, 2000, committed, 2010, applied, 2900, replied, 3000)}},
			`alpha alpha 7 2.01ms
alpha 0s +0s received by the gateway
alpha 10µs +10µs left the gateway: filled its batch
alpha 20µs +10µs received by the leader: network
alpha 30µs +10µs into a log entry: queue at the leader
alpha 1ms +970µs on this SFU's disk
alpha 1.01ms +10µs on the disks of a quorum: committed
alpha 1.9ms +890µs applied
alpha 2ms +100µs answered by the leader
alpha 2.01ms +10µs answered by the gateway: network
`},
		"the gateway was another cluster's, or has forgotten": {[]Told{{SFU: "bravo", Replica: answer(7, queued, 100, replied, 300)}}, `- bravo 7 200µs
bravo 0s +0s received by the leader: network
bravo 200µs +200µs answered by the leader
`},
		"never sent": {[]Told{{SFU: "alpha", Gateway: answer(0, received, 100, answered, 900)}, {SFU: "bravo"}}, `alpha - 0 800µs
alpha 0s +0s received by the gateway
alpha 800µs +800µs answered by the gateway: network
`},
		"nobody": {[]Told{{SFU: "alpha"}, {SFU: "bravo", Replica: &txnpb.TraceAnswer{}}}, "- - 0 0s\n"},
	} {
		w := Lay(x.told)
		name2 := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s %d %v\n", name2(w.Gateway), name2(w.Leader), w.Index, w.Total)
		for _, s := range w.Steps {
			fmt.Fprintf(&b, "%s %v +%v %s\n", s.SFU, s.At, s.Took, s.What)
		}
		if b.String() != x.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, b.String(), x.want)
		}
	}
}
