package netbench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
)

// Modes of a measurement.
const (
	ModeStream   = "stream"   // records one behind the other
	ModePingPong = "pingpong" // one record there and back at a time
	ModeBulk     = "bulk"     // as stream, on the bulk lane
)

const (
	// peerWithin bounds the wait for the other side, answerWithin that for an answer:
	// longer than a peer is waited for before it is lost.
	peerWithin   = 15 * time.Second
	answerWithin = 10 * time.Second
	// rounds is how often streams that are compared take their turn, pingRounds the same of
	// round trips: short turns, so that what disturbs the machine for a second meets all.
	rounds     = 5
	pingRounds = 20
	// warmUp is left out of every turn of a ping-pong.
	warmUp = 100
	// clockEvery is the number of records between two looks at the clock.
	clockEvery = 16
	// pingEvery is the time between two pings beside a stream: they show what its
	// round trip is under that load, and cost it nothing that could be seen.
	pingEvery = time.Millisecond
)

// Config describes a measurement.
type Config struct {
	Host
	TCP      string // where the serving side answers TCP; empty: no TCP
	Mode     string
	Size     int // bytes of a record, MinSize to MaxSize
	Lane     fabric.Lane
	Rate     int // records a second; 0: as fast as the lane takes them
	Duration time.Duration
	Cut      *Cut
	Cuts     int // how often, with Cut
	Loss     []Loss
	Out      *term.Out
}

// Report is the result, in its JSON form. Round trips beside a stream are those of
// the lanes above it, see pingBeside. Processor time is that of both processes.
type Report struct {
	MsgsPerS     float64 `json:"msgs_per_s"`
	MBPerS       float64 `json:"mb_per_s"`
	RTTP50us     float64 `json:"rtt_p50_us"`
	RTTP99us     float64 `json:"rtt_p99_us"`
	Lost         uint64  `json:"lost"`
	Reordered    uint64  `json:"reordered"`
	LongestGapMs float64 `json:"longest_gap_ms"`
	GapP99Ms     float64 `json:"gap_p99_ms"`
	CPUPerMMsgs  float64 `json:"cpu_s_per_million_msgs"`
	CPUPerGB     float64 `json:"cpu_s_per_gb"`
	Resent       uint64  `json:"bytes_resent"`
	// TCPCPUPerMMsgs is TCP's, of whichever the rivals are.
	TCPCPUPerMMsgs float64 `json:"tcp_cpu_s_per_million_msgs,omitempty"`
	*PingRivals
	*StreamRivals
	*Clean
	*CutGaps
}

// Clean is the same stream before the fault, for as long, in the same run: what a cut or
// a loss is judged by on a machine that has pauses of its own.
type Clean struct {
	MBPerS       float64 `json:"clean_mb_per_s"`
	RTTP50us     float64 `json:"clean_rtt_p50_us"`
	RTTP99us     float64 `json:"clean_rtt_p99_us"`
	LongestGapMs float64 `json:"clean_longest_gap_ms"`
	GapP99Ms     float64 `json:"clean_gap_p99_ms"`
}

// PingRivals is what others reach in the same run, in turns.
type PingRivals struct {
	TCPRTTP50us  float64 `json:"tcp_rtt_p50_us"`
	TCPRTTP99us  float64 `json:"tcp_rtt_p99_us"`
	BareRTTP50us float64 `json:"bare_rtt_p50_us"`
	BareRTTP99us float64 `json:"bare_rtt_p99_us"`
	// The same of a bare frame that leaves on both networks, as each record does here: no
	// protocol that sends twice takes less.
	TwiceRTTP50us float64 `json:"bare_twice_rtt_p50_us"`
	TwiceRTTP99us float64 `json:"bare_twice_rtt_p99_us"`
}

// StreamRivals is the same of one TCP connection, clear and with TLS 1.3. The medians
// of the turns.
type StreamRivals struct {
	TCPMsgsPerS    float64 `json:"tcp_msgs_per_s"`
	TCPMBPerS      float64 `json:"tcp_mb_per_s"`
	TCPCPUPerGB    float64 `json:"tcp_cpu_s_per_gb"`
	TLSMsgsPerS    float64 `json:"tls_msgs_per_s"`
	TLSMBPerS      float64 `json:"tls_mb_per_s"`
	TLSCPUPerMMsgs float64 `json:"tls_cpu_s_per_million_msgs"`
	TLSCPUPerGB    float64 `json:"tls_cpu_s_per_gb"`
}

// speed is one turn of a stream.
type speed struct {
	count uint64
	size  int
	took  time.Duration
	cpu   time.Duration
}

func (s speed) perSecond() float64 { return round(float64(s.count) / s.took.Seconds()) }
func (s speed) megabytes() float64 { return round(s.perSecond() * float64(s.size) / 1e6) }
func (s speed) cpuPerMillion() float64 {
	return round(s.cpu.Seconds() / float64(max(s.count, 1)) * 1e6)
}
func (s speed) cpuPerGB() float64 { return round(s.cpuPerMillion() * 1e3 / float64(s.size)) }

// round keeps three digits behind the point.
func round(v float64) float64 { return float64(int64(v*1000)) / 1000 }

// median is the turn in the middle of a value's order.
func median(turns []speed, value func(speed) float64) float64 {
	var all []float64
	for _, t := range turns {
		all = append(all, value(t))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// bench is a measurement under way.
type bench struct {
	cfg     Config
	host    *host
	asked   atomic.Uint64 // id of the newest request; other answers are let go
	answers chan answer
	pinger  pinger
	report  *Report
}

// Measure runs a measurement against a serving side.
func Measure(ctx context.Context, cfg Config) (*Report, error) {
	m := &bench{cfg: cfg, answers: make(chan answer, 1), report: &Report{}}
	var err error
	if m.host, err = newHost(measuring, cfg.Host, m.deliver); err != nil {
		return nil, err
	}
	err = m.run(ctx)
	return m.report, errors.Join(err, m.host.close())
}

// deliver takes what the serving side sends, on the fabric's goroutine.
func (m *bench) deliver(b *host, batch []fabric.Record) {
	for i := range batch {
		switch r := &batch[i]; r.Data[0] {
		case kindReply:
			m.pinger.replied(b)
		case kindAnswer:
			var a answer
			if json.Unmarshal(r.Data[1:], &a) == nil && a.ID == m.asked.Load() {
				m.answers <- a // there is room: each request has one answer
			}
		}
	}
}

func (m *bench) run(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, peerWithin)
	defer cancel()
	if err := m.host.awaitPeer(waiting); err != nil {
		return err
	}
	turn := m.stream
	if m.cfg.Mode == ModePingPong {
		turn = m.pingpong
	} else if m.cfg.Cut != nil || len(m.cfg.Loss) > 0 {
		if err := m.clean(ctx); err != nil {
			return err
		}
	}
	for _, l := range m.cfg.Loss {
		if err := m.fault(ctx, fault{Network: l.Network, Lose: l.Share}, fault{Network: l.Network, Lose: l.Share}); err != nil {
			return err
		}
	}
	return turn(ctx)
}

// clean measures the stream without its fault, and begins the report with that.
func (m *bench) clean(ctx context.Context) error {
	cut := m.cfg.Cut
	m.cfg.Cut = nil
	err := m.stream(ctx)
	m.cfg.Cut = cut
	if err != nil {
		return err
	}
	r := m.report
	m.report = &Report{Lost: r.Lost, Reordered: r.Reordered, Clean: &Clean{MBPerS: r.MBPerS,
		RTTP50us: r.RTTP50us, RTTP99us: r.RTTP99us, LongestGapMs: r.LongestGapMs, GapP99Ms: r.GapP99Ms}}
	return nil
}

// fault changes a network here and there.
func (m *bench) fault(ctx context.Context, here, there fault) error {
	if err := m.host.apply(here); err != nil {
		return err
	}
	a, err := m.ask(ctx, fabric.LaneControl, request{Fault: &there})
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return err
}

// ask sends a request and waits for its answer.
func (m *bench) ask(ctx context.Context, lane fabric.Lane, q request) (answer, error) {
	q.ID = m.asked.Add(1)
	if err := m.host.SendWait(ctx, serving, lane, encode(kindRequest, q)); err != nil {
		return answer{}, fmt.Errorf("netbench: %w", err)
	}
	select {
	case a := <-m.answers:
		return a, nil
	case <-m.host.lost:
		return answer{}, errPeerGone
	case <-ctx.Done():
		return answer{}, ctx.Err()
	case <-time.After(answerWithin):
		return answer{}, fmt.Errorf("netbench: the other side did not answer within %v", answerWithin)
	}
}

// rivals reports whether this run is to be compared with others: faults are not
// theirs.
func (m *bench) rivals() bool { return m.cfg.Cut == nil && len(m.cfg.Loss) == 0 && m.cfg.Rate == 0 }

// pingpong measures round trips, in turns with TCP and the bare echoes.
func (m *bench) pingpong(ctx context.Context) error {
	var own, tcp, bare, twice histogram
	var cpu, tcpCPU time.Duration // of both sides
	turns := 1
	compare := m.rivals() && m.cfg.TCP != ""
	if compare {
		turns = pingRounds
	}
	each := m.cfg.Duration / time.Duration(turns)
	for i := range turns {
		m.cfg.Out.Progress("turn %d of %d", i+1, turns)
		used, err := m.spent(ctx, func() error { return m.pinger.run(m.host, m.cfg.Lane, m.cfg.Size, each, &own) })
		if err != nil {
			return err
		}
		cpu += used
		if compare {
			used, err := m.spent(ctx, func() error { return pingTCP(m.cfg.TCP, m.cfg.Size, each, &tcp) })
			if err != nil {
				return err
			}
			tcpCPU += used
			for networks, h := range []*histogram{&bare, &twice} {
				if err := pingBare(m.cfg.Host, networks+1, m.cfg.Size, each, h); err != nil {
					return err
				}
			}
		}
	}
	m.cfg.Out.Progress("")
	r := m.report
	all := speed{count: uint64(own.count), size: m.cfg.Size, took: m.cfg.Duration, cpu: cpu}
	r.MsgsPerS, r.MBPerS, r.CPUPerMMsgs, r.CPUPerGB = all.perSecond(), all.megabytes(), all.cpuPerMillion(), all.cpuPerGB()
	r.RTTP50us, r.RTTP99us = micros(own.at(0.5)), micros(own.at(0.99))
	r.LongestGapMs, r.GapP99Ms = millis(own.max), millis(own.at(0.99))
	if compare {
		r.TCPCPUPerMMsgs = speed{count: uint64(tcp.count), size: 1, cpu: tcpCPU}.cpuPerMillion()
		r.PingRivals = &PingRivals{
			TCPRTTP50us: micros(tcp.at(0.5)), TCPRTTP99us: micros(tcp.at(0.99)),
			BareRTTP50us: micros(bare.at(0.5)), BareRTTP99us: micros(bare.at(0.99)),
			TwiceRTTP50us: micros(twice.at(0.5)), TwiceRTTP99us: micros(twice.at(0.99)),
		}
	}
	return m.resent()
}

// resent notes what the fabric had to send again.
func (m *bench) resent() error {
	var st fabric.Stats
	if err := m.host.Stats(&st); err != nil {
		return err
	}
	m.report.Resent = st.Peers[0].BytesResent
	return nil
}

// spent runs fn and returns the processor time that both sides have used meanwhile.
func (m *bench) spent(ctx context.Context, fn func() error) (time.Duration, error) {
	before, err := m.ask(ctx, fabric.LaneControl, request{})
	if err != nil {
		return 0, err
	}
	own := cpuTime()
	if err := fn(); err != nil {
		return 0, err
	}
	own = cpuTime() - own
	after, err := m.ask(ctx, fabric.LaneControl, request{})
	return own + after.CPU - before.CPU, err
}

// stream measures records one behind the other, in turns with TCP.
func (m *bench) stream(ctx context.Context) error {
	turns := 1
	compare := m.rivals() && m.cfg.TCP != ""
	if compare {
		turns = rounds
	}
	each := m.cfg.Duration / time.Duration(turns)
	var own, tcp, tls []speed
	var rtt histogram
	for i := range turns {
		m.cfg.Out.Progress("turn %d of %d", i+1, turns)
		s, err := m.records(ctx, each, &rtt)
		if err != nil {
			return err
		}
		own = append(own, s)
		if !compare {
			continue
		}
		if tcp, err = m.streamTCP(ctx, tcpSink, each, tcp); err != nil {
			return err
		}
		if tls, err = m.streamTCP(ctx, tlsSink, each, tls); err != nil {
			return err
		}
	}
	m.cfg.Out.Progress("")
	r := m.report
	r.MsgsPerS, r.MBPerS = median(own, speed.perSecond), median(own, speed.megabytes)
	r.CPUPerMMsgs, r.CPUPerGB = median(own, speed.cpuPerMillion), median(own, speed.cpuPerGB)
	r.RTTP50us, r.RTTP99us = micros(rtt.at(0.5)), micros(rtt.at(0.99))
	if compare {
		r.TCPCPUPerMMsgs = median(tcp, speed.cpuPerMillion)
		r.StreamRivals = &StreamRivals{
			TCPMsgsPerS: median(tcp, speed.perSecond), TCPMBPerS: median(tcp, speed.megabytes),
			TCPCPUPerGB: median(tcp, speed.cpuPerGB),
			TLSMsgsPerS: median(tls, speed.perSecond), TLSMBPerS: median(tls, speed.megabytes),
			TLSCPUPerMMsgs: median(tls, speed.cpuPerMillion), TLSCPUPerGB: median(tls, speed.cpuPerGB),
		}
	}
	return m.resent()
}

// streamTCP appends one turn of TCP to turns.
func (m *bench) streamTCP(ctx context.Context, kind byte, d time.Duration, turns []speed) ([]speed, error) {
	var s speed
	cpu, err := m.spent(ctx, func() (err error) {
		s, err = streamTCP(m.cfg.TCP, kind, m.cfg.Size, d)
		return err
	})
	s.cpu = cpu
	return append(turns, s), err
}

// records sends a stream for a while, with pings beside it.
func (m *bench) records(ctx context.Context, d time.Duration, rtt *histogram) (speed, error) {
	before, err := m.ask(ctx, fabric.LaneControl, request{Begin: true})
	if err != nil {
		return speed{}, err
	}
	record := make([]byte, m.cfg.Size)
	record[0] = kindData
	own, began := cpuTime(), time.Now()
	pings, stop := context.WithCancel(ctx)
	pinged := make(chan error, 1)
	go func() { pinged <- m.pingBeside(pings, rtt) }()
	var cut chan error // the end of the cuts; the stream lasts as long
	if m.cfg.Cut != nil {
		cut = make(chan error, 1)
		go func() { cut <- m.cuts(ctx) }()
	}
	over := func() bool { return time.Since(began) >= d && (cut == nil || len(cut) > 0) }
	sent := uint64(0)
	for ; m.cfg.Rate > 0 || sent%clockEvery != 0 || !over(); sent++ {
		if m.cfg.Rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(sent) * time.Second / time.Duration(m.cfg.Rate))))
			if over() {
				break
			}
		}
		binary.BigEndian.PutUint64(record[1:], sent)
		if err := m.host.SendWait(ctx, serving, m.cfg.Lane, record); err != nil {
			stop()
			return speed{}, errors.Join(fmt.Errorf("netbench: %w", err), <-pinged)
		}
	}
	stop()
	if err := <-pinged; err != nil {
		return speed{}, err
	}
	if cut != nil {
		if err := <-cut; err != nil {
			return speed{}, err
		}
	}
	after, err := m.ask(ctx, m.cfg.Lane, request{})
	if err != nil {
		return speed{}, err
	}
	m.report.Lost += sent - min(sent, after.Received)
	m.report.Reordered += after.Reordered
	m.report.LongestGapMs = max(m.report.LongestGapMs, millis(after.Longest))
	m.report.GapP99Ms = max(m.report.GapP99Ms, millis(after.GapP99))
	if cut != nil {
		m.report.CutGaps = cutGaps(after.Windows)
	}
	return speed{count: after.Received, size: m.cfg.Size, took: time.Since(began), cpu: cpuTime() - own + after.CPU - before.CPU}, nil
}

// pingBeside measures round trips beside a stream until ctx ends, on the commit lane;
// on the control lane if the stream fills that one.
func (m *bench) pingBeside(ctx context.Context, h *histogram) error {
	lane := fabric.LaneCommit
	if m.cfg.Lane == lane && m.cfg.Rate == 0 {
		lane = fabric.LaneControl
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pingEvery):
		}
		if err := m.pinger.once(m.host, lane, MinSize, h); err != nil {
			return err
		}
	}
}
