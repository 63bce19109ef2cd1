package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/procfs"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
)

const (
	// openAtOnce is how many clients open their connections at the same time: below what
	// a gateway takes from one address.
	openAtOnce = 64
	// openWithin bounds the opening of them all: a handshake costs both ends a
	// millisecond.
	openWithin = 5 * time.Minute
	// floodUp is how long the flood runs before it is measured.
	floodUp = 2 * time.Second
	// filesBeside are the files and sockets of a process beside its clients'.
	filesBeside = 512
)

// GatewayConfig describes a measurement of one gateway.
type GatewayConfig struct {
	// Idle clients are connected all the time and do nothing but show life. Active ones
	// pay, each one payment after the other, for Duration.
	Idle, Active int
	Duration     time.Duration
	// Rest is for how long idle clients are looked at, before the gateway's memory is read:
	// longer than a heartbeat, and than it takes to give back what opening them took.
	Rest time.Duration
	// Honest clients pay for Duration without a flood, beside one, and without it again. 0 of
	// any kind leaves their part out.
	Honest int
	Flood  Flood
	// Self is this program, which is run once more for the flood.
	Self  string
	Arena arena.Config
	Out   *term.Out
}

// GatewayReport is the result, in its JSON form.
type GatewayReport struct {
	Idle   int `json:"idle"`
	Active int `json:"active"`
	// IdleKBPerConnection is what the memory of the gateway's SFU grew by for each idle
	// client, ActiveKBPerConnection for each active one while it paid; the latter holds
	// what payments leave in the SFU's caches as well.
	IdleKBPerConnection   float64 `json:"idle_kb_per_connection"`
	ActiveKBPerConnection float64 `json:"active_kb_per_connection"`
	ClientKBPerConnection float64 `json:"client_kb_per_connection"`
	// IdleCPU is the processor time of the gateway's SFU with all idle clients connected,
	// EmptyCPU with none, in per cent of one processor.
	IdleCPU     float64 `json:"idle_cpu_percent"`
	EmptyCPU    float64 `json:"empty_cpu_percent"`
	SubmitsPerS float64 `json:"submits_per_s"`
	P50us       int64   `json:"p50_us"`
	P99us       int64   `json:"p99_us"`
	// Errors are payments that failed and clients that were cut off, all in all.
	Errors int `json:"errors"`

	Honest      int     `json:"honest"`
	NormalP50us int64   `json:"normal_p50_us"`
	NormalP99us int64   `json:"normal_p99_us"`
	FloodP50us  int64   `json:"flood_p50_us"`
	FloodP99us  int64   `json:"flood_p99_us"`
	FloodRatio  float64 `json:"flood_p99_ratio"`
	// FloodPerS is how many bad connections were opened each second, OpenP99us how long
	// an honest client took beside them to connect and get its session.
	FloodPerS float64 `json:"flood_connections_per_s"`
	Opened    int     `json:"flood_opened"`
	OpenP99us int64   `json:"flood_open_p99_us"`
	SFUs      int     `json:"sfus"`
}

// gatewayBench is one measurement in progress.
type gatewayBench struct {
	cfg    GatewayConfig
	arena  *arena.Arena
	sfu    int // whose gateway is measured
	token  []byte
	idle   []*client.Client
	report GatewayReport
}

// Gateway measures one gateway of a throw-away cluster.
func Gateway(ctx context.Context, cfg GatewayConfig) (*GatewayReport, error) {
	if err := allowFiles(cfg.Idle + cfg.Active + cfg.Honest + cfg.Flood.Attackers + filesBeside); err != nil {
		return nil, err
	}
	cfg.Arena.Settings.Gateway.MaxConnections = cfg.Idle + cfg.Active + cfg.Honest + cfg.Flood.Attackers + openAtOnce
	a, err := arena.New(cfg.Arena)
	if err != nil {
		return nil, err
	}
	b := &gatewayBench{cfg: cfg, arena: a, report: GatewayReport{Idle: cfg.Idle, Active: cfg.Active, Honest: cfg.Honest, SFUs: a.SFUs()}}
	err = b.run(ctx)
	for _, c := range b.idle {
		c.Close()
	}
	return &b.report, errors.Join(err, a.Close())
}

func (b *gatewayBench) run(ctx context.Context) error {
	cfg := b.cfg
	for i := range b.arena.SFUs() {
		if err := b.arena.Start(i); err != nil {
			return err
		}
	}
	cfg.Out.Say("%d SFUs, %d idle and %d active clients at one gateway, %d honest ones beside a flood", b.arena.SFUs(), cfg.Idle, cfg.Active, cfg.Honest)
	first, err := connect(ctx, b.arena, 1)
	if err != nil {
		return err
	}
	b.token = first[0].Token()
	first[0].Close()
	// The leader's work for all payments must not be taken for the gateway's.
	leader, err := b.arena.Leader(ctx)
	if err != nil {
		return err
	}
	b.sfu = (leader + 1) % b.arena.SFUs()
	for _, step := range []func(context.Context) error{b.rest, b.pay, b.flood} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return b.cutOff(ctx)
}

// rest measures what idle clients cost.
func (b *gatewayBench) rest(ctx context.Context) (err error) {
	if b.cfg.Idle == 0 {
		return nil
	}
	if b.report.EmptyCPU, err = b.busy(ctx); err != nil {
		return err
	}
	before, err := b.resident()
	if err != nil {
		return err
	}
	own, err := residentOf(procfs.Self())
	if err != nil {
		return err
	}
	if b.idle, err = b.open(ctx, b.cfg.Idle, "idle"); err != nil {
		return err
	}
	if b.report.IdleCPU, err = b.busy(ctx); err != nil {
		return err
	}
	after, err := b.resident()
	if err != nil {
		return err
	}
	ownAfter, err := residentOf(procfs.Self())
	if err != nil {
		return err
	}
	n := float64(b.cfg.Idle)
	b.report.IdleKBPerConnection = round((after - before) / n / 1000)
	b.report.ClientKBPerConnection = round((ownAfter - own) / n / 1000)
	return nil
}

// pay measures the active clients.
func (b *gatewayBench) pay(ctx context.Context) error {
	if b.cfg.Active == 0 {
		return nil
	}
	before, err := b.resident()
	if err != nil {
		return err
	}
	clients, err := b.open(ctx, b.cfg.Active, "active")
	if err != nil {
		return err
	}
	all := b.load(ctx, clients, "measuring active clients")
	after, err := b.resident()
	if err != nil {
		return err
	}
	for _, c := range clients {
		c.Close()
	}
	b.report.P50us, b.report.P99us = quantile(all, 0.5), quantile(all, 0.99)
	b.report.SubmitsPerS = round(float64(len(all)) / b.cfg.Duration.Seconds())
	b.report.ActiveKBPerConnection = round((after - before) / float64(b.cfg.Active) / 1000)
	return nil
}

// flood measures honest clients alone and beside those that are not.
func (b *gatewayBench) flood(ctx context.Context) error {
	if b.cfg.Honest == 0 {
		return nil
	}
	clients, err := b.open(ctx, b.cfg.Honest, "honest")
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	alone := b.load(ctx, clients, "measuring honest clients")
	flooding, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := time.Now()
	flood, err := b.cfg.Flood.start(flooding, b.cfg.Self, b.gateway())
	if err != nil {
		return err
	}
	if err := pause(ctx, min(floodUp, b.cfg.Duration)); err != nil {
		return err
	}
	var opens []time.Duration
	var opening sync.WaitGroup
	newcomers, enough := context.WithCancel(ctx)
	defer enough()
	opening.Go(func() { opens = b.newcomers(newcomers) })
	beside := b.load(ctx, clients, "measuring honest clients beside a flood")
	enough()
	opening.Wait()
	made, err := flood()
	if err != nil {
		return err
	}
	r := &b.report
	r.FloodPerS = round(float64(made) / time.Since(begin).Seconds())
	// Once more without it: what else this machine does meanwhile counts for both.
	alone = append(alone, b.load(ctx, clients, "measuring honest clients")...)
	slices.Sort(alone)
	r.NormalP50us, r.NormalP99us = quantile(alone, 0.5), quantile(alone, 0.99)
	r.FloodP50us, r.FloodP99us = quantile(beside, 0.5), quantile(beside, 0.99)
	if r.NormalP99us > 0 {
		r.FloodRatio = round(float64(r.FloodP99us) / float64(r.NormalP99us))
	}
	slices.Sort(opens)
	r.Opened, r.OpenP99us = len(opens), quantile(opens, 0.99)
	return nil
}

// newcomers opens one client after the other until ctx ends, and returns how long each
// took; one that is not let in is an error.
func (b *gatewayBench) newcomers(ctx context.Context) (took []time.Duration) {
	for ctx.Err() == nil {
		at := time.Now()
		c, err := b.one(ctx)
		if err != nil {
			if ctx.Err() == nil {
				b.report.Errors++
				b.cfg.Out.Say("a newcomer: %v", err)
			}
			continue
		}
		took = append(took, time.Since(at))
		c.Close()
		pause(ctx, 50*time.Millisecond)
	}
	return took
}

// cutOff counts the idle clients that are not where they were.
func (b *gatewayBench) cutOff(ctx context.Context) error {
	op, err := b.arena.Operator(ctx, b.sfu)
	if err != nil {
		return err
	}
	defer op.Close()
	st, err := gatewaypb.GatewayClient{Caller: op.To(b.arena.Number(b.sfu))}.Status(ctx, &gatewaypb.GatewayStatusRequest{})
	if err != nil {
		return fmt.Errorf("bench: %s: %w", b.arena.Name(b.sfu), err)
	}
	if lost := b.cfg.Idle - int(st.Sessions) + 1; lost > 0 { // one is this operator's
		b.report.Errors += lost
		b.cfg.Out.Say("%d idle clients were cut off", lost)
	}
	for _, c := range b.idle {
		if err := c.Err(); err != nil {
			b.report.Errors++
			b.cfg.Out.Say("an idle client: %v", err)
		}
	}
	return nil
}

func (b *gatewayBench) gateway() string { return b.arena.Kit().Gateways[b.sfu] }

// one opens a client at the gateway.
func (b *gatewayBench) one(ctx context.Context) (*client.Client, error) {
	kit := b.arena.Kit()
	return client.Open(ctx, client.Config{Gateways: []string{b.gateway()}, RootCAs: kit.Pool(), ClusterID: [16]byte(kit.ID),
		Token: b.token, SingleConnection: true})
}

// open opens n clients at the gateway, some at a time.
func (b *gatewayBench) open(ctx context.Context, n int, kind string) ([]*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	clients := make([]*client.Client, n)
	errs := make([]error, openAtOnce)
	var opening sync.WaitGroup
	for w := range openAtOnce {
		opening.Go(func() {
			for i := w; i < n && errs[w] == nil; i += openAtOnce {
				clients[i], errs[w] = b.one(ctx)
				if w == 0 {
					b.cfg.Out.Progress("%d of %d %s clients are connected", i, n, kind)
				}
			}
		})
	}
	opening.Wait()
	b.cfg.Out.Progress("")
	err := errors.Join(errs...)
	if err != nil {
		for _, c := range clients {
			if c != nil {
				c.Close()
			}
		}
		return nil, fmt.Errorf("bench: connecting %s clients: %w", kind, err)
	}
	return clients, nil
}

// load lets clients pay for the measurement's time, and returns how long each payment
// took, in ascending order.
func (b *gatewayBench) load(ctx context.Context, clients []*client.Client, what string) []time.Duration {
	begin := time.Now().Add(min(warmUp, b.cfg.Duration))
	end := begin.Add(b.cfg.Duration)
	results := make([]result, len(clients))
	var running sync.WaitGroup
	for i, c := range clients {
		running.Go(func() { results[i] = load(ctx, c, 1, begin, end) })
	}
	b.cfg.Out.Progress("%s", what)
	stopProgress := progress(b.cfg.Out, begin, end)
	running.Wait()
	stopProgress()
	var all []time.Duration
	for _, r := range results {
		all = append(all, r.latencies...)
		b.report.Errors += r.errors
		if r.first != nil {
			b.cfg.Out.Say("an error: %v", r.first)
		}
	}
	slices.Sort(all)
	return all
}

// busy is the processor time that the gateway's SFU takes, in per cent of one processor.
func (b *gatewayBench) busy(ctx context.Context) (float64, error) {
	p, err := procfs.NewProc(b.arena.Pid(b.sfu))
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	b.cfg.Out.Progress("counting processor time at rest, %v", b.cfg.Rest)
	defer b.cfg.Out.Progress("")
	before, err := p.Stat()
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	if err := pause(ctx, b.cfg.Rest); err != nil {
		return 0, err
	}
	after, err := p.Stat()
	return round(100 * (after.CPUTime() - before.CPUTime()) / b.cfg.Rest.Seconds()), err
}

// resident is what the gateway's SFU has resident, in bytes.
func (b *gatewayBench) resident() (float64, error) {
	return residentOf(procfs.NewProc(b.arena.Pid(b.sfu)))
}

func residentOf(p procfs.Proc, err error) (float64, error) {
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	st, err := p.NewStatus()
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	return float64(st.VmRSS), nil
}

// quantile is that of ascending durations, in microseconds; 0 of none.
func quantile(sorted []time.Duration, q float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Microseconds()
}
