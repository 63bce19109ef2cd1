package netbench

import (
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
)

func TestParseCut(t *testing.T) {
	for s, want := range map[string]Cut{
		"A@2s":             {fabric.A, 2 * time.Second, CutSender},
		"B@500ms:receiver": {fabric.B, 500 * time.Millisecond, CutReceiver},
		"A@0s:oneway":      {fabric.A, 0, CutOneWay},
	} {
		if got, err := ParseCut(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "A", "C@2s", "A@", "A@2", "A@-1s", "A@2s:there", "@2s"} {
		if c, err := ParseCut(s); err == nil {
			t.Errorf("%q is taken as %v", s, c)
		}
	}
}

func TestParseLoss(t *testing.T) {
	for s, want := range map[string]Loss{"A=5%": {fabric.A, 0.05}, "B=0.5": {fabric.B, 0.5}, "A=100%": {fabric.A, 1}} {
		if got, err := ParseLoss(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "A", "C=5%", "A=", "A=101%", "A=-1%", "A=NaN", "A=5"} {
		if l, err := ParseLoss(s); err == nil {
			t.Errorf("%q is taken as %v", s, l)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	if h.at(0.5) != 0 {
		t.Error("nothing has a median")
	}
	for i := range 1000 {
		h.add(time.Duration(i) * time.Microsecond)
	}
	h.add(2 * time.Second)
	if a, b := h.at(0.5), h.at(0.999); a != 500*time.Microsecond || b != 999*time.Microsecond || h.at(1) != h.max || h.max != 2*time.Second {
		t.Errorf("median %v, p99.9 %v, longest %v", a, b, h.max)
	}
}

func TestStream(t *testing.T) {
	s := stream{gaps: new(histogram)}
	at := time.Now()
	for i, number := range []uint64{0, 1, 3, 2, 3, 4} {
		s.arrived(number, at.Add(time.Duration(i)*time.Millisecond))
	}
	if a := s.answer(); a.Received != 6 || a.Reordered != 2 || a.Longest != time.Millisecond {
		t.Errorf("%+v", a)
	}
}

func TestLossy(t *testing.T) {
	var l lossy
	count := func() (kept int) {
		frames := make([]link.Frame, 100)
		for range 1000 {
			kept += l.sift(frames)
		}
		return kept
	}
	if n := count(); n != 100_000 {
		t.Errorf("a link that loses nothing kept %d of 100000", n)
	}
	l.lose(0.8)
	if n := count(); n < 18_000 || n > 22_000 {
		t.Errorf("a link that loses 80%% kept %d of 100000", n)
	}
}

// Every line of the suite judges the report by its bar.
func TestSuite(t *testing.T) {
	good := &Report{MsgsPerS: 400_000, MBPerS: 250, RTTP50us: 5, RTTP99us: 20, LongestGapMs: 2.9,
		PingRivals: &PingRivals{TCPRTTP50us: 6, TCPRTTP99us: 21}, StreamRivals: &StreamRivals{},
		Clean: &Clean{GapP99Ms: 2, RTTP99us: 19}}
	bad := &Report{MsgsPerS: 300_000, MBPerS: 150, RTTP50us: 7, RTTP99us: 30, LongestGapMs: 10.1, Lost: 1,
		PingRivals: good.PingRivals, StreamRivals: good.StreamRivals, Clean: good.Clean}
	measured := 0
	for _, m := range suite() {
		goods, bads := m.show(good), m.show(bad)
		for i := range goods {
			if goods[i].Bar == "" {
				continue
			}
			measured++
			if goods[i].Verdict != "met" || bads[i].Verdict != "not met" {
				t.Errorf("%s: %q and %q", goods[i].What, goods[i].Verdict, bads[i].Verdict)
			}
		}
	}
	if measured != 2+2+1+1+6+4+1 {
		t.Errorf("%d bars", measured)
	}
}
