package monitor

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"virtualservicesinc.com/comps/monitor/hardware"
	"virtualservicesinc.com/comps/monitor/judge"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
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

// BenchmarkIdleEngine is an engine that does nothing, for some time of the real clock, with
// a Monitor that watches the machine too and without one: the processor time that it
// takes, of one core, and the memory that it keeps, heap and stacks. With -benchtime 1x
// it takes 40 s.
func BenchmarkIdleEngine(b *testing.B) {
	for _, with := range []bool{false, true} {
		name := "without"
		if with {
			name = "with"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				idle(b, with)
			}
		})
	}
}

func idle(b *testing.B, with bool) {
	const d = 20 * time.Second
	reg, err := message.NewRegistry(&enginepb.Schema, &monitorpb.Schema)
	if err != nil {
		b.Fatal(err)
	}
	before := kept()
	book, err := OpenBook("", time.Now)
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine.New(engine.Config{SFU: 1, Name: "one", Type: "edge", Software: "test", Registry: reg, Log: slog.New(slog.DiscardHandler), OnAlarm: book.Note})
	if err != nil {
		b.Fatal(err)
	}
	if with {
		cfg := Config{Engine: e.Status, Progress: e.Progress, Alarms: e.Alarms, Book: book, Dirs: []string{b.TempDir()},
			Limits: judge.Limits{CPU: never, DiskLatency: never, Temperature: never},
			Post:   &Post{Settings: func() (*PostSettings, error) { return nil, nil }}}
		if err := e.Add(func() (engine.Component, error) { return New(cfg) }); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	if err := e.WaitReady(ctx); err != nil {
		b.Fatal(err)
	}
	used := processor(b)
	time.Sleep(d)
	used = processor(b) - used
	after := kept()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(100*used.Seconds()/d.Seconds(), "%-of-a-core")
	b.ReportMetric(float64(after-min(before, after))/1000, "kB-kept")
}

// kept is the memory of the process's heap and stacks, without garbage.
func kept() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// processor is the processor time of the process.
func processor(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
