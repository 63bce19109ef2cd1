package netbench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"virtualservicesinc.com/net/fabric"
)

const (
	// settled is how long both networks must have been well before the next cut.
	settled = 100 * time.Millisecond
	// cutWithin bounds how long a cut may take to be noticed, and the network to be back.
	cutWithin = 10 * time.Second
)

// CutGaps is the longest gap around each of several cuts, and in as many windows of the
// same length and the same stream without one.
type CutGaps struct {
	Cuts       int     `json:"cuts"`
	P50Ms      float64 `json:"cut_gap_p50_ms"`
	P90Ms      float64 `json:"cut_gap_p90_ms"`
	WorstMs    float64 `json:"cut_gap_worst_ms"`
	UncutP50Ms float64 `json:"uncut_gap_p50_ms"`
	UncutP90Ms float64 `json:"uncut_gap_p90_ms"`
	// UncutWorstMs is the longest of all windows without a cut.
	UncutWorstMs float64 `json:"uncut_gap_worst_ms"`
	// The same while a NIC that carries nothing is taken down: what of a cut is the
	// machine's. 0 if that was not done.
	IdleP50Ms   float64 `json:"idle_gap_p50_ms,omitempty"`
	IdleP90Ms   float64 `json:"idle_gap_p90_ms,omitempty"`
	IdleWorstMs float64 `json:"idle_gap_worst_ms,omitempty"`
}

// cutGaps sums the windows up. They are sorted in place.
func cutGaps(windows [windowKinds][]time.Duration) *CutGaps {
	at := func(kind windowKind, q float64) float64 {
		w := windows[kind]
		slices.Sort(w)
		if len(w) == 0 {
			return 0
		}
		return millis(w[min(int(q*float64(len(w))), len(w)-1)])
	}
	return &CutGaps{Cuts: len(windows[windowCut]),
		P50Ms: at(windowCut, 0.5), P90Ms: at(windowCut, 0.9), WorstMs: at(windowCut, 1),
		UncutP50Ms: at(windowUncut, 0.5), UncutP90Ms: at(windowUncut, 0.9), UncutWorstMs: at(windowUncut, 1),
		IdleP50Ms: at(windowIdle, 0.5), IdleP90Ms: at(windowIdle, 0.9), IdleWorstMs: at(windowIdle, 1)}
}

// cuts cuts a network as often as the configuration says, and mends it in between.
func (m *bench) cuts(ctx context.Context) error {
	c := m.cfg.Cut
	for i := range m.cfg.Cuts {
		m.cfg.Out.Progress("cut %d of %d", i+1, m.cfg.Cuts)
		wait := settled
		if i == 0 {
			wait = c.At
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		if err := m.tell(ctx, request{Window: windowUncut}); err != nil {
			return err
		}
		if err := pause(ctx, 2*windowLength); err != nil {
			return err
		}
		if m.cfg.Idle != "" && c.Where != CutOneWay {
			if err := m.idle(ctx); err != nil {
				return err
			}
		}
		if err := m.cut(ctx, c, true); err != nil {
			return err
		}
		if err := pause(ctx, 2*windowLength); err != nil {
			return err
		}
		down := [2]bool{true, true}
		down[c.Network] = false
		if err := m.awaitCut(ctx, down); err != nil {
			return fmt.Errorf("netbench: the cut was not noticed: %w", err)
		}
		if err := m.cut(ctx, c, false); err != nil {
			return err
		}
		if err := m.awaitCut(ctx, [2]bool{true, true}); err != nil {
			return fmt.Errorf("netbench: network %v did not come back: %w", c.Network, err)
		}
	}
	m.cfg.Out.Progress("")
	return nil
}

// idle takes the NIC down that carries nothing, where the network is cut, and up again.
func (m *bench) idle(ctx context.Context) error {
	for _, down := range []bool{true, false} {
		q := request{}
		if down {
			q.Window = windowIdle
		}
		if m.cfg.Cut.Where == CutReceiver {
			q.Fault = &fault{Idle: true, Down: down}
		}
		if err := m.tell(ctx, q); err != nil {
			return err
		}
		if q.Fault == nil {
			if err := setDown(m.cfg.Idle, down); err != nil {
				return err
			}
		}
		if err := pause(ctx, 2*windowLength); err != nil {
			return err
		}
	}
	return nil
}

func (m *bench) awaitCut(ctx context.Context, want [2]bool) error {
	ctx, cancel := context.WithTimeout(ctx, cutWithin)
	defer cancel()
	return m.host.awaitPaths(ctx, want)
}

// cut takes a network away, or mends it. Nobody waits for the other side's answer: the
// measurement shows.
func (m *bench) cut(ctx context.Context, c *Cut, down bool) error {
	q := request{Fault: &fault{Network: c.Network}}
	if down {
		q.Window = windowCut
	}
	switch c.Where {
	case CutSender:
		q.Fault = nil
		if down {
			if err := m.tell(ctx, q); err != nil {
				return err
			}
		}
		return setDown(m.host.nics[c.Network], down)
	case CutReceiver:
		q.Fault.Down = down
	case CutOneWay:
		if down {
			q.Fault.Lose = 1
		}
	}
	return m.tell(ctx, q)
}

// tell is ask without an answer.
func (m *bench) tell(ctx context.Context, q request) error {
	if err := m.host.SendWait(ctx, serving, fabric.LaneControl, encode(kindRequest, q)); err != nil {
		return fmt.Errorf("netbench: %w", err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
