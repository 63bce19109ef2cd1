package monitor

import (
	"testing"
	"time"

	"virtualservicesinc.com/comps/monitor/hardware"
	"virtualservicesinc.com/comps/monitor/judge"
)

// BenchmarkTenSeconds is what an idle machine pays for ten seconds of watching, less
// the messages: ten looks at what shows life, two at the process, one at the machine.
func BenchmarkTenSeconds(b *testing.B) {
	pulse, slow := judge.New(judge.Limits{}), judge.New(judge.Limits{CPU: never, DiskLatency: never, Temperature: never})
	reader := hardware.New("", "", []string{b.TempDir()})
	look := judge.Pulse{Mailboxes: []judge.Mailbox{{Component: "connector", Bound: 64}, {Component: "monitor", Bound: 4096}, {Component: "txn", Bound: 4096}, {Component: "login", Bound: 4096}, {Component: "gateway", Bound: 4096}}}
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		for range 10 {
			now += time.Second
			pulse.Pulse(now, &look)
		}
		for range 2 {
			if _, _, err := process(""); err != nil {
				b.Fatal(err)
			}
		}
		got, err := reader.Read()
		if err != nil {
			b.Fatal(err)
		}
		slow.Machine(now, machineLook(&got, nil))
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/10*100, "%-of-a-core")
}
