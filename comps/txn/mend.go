package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// mendRetry is how often a damaged member asks the others again.
	mendRetry = time.Second
	// entriesTimeout is how long one may take to read some of its log.
	entriesTimeout = 10 * time.Second

	alarmDamaged      = "journal-damaged"
	alarmStateDamaged = "state-damaged"
)

// openDamaged makes the Component one that mends its log before it takes part.
func (c *Component) openDamaged(cause error) error {
	c.host.Alarm(alarmDamaged, engine.Critical, cause.Error())
	var err error
	if c.mend, err = raftlog.OpenDamaged(c.logConfig()); err != nil {
		return fmt.Errorf("txn: the journal is damaged and cannot be repaired from the other members; give the SFU a new identity with `rrts sfu replace`: %w", err)
	}
	if gap, open, err := c.nextGap(); err != nil {
		return err
	} else if open && len(c.others()) == 0 {
		return fmt.Errorf("txn: entries %d to %d are lost and no other member has a copy; restore a backup with `rrts restore`: %w", gap.First, gap.First+gap.Count-1, cause)
	}
	return nil
}

// nextGap returns a gap that others have to fill. What the state holds is given up, but
// by a witness, which has none: the others may yet need it.
func (c *Component) nextGap() (gap raftlog.Gap, open bool, err error) {
	for gap, open = c.mend.Gap(); open; gap, open = c.mend.Gap() {
		if gap.Count == 0 {
			err = c.mend.Fill(gap, nil)
		} else if c.witness() {
			return gap, true, nil
		} else if given, e := c.mend.Abandon(gap, c.keep.Flushed()); e != nil || !given {
			return gap, true, e
		}
		if err != nil {
			break
		}
	}
	return gap, open, err
}

// others are the SFUs that have a replica, by the roster that this one starts from.
func (c *Component) others() []uint16 {
	var all []uint16
	for i := range c.cfg.Seed.Members {
		if m := &c.cfg.Seed.Members[i]; roster.Replicates(m.Type) && uint64(m.Number) != c.cfg.Node {
			all = append(all, uint16(m.Number))
		}
	}
	return all
}

// heal repairs the log with the entries of other members, however long they take to
// answer, and opens it. It reports whether this member takes part now.
func (c *Component) heal(ctx context.Context) bool {
	for said := ""; ; {
		err := c.healOnce(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return false
		}
		if journal.IsFailed(err) {
			c.host.Fatal(err)
			return false
		}
		if err.Error() != said {
			said = err.Error()
			c.host.Log().Warn("what is damaged waits for the other members", "err", err)
		}
		select {
		case <-time.After(mendRetry):
		case <-ctx.Done():
			return false
		}
	}
	var err error
	if c.mend != nil {
		err = c.mend.Close()
		c.mend = nil
	}
	if err == nil {
		err = c.open()
	}
	if err != nil {
		c.host.Fatal(err)
		return false
	}
	for _, alarm := range [...]string{alarmDamaged, alarmDiverged, alarmStateDamaged} {
		c.host.ClearAlarm(alarm)
	}
	c.host.Log().Info("what was damaged is repaired")
	return true
}

func (c *Component) healOnce(ctx context.Context) error {
	if c.fenced {
		if err := c.rebuild(ctx); err != nil {
			return err
		}
		c.fenced = false
	}
	if c.mend == nil {
		return nil
	}
	for {
		gap, open, err := c.nextGap()
		if err != nil {
			return err
		}
		if !open {
			break
		}
		if err := c.fillGap(ctx, gap); err != nil && !c.outlived(gap, err) {
			return err
		}
	}
	if !c.mend.VoteLost() {
		return nil
	}
	term, err := c.highestTerm(ctx)
	if err != nil {
		return err
	}
	return c.mend.Outbid(term + 1)
}

// errNowhere says that no other member keeps some entries in its log.
var errNowhere = errors.New("none of them keeps these entries")

// outlived gives up what a witness has lost, if no other keeps it in its log: then all
// have it in their states.
func (c *Component) outlived(gap raftlog.Gap, err error) bool {
	if !c.witness() || !errors.Is(err, errNowhere) {
		return false
	}
	given, err := c.mend.Abandon(gap, c.keep.Flushed())
	if err != nil {
		c.host.Log().Error("giving up lost entries", "err", err)
	}
	return given && err == nil
}

// fillGap asks one member after the other for what is lost.
func (c *Component) fillGap(ctx context.Context, gap raftlog.Gap) error {
	var refusals []string
	nowhere := errNowhere
	given := false // some other member has given up the entries, and its state holds them
	for _, sfu := range c.others() {
		records, err := c.lostEntries(ctx, sfu, gap)
		if err == nil {
			err = c.mend.Fill(gap, records)
		}
		if err == nil || journal.IsFailed(err) {
			return err
		}
		refusals = append(refusals, fmt.Sprintf("SFU %d: %v", sfu, err))
		var refused *message.Error
		compacted := errors.As(err, &refused) && refused.Code == message.NotFound
		given = given || compacted
		if !compacted {
			nowhere = nil
		}
	}
	if given && !c.witness() {
		err := c.fetchState(ctx, gap.First+gap.Count-1, noIntent)
		if err == nil {
			return nil // what the state holds is given up next
		}
		refusals = append(refusals, err.Error())
	}
	err := fmt.Errorf("txn: entries %d to %d are lost, and no other member gives them; if it stays so, use `rrts sfu replace` (%s)",
		gap.First, gap.First+gap.Count-1, strings.Join(refusals, "; "))
	if nowhere != nil {
		return errors.Join(err, nowhere)
	}
	return err
}

// lostEntries gets the entries of a gap from one member. They fit in memory: a gap is
// seldom longer than a segment of the journal.
func (c *Component) lostEntries(ctx context.Context, sfu uint16, gap raftlog.Gap) ([][]byte, error) {
	var records [][]byte
	for uint64(len(records)) < gap.Count {
		in := &txnpb.EntriesRequest{First: gap.First + uint64(len(records)), Count: gap.Count - uint64(len(records))}
		answer := &txnpb.EntriesAnswer{}
		if err := c.ask(ctx, sfu, txnpb.ReplicaEntriesMethod, in, answer); err != nil {
			return nil, err
		}
		if len(answer.Records) == 0 {
			return nil, errors.New("txn: an answer without entries")
		}
		records = append(records, answer.Records...)
	}
	return records, nil
}

// highestTerm asks all other members for their terms. Each must answer: one that does
// not might be the one that this member has voted for.
func (c *Component) highestTerm(ctx context.Context) (uint64, error) {
	var highest uint64
	members := c.others()
	for i := 0; i < len(members); i++ { // it grows: others may know of newer members
		st := &txnpb.ReplicaStatus{}
		err := c.ask(ctx, members[i], txnpb.ReplicaStatusMethod, &txnpb.ReplicaStatusRequest{}, st)
		if err == nil && st.Role == roleDamaged {
			err = errors.New("its journal is damaged, too")
		}
		if err != nil {
			return 0, fmt.Errorf("txn: this member may have voted in a term that it does not know any more, and SFU %d does not tell its own: %w", members[i], err)
		}
		highest = max(highest, st.Term)
		for _, n := range slices.Concat(st.Voters, st.Learners) {
			if uint64(n) != c.cfg.Node && !slices.Contains(members, uint16(n)) {
				members = append(members, uint16(n))
			}
		}
	}
	return highest, nil
}

// ask calls a method of another member's Replica service and waits for the answer.
func (c *Component) ask(ctx context.Context, sfu, method uint16, in, out message.Message) error {
	replies := make(chan engine.Reply, 1)
	c.host.Call(engine.Call{
		Service: txnpb.ReplicaService, Method: method, Target: sfu, Timeout: entriesTimeout,
		Epoch: c.epoch.Load(), Group: c.cfg.Group, Role: message.RoleSFU,
		Body: message.Marshal(in), Done: func(r engine.Reply) { replies <- r },
	})
	select {
	case r := <-replies:
		if err := r.Err(); err != nil {
			return err
		}
		return out.Parse(r.Body)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// roleDamaged is what a member calls itself that mends its log.
const roleDamaged = "damaged"

// serveDamaged answers while the log is being mended: nothing but what this member is.
func (c *Component) serveDamaged(batch []message.Request) {
	for _, r := range batch {
		if env := r.Envelope(); env.Service == txnpb.ReplicaService && env.Method == txnpb.ReplicaStatusMethod {
			r.Reply(&txnpb.ReplicaStatus{Sfu: uint32(c.host.SFU()), Role: roleDamaged})
			continue
		}
		r.Fail(message.Unavailable, "txn: the journal or the state of this SFU is damaged and being repaired")
	}
}

// Entries implements txnpb.ReplicaHandler.
func (d replicaService) Entries(r message.Responder[*txnpb.EntriesAnswer], in *txnpb.EntriesRequest) {
	c, env := d.c, r.Envelope()
	switch {
	case env.Group != c.cfg.Group || env.Epoch != c.epoch.Load() || env.From == 0:
		r.Fail(message.Denied, "not of this group and epoch")
		return
	case in.First == 0 || in.Count == 0:
		r.Fail(message.Invalid, "txn: entries are counted from 1, and at least one is asked for")
		return
	}
	d.add(func() {
		records, err := c.log.Records(in.First, in.Count, chunkBytes)
		if err != nil {
			r.Fail(message.NotFound, err.Error())
			return
		}
		r.Reply(&txnpb.EntriesAnswer{Records: records})
	})
}
