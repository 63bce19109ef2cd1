package session

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"virtualservicesinc.com/net/wire"
)

// TestTranscripts plays testdata/*.txt, readable stories of two SFUs on two
// networks; -rewrite writes them again. Commands:
//
//	new [mtu=N] [chacha=SFU] [rekey=D]   two SFUs, 100 µs apart
//	run for=D [frames]                   shows events and records, and frames
//	send sfu=N lane=L                    each line of input is a record
//	cut | heal net=N [from=SFU]          one network, both ways or one
//	lose count=N [from=SFU]              the next frames (both copies count as one)
//	carrier sfu=N net=N up=BOOL
//	pause sfu=N for=D | off | restart | close sfu=N
//	replay                               every initiation so far, to both
//	stats sfu=N
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		var x transcript
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return x.play(t, d)
		})
	})
}

type transcript struct {
	w      *world
	out    bytes.Buffer
	frames bool
	lose   [2]int
	saved  []*delivery
}

func (x *transcript) play(t *testing.T, d *datadriven.TestData) string {
	x.out.Reset()
	number := func(name string, otherwise int) int {
		if d.HasArg(name) {
			d.ScanArgs(t, name, &otherwise)
		}
		return otherwise
	}
	span := func(name string) time.Duration {
		if !d.HasArg(name) {
			return 0
		}
		var text string
		d.ScanArgs(t, name, &text)
		v, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if d.Cmd == "new" {
		x.start(t, number("mtu", 1500), number("chacha", 0), span("rekey"))
		return ""
	}
	w := x.w
	w.t = t
	node := w.node[(number("sfu", 1)-1)%2]
	faults := func(change func(f *fault)) {
		net := A
		if d.HasArg("net") {
			var text string
			if d.ScanArgs(t, "net", &text); text == "B" {
				net = B
			}
		}
		for i := range w.link {
			if from := number("from", 0); from == 0 || from == i+1 {
				change(&w.link[i][net])
			}
		}
	}
	switch d.Cmd {
	case "run":
		x.frames = d.HasArg("frames")
		w.run(span("for"))
		x.frames = false
	case "send":
		lane := Lane(number("lane", 1))
		for line := range strings.Lines(d.Input) {
			if err := node.session.Send(w.now, lane, []byte(strings.TrimSpace(line))); err != nil {
				fmt.Fprintln(&x.out, err)
			}
		}
	case "cut":
		faults(cut)
	case "heal":
		faults(heal)
	case "lose":
		for i := range x.lose {
			if from := number("from", 0); from == 0 || from == i+1 {
				x.lose[i] = number("count", 1)
			}
		}
	case "carrier":
		var text string
		d.ScanArgs(t, "net", &text)
		var up bool
		d.ScanArgs(t, "up", &up)
		node.session.LinkState(w.now, Network(text[0]-'A'), up)
		node.flush()
	case "pause":
		node.paused = w.now + span("for")
	case "off":
		node.off = true
	case "restart":
		node.start()
	case "close":
		node.session.Close(w.now)
		node.flush()
	case "replay":
		for _, f := range x.saved {
			c := *f
			c.frame = bytes.Clone(f.frame)
			w.schedule(&c, 0)
		}
	case "stats":
		var st Stats
		node.session.Stats(&st)
		fmt.Fprintf(&x.out, "up=%v suspected=%v cipher=%s stretch=%d ups=%d losses=%d rekeys=%d\n", st.Up, st.Suspected, st.Cipher, st.Stretch, st.Ups, st.Losses, st.Rekeys)
		fmt.Fprintf(&x.out, "refused=%d forged=%d replayed=%d duplicate=%d malformed=%d resent=%d\n", st.FramesRefused, st.FramesForged, st.FramesReplayed,
			st.FramesDuplicate, st.FramesMalformed, st.FragmentsResent)
		for i, p := range st.Network {
			fmt.Fprintf(&x.out, "%v: up=%v held=%v rtt=%v mtu=%d sent=%d received=%d lost=%d missed=%d\n", Network(i), p.Up, p.Held, p.RTT, p.MTU,
				p.FramesSent, p.FramesReceived, p.FramesLost, p.ProbesMissed)
		}
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	if x.out.Len() == 0 {
		return "ok\n"
	}
	return x.out.String()
}

func (x *transcript) start(t *testing.T, mtu, chacha int, rekey time.Duration) {
	x.w = newWorld(t, 1, func(i int, c *Config) {
		c.MTU = [networks]int{mtu, mtu}
		c.NoAES = i+1 == chacha
		c.RekeyAfter = rekey
	})
	x.saved, x.lose = nil, [2]int{}
	w := x.w
	w.log = func(format string, a ...any) { fmt.Fprintf(&x.out, format, a...) }
	for i, n := range w.node {
		n.got = func(lane Lane, record []byte) {
			fmt.Fprintf(&x.out, "%v %d: record on lane %d: %s\n", w.now, i+1, lane, record)
		}
		n.sends = func(frame []byte, on Networks) (drop bool) {
			h, err := wire.ParseHeader(frame)
			if err != nil {
				w.t.Fatal(err)
			}
			if h.Type == wire.TypeInitiation {
				x.saved = append(x.saved, &delivery{from: i, net: A, frame: bytes.Clone(frame)})
			}
			lost := ""
			if x.lose[i] > 0 && h.Type == wire.TypeData {
				x.lose[i]--
				lost = " (lost)"
			}
			if x.frames {
				fmt.Fprintf(&x.out, "%v %d→%d %v%s %s\n", w.now, i+1, 2-i, on, lost, describe(n.session, &h, frame))
			}
			return lost != ""
		}
	}
}

// describe says what is in a frame that s has just sealed.
func describe(s *Session, h *wire.Header, frame []byte) string {
	switch h.Type {
	case wire.TypeInitiation:
		return fmt.Sprintf("initiation, attempt %d", h.Number)
	case wire.TypeResponse:
		return fmt.Sprintf("response, attempt %d, phase %d", h.Number, h.Phase)
	}
	k := *s.ring.current
	k.open = k.seal // what seals in one direction opens there as well
	payload, ok := k.openFrame(bytes.Clone(frame), h.Number)
	if !ok {
		return "under another key"
	}
	chunks := []string{fmt.Sprintf("data %d, phase %d", h.Number, h.Phase)}
	var d wire.Decoder
	for d.Reset(payload); d.Next(); {
		switch d.Type {
		case wire.ChunkFragment:
			chunks = append(chunks, fmt.Sprintf("fragment lane %d %d+%d", d.Fragment.Lane, d.Fragment.Position, len(d.Fragment.Data)))
		case wire.ChunkAck:
			text := "ack"
			for _, r := range d.Ack.Ranges {
				text += fmt.Sprintf(" %d–%d", r.First, r.Last)
			}
			for i, r := range d.Ack.Network {
				if r.Next > 0 {
					text += fmt.Sprintf(" %v≤%d", Network(i), r.Next-1)
				}
			}
			chunks = append(chunks, text)
		case wire.ChunkCredit:
			chunks = append(chunks, fmt.Sprintf("credit lane %d %d", d.Credit.Lane, d.Credit.Position))
		case wire.ChunkFloor:
			chunks = append(chunks, fmt.Sprintf("floor %d", d.Floor))
		case wire.ChunkProbe:
			want := ""
			if d.Probe.Want {
				want = " wanting an answer"
			}
			chunks = append(chunks, fmt.Sprintf("probe %v%d%s", Network(d.Probe.Network), d.Probe.Sequence, want))
		case wire.ChunkReply:
			chunks = append(chunks, fmt.Sprintf("reply %v%d", Network(d.Reply.Network), d.Reply.Sequence))
		case wire.ChunkClose:
			chunks = append(chunks, "close")
		}
	}
	return strings.Join(chunks, ", ")
}
