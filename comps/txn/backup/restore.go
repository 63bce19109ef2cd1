package backup

import (
	"errors"
	"fmt"
	"io"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store"
)

// Restore puts the state in the backup in the place of what s holds, in one step and
// only once all of the backup was there. progress, if not nil, is told now and then
// how many bytes of rows came.
func (r *Reader) Restore(s store.Store, progress func(rowBytes uint64)) (err error) {
	h := r.Header()
	if h.ApplyVersion > entry.ApplyVersion {
		return fmt.Errorf("backup: it was written by newer software (%s, apply version %d, this has %d); install that or a newer one", h.Software, h.ApplyVersion, entry.ApplyVersion)
	}
	to, err := s.Restore()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, to.Abandon())
		}
	}()
	var rows []store.Row
	var done uint64
	for {
		chunk, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		rows = rows[:0]
		for _, row := range chunk.Rows {
			rows = append(rows, store.Row{Key: row.Key, Value: row.Value})
			done += uint64(len(row.Key) + len(row.Value))
		}
		if err := to.Add(rows); err != nil {
			return err
		}
		if progress != nil {
			progress(done)
		}
	}
	if err := to.Switch(); err != nil {
		return err
	}
	meta, err := machine.Reached(s)
	if err != nil {
		return err
	}
	if meta.Csn != h.Csn || meta.AppliedIndex != h.AppliedIndex || meta.AppliedTerm != h.AppliedTerm {
		return fmt.Errorf("%w: its header says CSN %d, entry %d of term %d; its state is CSN %d, entry %d of term %d", ErrDamaged,
			h.Csn, h.AppliedIndex, h.AppliedTerm, meta.Csn, meta.AppliedIndex, meta.AppliedTerm)
	}
	return nil
}
