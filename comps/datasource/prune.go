package datasource

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	oldEffects   = "SELECT effect FROM rrts_effect WHERE stamp < ?"
	deleteEffect = "DELETE FROM rrts_effect WHERE effect = ? AND stamp < ?"

	// pruneMost bounds the rows that one database transaction removes: it takes about a
	// tenth of a second, and writes wait for nothing that it has locked.
	pruneMost = 500
	// pruneEvery is how often it is looked for old rows, which may read the whole table;
	// pruneAgain is the pause while there are more.
	pruneEvery = time.Hour
	pruneAgain = time.Second
	// pruneWithin bounds one call of the child.
	pruneWithin = defaultTimeout + grace + time.Second
	// pruneSlack is by how much the clock that stamped a row may have been behind the
	// ledger's.
	pruneSlack = time.Hour
)

// Prune removes rows that were written last before a time, at most pruneMost of them. more
// says that there are more. The caller knows that nobody will ask for their effects.
func (s *Source) Prune(ctx context.Context, before time.Time) (rows int, more bool, err error) {
	ctx, stop := context.WithTimeout(ctx, s.cfg.Timeout)
	defer stop()
	type answer struct {
		rows int
		more bool
	}
	out := make(chan answer, 1) // a call that was given up may still answer
	err = s.within(ctx, func(ctx context.Context) error {
		keys, more, err := s.old(ctx, before)
		if err != nil || len(keys) == 0 {
			out <- answer{}
			return err
		}
		removed := int64(0)
		err = s.transaction(ctx, "", 0, func(ctx context.Context, tx *sql.Tx) (bool, error) {
			for _, key := range keys {
				r, err := tx.ExecContext(ctx, deleteEffect, key, before.Unix())
				if err != nil {
					return false, err
				}
				n, err := r.RowsAffected()
				if err != nil {
					return false, err
				}
				removed += n
			}
			return false, nil
		})
		out <- answer{int(removed), more}
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("datasource: %s: the old rows of rrts_effect cannot be removed; the user needs the right to DELETE there: %w", s.cfg.Name, err)
	}
	a := <-out
	return a.rows, a.more, nil
}

// old returns the keys of some old rows, and whether there are more.
func (s *Source) old(ctx context.Context, before time.Time) (keys []string, more bool, err error) {
	rows, err := s.db.QueryContext(ctx, oldEffects, before.Unix())
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for rows.Next() {
		if len(keys) == pruneMost {
			return keys, true, nil
		}
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, false, err
		}
		keys = append(keys, key)
	}
	return keys, false, rows.Err()
}

// pruner removes the old rows of a data source, where this SFU holds its queue.
type pruner struct {
	link   *link
	txn    txnpb.TxnClient
	sfu    uint16
	log    *slog.Logger
	source *datasourcepb.Source
}

func (p *pruner) run(ctx context.Context) {
	pause := pruneEvery
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		more, err := p.prune(ctx)
		if err != nil && ctx.Err() == nil {
			p.log.Warn("rows of effects that are over stay for now", "source", p.source.Name, "err", err)
		}
		if pause = pruneEvery; more {
			pause = pruneAgain
		}
	}
}

func (p *pruner) prune(ctx context.Context) (more bool, err error) {
	ctx, stop := context.WithTimeout(ctx, pruneWithin)
	defer stop()
	a, err := p.txn.Read(ctx, &txnpb.Query{ListEffects: &txnpb.OutboxFilter{Service: Service, Target: p.source.Name, Limit: 1}})
	if err != nil || a.Outbox == nil {
		return false, err
	}
	before, ok := prunable(a.Outbox, p.sfu, time.Duration(p.source.KeepMillis)*time.Millisecond)
	if !ok {
		return false, nil
	}
	for range 2 {
		out, err := p.link.client.Prune(ctx, &datasourcepb.PruneRequest{Revision: p.link.settings.Revision, Source: p.source.Name, Before: before.Unix()})
		switch {
		case err != nil:
			return false, err
		case !out.Stale:
			if out.Rows > 0 {
				p.log.Info("rows of effects that are over were removed", "source", p.source.Name, "rows", out.Rows, "before", before.UTC())
			}
			return out.More, nil
		}
		if err := p.link.configure(ctx); err != nil {
			return false, err
		}
	}
	return false, nil // another Component tells the child other settings
}

// prunable returns before when rows may be removed, given the queue and its first effect;
// ok says whether this SFU is the one to do it. All that is owed stands in the outbox in the
// order in which it came to be owed, whether it was attempted or not, in quarantine or
// held after a restore; a row is never older than its effect.
func prunable(a *txnpb.OutboxAnswer, sfu uint16, keep time.Duration) (before time.Time, ok bool) {
	if len(a.Queues) != 1 || a.Queues[0].Holder != uint32(sfu) || a.Held {
		return time.Time{}, false
	}
	before = time.Unix(0, int64(a.Stamp)).Add(-keep)
	if len(a.Effects) > 0 {
		if owed := time.Unix(0, int64(a.Effects[0].Owed)).Add(-pruneSlack); owed.Before(before) {
			before = owed
		}
	}
	return before, true
}
