package monitor

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/procfs"

	"virtualservicesinc.com/comps/monitor/judge"
	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// askFor is how long a Component may take to say how it is.
	askFor = time.Second
	// minFrames is of how many frames a loss is told: of fewer it means nothing.
	minFrames = 50
)

// sampler looks at the SFU, for the judge and for whoever asks. It belongs to one
// goroutine.
type sampler struct {
	m     *Monitor
	judge *judge.Judge

	last   monitorpb.MonitorStatus
	at     time.Duration // when it was taken
	frames map[path]frames
	judged judged
	recent monitorpb.Recent
}

// judged is what the counters said at the last judgement.
type judged struct {
	at   time.Duration
	cpu  uint64 // milliseconds
	seen router.Histogram
}

// path is one network towards one peer.
type path struct {
	peer    uint32
	network string
}

// frames are a path's counters at the last judgement, and what was lost of those sent
// between the last two, in a million.
type frames struct {
	sent, lost uint64
	loss       float64
}

func newSampler(m *Monitor) *sampler {
	return &sampler{m: m, judge: judge.New(m.cfg.Limits), frames: map[path]frames{}}
}

// run samples until ctx ends.
func (s *sampler) run(ctx context.Context) {
	tick := time.NewTimer(timer.Next(sampleEvery))
	defer tick.Stop()
	s.look(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.Reset(timer.Next(sampleEvery))
			s.look(ctx)
		case give := <-s.m.asks:
			if s.m.host.Now()-s.at > freshFor {
				s.sample(ctx)
			}
			answer := s.last
			give(&answer)
		}
	}
}

// sample looks at everything once.
func (s *sampler) sample(ctx context.Context) {
	m, e := s.m, s.m.cfg.Engine()
	st := monitorpb.MonitorStatus{Sfu: e.Sfu, Name: e.Name, Type: e.Type, Software: e.Software, Components: e.Components, Draining: e.Draining,
		UncompressedBytes: e.BlockedBytes, CompressedBytes: e.BlockBytes}
	if m.cfg.Networks != nil {
		st.Networks = m.cfg.Networks()
		s.tellLoss(st.Networks)
	}
	s.askComponents(ctx, &st)
	st.Recent = new(s.recent)
	resident, cpu, err := process(m.cfg.Proc)
	st.ResidentBytes, st.CpuMillis = resident, uint64(cpu/time.Millisecond)
	s.last, s.at = st, m.host.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clocks = otherClocks(st.Networks)
	m.blind[ofProcess] = reason(err)
}

// askComponents asks the others of this SFU, and the leader how far it is.
func (s *sampler) askComponents(ctx context.Context, st *monitorpb.MonitorStatus) {
	m := s.m
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	own := m.host.Caller(m.host.SFU())
	if m.cfg.Gateway {
		// One that does not answer is shown by what is missing, and by its own alarms.
		st.Gateway, _ = gatewaypb.GatewayClient{Caller: own}.Status(ctx, &gatewaypb.GatewayStatusRequest{})
	}
	if !m.cfg.Replica {
		return
	}
	r, err := txnpb.ReplicaClient{Caller: own}.Status(ctx, &txnpb.ReplicaStatusRequest{})
	if err != nil {
		return
	}
	st.Replica = r
	newest := r.CommitIndex
	if leader := uint16(r.Leader); leader != 0 && leader != m.host.SFU() {
		if l, err := (txnpb.ReplicaClient{Caller: m.host.Caller(leader)}).Status(ctx, &txnpb.ReplicaStatusRequest{}); err == nil {
			newest = max(newest, l.AppliedIndex)
		}
	}
	st.Lag = newest - min(newest, r.AppliedIndex)
}

// look samples and judges.
func (s *sampler) look(ctx context.Context) {
	s.sample(ctx)
	s.lossSince(s.last.Networks)
	p99 := s.since(&s.last)
	look := judge.SFU{Commit: math.NaN(), Lag: math.NaN()}
	for _, n := range s.last.Networks {
		loss := math.NaN()
		if f, ok := s.frames[path{n.Peer, n.Network}]; ok && n.Up {
			loss = f.loss / 1e4
		}
		look.Paths = append(look.Paths, judge.Path{Network: n.Network, Peer: uint16(n.Peer), Loss: loss})
	}
	if s.last.Replica != nil {
		look.Lag, look.Commit = float64(s.last.Lag), p99.Seconds()
	}
	s.m.tell(s.judge.SFU(s.m.host.Now(), &look))
}

// lossSince works out what was lost since the last judgement.
func (s *sampler) lossSince(networks []monitorpb.NetworkStatus) {
	now := map[path]frames{}
	for _, n := range networks {
		p := path{n.Peer, n.Network}
		was, f := s.frames[p], frames{sent: n.SentFrames, lost: n.LostFrames}
		if sent := f.sent - was.sent; f.sent >= was.sent && f.lost >= was.lost && sent >= minFrames {
			f.loss = 1e6 * min(float64(f.lost-was.lost)/float64(sent), 1)
		}
		now[p] = f
	}
	s.frames = now
	s.tellLoss(networks)
}

func (s *sampler) tellLoss(networks []monitorpb.NetworkStatus) {
	for i := range networks {
		n := &networks[i]
		n.LossMillionths = uint32(s.frames[path{n.Peer, n.Network}].loss)
	}
}

// since works out what happened since the last judgement, and returns how long the
// slowest hundredth of the transactions took that were answered here; 0 when there were
// none.
func (s *sampler) since(st *monitorpb.MonitorStatus) time.Duration {
	now := judged{at: s.at, cpu: st.CpuMillis}
	if st.Replica != nil {
		now.seen = CommitHistogram(st.Replica)
	}
	was := s.judged
	s.judged = now
	if was.at == 0 || now.at <= was.at { // the first one
		return 0
	}
	h := now.seen
	h.Count = 0
	for i := range h.Seen {
		h.Seen[i] -= min(was.seen.Seen[i], h.Seen[i])
		h.Count += h.Seen[i]
	}
	d := now.at - was.at
	s.recent = monitorpb.Recent{Millis: uint32(d / time.Millisecond), Transactions: h.Count,
		P50Micros: uint64(h.Quantile(0.5).Microseconds()), P99Micros: uint64(h.Quantile(0.99).Microseconds()),
		CpuThousandths: uint32(1000 * time.Duration(now.cpu-min(was.cpu, now.cpu)) * time.Millisecond / d)}
	st.Recent = new(s.recent)
	return h.Quantile(0.99)
}

// CommitHistogram is how long transactions took that were answered by a replica.
func CommitHistogram(r *txnpb.ReplicaStatus) (h router.Histogram) {
	for i, n := range r.CommitSeen[:min(len(r.CommitSeen), router.Buckets)] {
		h.Seen[i] = n
		h.Count += n
		if n > 0 && i < router.Buckets-1 {
			h.Max = router.Above(i)
		} else if n > 0 {
			h.Max = math.MaxInt64
		}
	}
	h.Sum = time.Duration(r.CommitNanos)
	return h
}

// otherClocks are other machines' clocks less this one's, one for each peer, seconds.
func otherClocks(networks []monitorpb.NetworkStatus) (clocks []float64) {
	told := map[uint32]bool{}
	for _, n := range networks {
		if n.Up && !told[n.Peer] && n.ClockErrorMicros > 0 && n.Network != machineNetwork {
			told[n.Peer] = true
			clocks = append(clocks, float64(n.ClockOffsetMicros)/1e6)
		}
	}
	return clocks
}

// machineNetwork is the name of what joins SFUs of one machine.
const machineNetwork = "machine"

// process reads the resident memory, in bytes, and the processor time of this
// process.
func process(proc string) (resident uint64, cpu time.Duration, err error) {
	if proc == "" {
		proc = procfs.DefaultMountPoint
	}
	fs, err := procfs.NewFS(proc)
	if err != nil {
		return 0, 0, fmt.Errorf("monitor: %w", err)
	}
	self, err := fs.Self()
	if err != nil {
		return 0, 0, fmt.Errorf("monitor: %w", err)
	}
	stat, err := self.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("monitor: %w", err)
	}
	return uint64(stat.ResidentMemory()), time.Duration(stat.CPUTime() * float64(time.Second)), nil
}
