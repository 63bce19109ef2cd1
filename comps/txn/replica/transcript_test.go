package replica

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// TestTranscripts plays testdata; `go test -rewrite` writes what is said now.
// Commands are given to the member at=N; "new members=3 founded witness=3" begins another
// group, whose members compare their clocks with "clocks".
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		g := newGroup(t, 1, 3)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if answer := g.command(d); answer != "" {
				return answer
			}
			g.settle()
			return g.report()
		})
	})
}

// number reads an argument, 0 when it is not there.
func number(t *testing.T, d *datadriven.TestData, key string) (v uint64) {
	if d.HasArg(key) {
		d.ScanArgs(t, key, &v)
	}
	return v
}

// batch reads ids=(1,2) by=7 remaining=50 timeout=30.
func (g *group) batch(d *datadriven.TestData) *Batch {
	var ids []uint64
	for _, a := range d.CmdArgs {
		for _, v := range a.Vals {
			if a.Key == "ids" {
				n, err := strconv.ParseUint(v, 10, 64)
				if err != nil {
					g.t.Fatal(err)
				}
				ids = append(ids, n)
			}
		}
	}
	return batchOf(number(g.t, d, "by"), uint32(number(g.t, d, "remaining")), uint32(number(g.t, d, "timeout")), ids...)
}

// change reads a change of the roster.
func (g *group) change(d *datadriven.TestData) *Change {
	c := &Change{Origin: number(g.t, d, "name")}
	c.Wish.Remove, c.Wish.Demote = uint32(number(g.t, d, "remove")), uint32(number(g.t, d, "demote"))
	c.Wish.Activate = uint32(number(g.t, d, "activate"))
	if d.HasArg("add") {
		name, kind, machine := "", "all", ""
		d.ScanArgs(g.t, "add", &name)
		d.MaybeScanArgs(g.t, "type", &kind)
		machine = name
		d.MaybeScanArgs(g.t, "machine", &machine)
		c.Wish.Add = record(name, kind, machine, d.HasArg("vote"))
		c.Wish.Add.PublicKey[31] = byte(number(g.t, d, "key"))
	}
	if ms := number(g.t, d, "remaining"); ms > 0 {
		c.Deadline = g.now + time.Duration(ms)*time.Millisecond
	}
	return c
}

// command does one command, and answers it if it does so itself.
func (g *group) command(d *datadriven.TestData) string {
	m := g.members[number(g.t, d, "at")]
	switch d.Cmd {
	case "new":
		n := number(g.t, d, "members")
		*g = *newGroup(g.t, 1, n)
		if g.clocks = d.HasArg("clocks"); g.clocks {
			g.now = time.Hour
			for _, m := range g.members {
				g.start(m)
			}
		}
		if d.HasArg("founded") {
			g.found = founding(n)
			if w := number(g.t, d, "witness"); w > 0 {
				g.found.Members[w-1].Type, g.members[w].light = "witness", true
			}
			for _, id := range g.ids() {
				g.start(g.members[id])
			}
		}
	case "join": // id=N
		g.join(number(g.t, d, "id"))
	case "change": // name=N, and add=NAME [type=T] [machine=M] [key=K] [vote], or remove=N, or demote=N, or activate=V
		m.Change(g.change(d))
	case "group":
		return groupLine(m.Group()) + "\n"
	case "tick":
		g.tick(int(number(g.t, d, "n")))
	case "software": // of member at=N: it knows apply versions up to V, from its next start on
		m.software = uint32(number(g.t, d, "version"))
	case "versions":
		return fmt.Sprintf("entries name %d\n", m.ActiveVersion())
	case "halt":
		m.Halt()
	case "clock": // of member at=N: ms=M off, from now on
		var ms int64
		d.ScanArgs(g.t, "ms", &ms)
		m.skew = time.Duration(ms) * time.Millisecond
	case "clocks":
		state, lasting, off := m.Clock(g.now)
		return fmt.Sprintf("%v for %v, %v off\n", state, lasting, off)
	case "campaign":
		if err := m.node.Campaign(); err != nil {
			return err.Error()
		}
	case "submit":
		m.Submit(g.now, g.wall(m), g.batch(d))
	case "resolve":
		m.Resolve(g.now, g.wall(m), g.batch(d))
	case "read":
		rd := &Read{Origin: number(g.t, d, "name")}
		if ms := number(g.t, d, "remaining"); ms > 0 {
			rd.Deadline = g.now + time.Duration(ms)*time.Millisecond
		}
		m.Read(rd)
	case "hold": // the append thread; or the apply thread; or the append thread when it comes to entries or to a state
		switch {
		case d.HasArg("apply"):
			m.lazy = true
		case d.HasArg("entries"):
			m.until = func(msg *raftpb.Message) bool { return len(msg.GetEntries()) > 0 }
		case d.HasArg("state"):
			m.until = func(msg *raftpb.Message) bool { return !raft.IsEmptySnap(msg.GetSnapshot()) }
		default:
			m.held = true
		}
	case "release":
		if d.HasArg("apply") {
			m.lazy = false
		} else {
			m.held, m.until = false, nil
		}
	case "states": // lost, or arrive
		g.noStates = d.HasArg("lost")
	case "heartbeats": // go unheard, or not
		g.deaf = d.HasArg("unheard")
	case "cut": // from everybody, or what goes to=N
		for _, id := range g.ids() {
			if to := number(g.t, d, "to"); to == 0 {
				g.cut[[2]uint64{m.id, id}], g.cut[[2]uint64{id, m.id}] = true, true
			} else if id == to {
				g.cut[[2]uint64{m.id, id}] = true
			}
		}
	case "heal":
		clear(g.cut)
	case "kill":
		m.down = true
	case "start":
		m.down = false
		g.start(m)
	case "suspect":
		for _, id := range g.ids() {
			if o := g.members[id]; o != m && !o.down {
				o.Suspect(m.id, !d.HasArg("no"))
			}
		}
	case "hand-over":
		tries := m.HandOver()
		g.settle()
		return fmt.Sprintln(tries) + g.report()
	case "compact":
		g.compact(m)
	case "snapshot-sent": // to=3 [failed]
		m.SnapshotSent(number(g.t, d, "to"), !d.HasArg("failed"))
	case "status":
		return fmt.Sprintf("%+v\n", m.Status())
	case "entries":
		return g.entries(m)
	default:
		g.t.Fatalf("unknown command %q", d.Cmd)
	}
	return ""
}
