package txn_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// follower makes up a member of the first machine that does not vote.
func follower(n int) *txnpb.Member {
	m := record(fmt.Sprint("sfu", n), "pc1", byte(n))
	m.Voter = false
	return m
}

// TestSeatMoves: the only voter stops, in order, and a follower of its machine has its
// vote before it is gone; when it is back it follows. The same where another machine
// votes, too.
func TestSeatMoves(t *testing.T) {
	c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs })
	first := c.leader()
	mustCommit(t, c.submit(first, opening()))
	second := c.add(first, follower(2), 0)
	third := c.add(first, follower(3), 0)
	c.agree()
	time.Sleep(keptUp) // they have kept up for two election times
	for i, s := range []*sfu{first, second, first} {
		others := map[*sfu]*sfu{first: second, second: first}
		c.stop(s)
		c.voters(third, uint32(others[s].number))
		began := time.Now()
		mustCommit(t, c.submit(third, transferOf(1)))
		t.Logf("stop %d: the next commit came %v after it", i+1, time.Since(began))
		c.start(s)
		c.agree()
		time.Sleep(keptUp)
	}

	other := c.add(second, record("sfu4", "pc2", 4), 0)
	c.voters(third, 2, uint32(other.number))
	c.agree()
	time.Sleep(keptUp)
	c.stop(second)
	c.eventually("a follower of its machine votes", func() bool {
		st := c.status(third)
		return st != nil && len(st.Voters) == 2 && slices.Contains(st.Voters, uint32(other.number)) && !slices.Contains(st.Voters, 2)
	})
	mustCommit(t, c.submit(third, transferOf(1)))
	c.start(second)
	if d := c.agree(); d.Csn != 5 {
		t.Fatalf("%d commits, want 5", d.Csn)
	}
}

// keptUp is well after a follower has kept up for two election times, on a slow machine, too:
// it may take a seat then.
const keptUp = 1200 * time.Millisecond
