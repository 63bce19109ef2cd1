package datasource

import (
	"testing"
	"time"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestPrunable: rows go that are older than all that may be asked for again, by the SFU
// that holds the queue alone.
func TestPrunable(t *testing.T) {
	const keep = 30 * 24 * time.Hour
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	owed := func(ago time.Duration) []txnpb.OwedEffect {
		return []txnpb.OwedEffect{{Owed: uint64(now.Add(-ago).UnixNano())}}
	}
	mine := []txnpb.EffectQueue{{Holder: 1, Fence: 1}}
	for _, test := range []struct {
		name   string
		answer txnpb.OutboxAnswer
		want   time.Time // zero: nothing is removed
	}{
		{"nothing is owed", txnpb.OutboxAnswer{Queues: mine}, now.Add(-keep)},
		{"new effects are owed", txnpb.OutboxAnswer{Queues: mine, Effects: owed(time.Minute)}, now.Add(-keep)},
		{"one is owed for longer", txnpb.OutboxAnswer{Queues: mine, Effects: owed(90 * 24 * time.Hour)}, now.Add(-90*24*time.Hour - time.Hour)},
		{"another SFU holds the queue", txnpb.OutboxAnswer{Queues: []txnpb.EffectQueue{{Holder: 2, Fence: 1}}}, time.Time{}},
		{"no effect was ever owed", txnpb.OutboxAnswer{}, time.Time{}},
		{"a restored outbox is held", txnpb.OutboxAnswer{Queues: mine, Held: true}, time.Time{}},
	} {
		test.answer.Stamp = uint64(now.UnixNano())
		got, ok := prunable(&test.answer, 1, keep)
		if ok != !test.want.IsZero() || ok && !got.Equal(test.want) {
			t.Errorf("%s: before %v, %v; want %v", test.name, got.UTC(), ok, test.want)
		}
	}
}
