package netbench

import (
	"reflect"
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
	s := newStream()
	at := time.Now()
	for i, number := range []uint64{0, 1, 3, 2, 3, 4} {
		s.arrived(number, at.Add(time.Duration(i)*time.Millisecond))
	}
	if a := s.answer(); a.Received != 6 || a.Reordered != 2 || a.Longest != time.Millisecond {
		t.Errorf("%+v", a)
	}
}

// A window has the gaps that its begin and its end are in, and no others.
func TestStreamWindows(t *testing.T) {
	s := newStream()
	at := time.Now()
	arrive := func(ms int) { s.arrived(s.next, at.Add(time.Duration(ms)*time.Millisecond)) }
	arrive(0)
	arrive(30) // before the window
	s.window(windowUncut, at.Add(31*time.Millisecond))
	for _, ms := range []int{35, 40, 80, 82, 200} {
		arrive(ms) // 82 is past the end
	}
	s.window(windowCut, at.Add(210*time.Millisecond))
	for _, ms := range []int{220, 340, 345} {
		arrive(ms)
	}
	s.window(windowCut, at.Add(346*time.Millisecond)) // not ended
	want := [windowKinds][]time.Duration{windowUncut: {40 * time.Millisecond}, windowCut: {120 * time.Millisecond}}
	if got := s.answer().Windows; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	g := cutGaps([windowKinds][]time.Duration{windowUncut: {1e6}, windowIdle: {2e6}, windowCut: {3e6, 9e6, 1e6, 2e6}})
	if *g != (CutGaps{Cuts: 4, P50Ms: 3, P90Ms: 9, WorstMs: 9, UncutP50Ms: 1, UncutP90Ms: 1, UncutWorstMs: 1, IdleP50Ms: 2, IdleP90Ms: 2, IdleWorstMs: 2}) {
		t.Errorf("%+v", g)
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
	good := &Report{MsgsPerS: 400_000, MBPerS: 250, RTTP50us: 5, RTTP99us: 20,
		CutGaps:    &CutGaps{Cuts: 20, P50Ms: 2.9, UncutP50Ms: 2},
		PingRivals: &PingRivals{TCPRTTP50us: 6, TCPRTTP99us: 21}, StreamRivals: &StreamRivals{},
		Clean: &Clean{GapP99Ms: 2, RTTP99us: 19}}
	bad := &Report{MsgsPerS: 300_000, MBPerS: 150, RTTP50us: 7, RTTP99us: 30, Lost: 1,
		CutGaps:    &CutGaps{Cuts: 20, P50Ms: 10.1, UncutP50Ms: 2},
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
	if measured != 2+2+1+2+6+4+1 {
		t.Errorf("%d bars", measured)
	}
}
