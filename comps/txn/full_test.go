package txn_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/disk"
)

// TestFullDiskMakesRoomItself: a disk on which no file can be made refuses work, and
// goes on as soon as the log has given up what the state has flushed; also
// after restarts, each of which needs a new segment. Nobody has to come.
func TestFullDiskMakesRoomItself(t *testing.T) {
	d := disk.New(disk.Config{RNG: rand.New(rand.NewPCG(1, 1))})
	c := newClusterOf(t, 1, func(uint16, *vfs.MemFS) vfs.FS { return d })
	s := c.leader()
	mustCommit(t, c.submit(s, opening()))
	for d.Used() < 2*segmentBytes { // one in use, one in reserve
		mustCommit(t, c.submit(s, transferOf(1)))
	}
	d.SetCapacity(1)
	refused := 0
	for began := time.Now(); refused == 0 && time.Since(began) < 20*time.Second; {
		if c.overloaded(s) {
			refused++
			if !s.alarmed("disk-full") && c.overloaded(s) {
				t.Fatal("work is refused without an alarm")
			}
		}
	}
	if refused == 0 {
		t.Fatal("the disk was never full: the test tests nothing")
	}
	mustCommit(t, c.submit(s, transferOf(1)))
	for began := time.Now(); s.alarmed("disk-full"); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("the alarm stands although there is room")
		}
	}

	for range 3 {
		c.stop(s)
		c.start(s)
		mustCommit(t, c.submit(s, transferOf(1)))
	}
	c.saw.Proves(t)
}

// alarmed reports whether an alarm stands at an SFU.
func (s *sfu) alarmed(name string) bool {
	return slices.ContainsFunc(s.engine.Alarms(), func(a engine.Alarm) bool { return a.Name == name })
}

// overloaded submits once and reports whether it was refused for want of room.
func (c *cluster) overloaded(at *sfu) bool {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	answer, err := txnpb.TxnClient{Caller: at.engine.Caller(0)}.Submit(ctx, &txnpb.SubmitBatch{Submissions: []txnpb.Submission{{
		Transaction: message.Marshal(transferOf(1)), Principal: 1, Role: uint32(message.RoleOperator), RemainingMillis: 1000,
	}}})
	return err == nil && answer.Outcomes[0].State == txnpb.StateOverloaded
}

// TestFullDiskOfTheLeader: a leader whose disk is full lets a member lead that has room,
// and payments and reads go on.
func TestFullDiskOfTheLeader(t *testing.T) {
	disks := map[uint16]*disk.Disk{}
	c := newClusterOf(t, 3, func(sfu uint16, _ *vfs.MemFS) vfs.FS {
		disks[sfu] = disk.New(disk.Config{RNG: rand.New(rand.NewPCG(1, uint64(sfu)))})
		return disks[sfu]
	})
	s := c.leader()
	mustCommit(t, c.submit(s, opening()))
	disks[s.number].SetCapacity(1)
	for began := time.Now(); c.leader() == s; {
		mustCommit(t, c.submit(s, transferOf(1)))
		if time.Since(began) > 20*time.Second {
			t.Fatal("the leader went on leading with a full disk")
		}
	}
	mustCommit(t, c.submit(s, transferOf(1)))
}
