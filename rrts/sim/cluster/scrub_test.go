package cluster

import (
	"strings"
	"testing"
	"time"
)

// TestRotOfMost: two of three states rot, the second while the first one's rot is being
// found. Both are made anew from the third; a node that takes another's without a look at its
// sum is found out.
func TestRotOfMost(t *testing.T) {
	run := func(bug Bug) (Report, error) {
		return Run(Config{Seed: 1, Nodes: 3, Events: []Event{}, Bug: bug, during: func(w *world) {
			const found = 7*scrubInterval + scrubTime
			for i, at := range []time.Duration{found - 2*scrubTime, found - scrubTime/2} {
				w.After(at, func() {
					n := w.nodes[i]
					n.flush()
					if !n.rows.Rot(5) {
						t.Error("nothing was flushed that could rot")
					}
				})
			}
		}})
	}
	r, err := run(NoBug)
	if err != nil {
		t.Fatal(err)
	}
	if r.Fenced != 2 || r.Rebuilt != 2 || r.Committed < 20 {
		t.Errorf("%+v", r)
	}
	if _, err := run(TrustRotten); err == nil || !strings.Contains(err.Error(), "other rows") {
		t.Errorf("a rotten state was taken: %v", err)
	}
}

// TestRotOfAll: where every state has rotted nobody gives one. Nothing is decided any more,
// and nobody is told a balance.
func TestRotOfAll(t *testing.T) {
	decided, fenced := 0, 0
	r, err := Run(Config{Seed: 1, Nodes: 3, Events: []Event{}, during: func(w *world) {
		w.After(time.Second, func() {
			for _, n := range w.nodes {
				n.flush()
				n.rows.Rot(5)
			}
		})
		w.After(1500*time.Millisecond, func() {
			decided = w.report.Committed + w.report.Aborted + w.report.Reads
			for _, n := range w.nodes {
				if n.fenced && n.life == nil {
					fenced++
				}
			}
		})
	}})
	if err == nil || !strings.Contains(err.Error(), "not settled") {
		t.Errorf("the cluster goes on: %v", err)
	}
	if now := r.Committed + r.Aborted + r.Reads; fenced != 3 || now != decided || decided < 20 {
		t.Errorf("%d of 3 are fenced, %d answers when they were and %d in the end", fenced, decided, now)
	}
}
