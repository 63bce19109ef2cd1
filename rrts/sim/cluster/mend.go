package cluster

import (
	"errors"

	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/rrts/journal"
)

// errNobody says that the nodes that run now do not hold what a journal lost.
var errNobody = errors.New("nobody gives what is lost")

// mend repairs the journal of a node that found it damaged, as the Component does, and
// starts the node. If the others cannot help now it tries again later; in the healed
// cluster it gives the node up.
func (w *world) mend(n *node) {
	m, err := raftlog.OpenDamaged(n.logConfig())
	if err == nil {
		err = errors.Join(w.repair(n, m), m.Close())
	}
	switch {
	case err == nil:
		w.report.Mended++
		n.rotten = false
		w.restart(n)
	case n.struck(err):
	case errors.Is(err, raftlog.ErrBeyondRepair), errors.Is(err, errNobody) && w.calm:
		w.trace("node %d: %v", n.id, err)
		w.report.Damaged++
		n.lost = true
	case errors.Is(err, errNobody), errors.Is(err, journal.ErrNoSpace):
		n.forget(false)
		w.restartAfter(n, tryAgain)
	default:
		w.fail("node %d: %v", n.id, err)
	}
}

func (w *world) repair(n *node, m *raftlog.Mend) error {
	for gap, open := m.Gap(); open; gap, open = m.Gap() {
		var err error
		given := false
		if gap.Count > 0 && !n.witness {
			given, err = m.Abandon(gap, n.keptUpTo())
		}
		if err == nil && !given {
			err = w.fill(n, m, gap)
		}
		if errors.Is(err, errNobody) && n.witness {
			if given, err = w.abandon(n, m, gap); err == nil && !given {
				err = errNobody
			}
		}
		if err != nil {
			return err
		}
	}
	if !m.VoteLost() {
		return nil
	}
	var term uint64
	for _, o := range w.nodes {
		if o == n {
			continue
		}
		if o.life == nil {
			return errNobody // it might be the one that the lost vote was for
		}
		term = max(term, o.replica.Status().Term)
	}
	w.trace("node %d: its vote is lost, it goes beyond term %d", n.id, term)
	return m.Outbid(term + 1)
}

// fill takes lost entries from one node after the other.
func (w *world) fill(n *node, m *raftlog.Mend, gap raftlog.Gap) error {
	if gap.Count == 0 {
		return m.Fill(gap, nil)
	}
	for _, o := range w.nodes {
		if o == n || o.life == nil {
			continue
		}
		var records [][]byte
		for uint64(len(records)) < gap.Count {
			part, err := o.log.Records(gap.First+uint64(len(records)), gap.Count-uint64(len(records)), keepBytes)
			if err != nil {
				break
			}
			records = append(records, part...)
		}
		if err := m.Fill(gap, records); !errors.Is(err, journal.ErrMismatch) {
			return err
		}
	}
	return errNobody
}
