package router

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

func testRegistry(t testing.TB) *message.Registry {
	reg, err := message.NewRegistry(&message.Schema{File: "test", Services: []*message.ServiceDescriptor{
		{Number: 10, Name: "Login", Policy: message.PolicyAny, Methods: []message.MethodDescriptor{
			{Number: 1, Name: "Check", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 8},
			{Number: 2, Name: "Count", Lane: message.LaneRequest, MaxBytes: 8},
		}},
		{Number: 20, Name: "Txn", Policy: message.PolicyLeader, Methods: []message.MethodDescriptor{
			{Number: 1, Name: "Submit", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 8},
			{Number: 2, Name: "Pay", Lane: message.LaneRequest, MaxBytes: 8},
		}},
		{Number: 30, Name: "Cart", Policy: message.PolicyKey, Methods: []message.MethodDescriptor{
			{Number: 1, Name: "Add", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 8},
		}},
		{Number: 40, Name: "Replica", Policy: message.PolicyNamed, Methods: []message.MethodDescriptor{
			{Number: 1, Name: "Append", Lane: message.LaneCommit, Notice: true, MaxBytes: 8},
			{Number: 2, Name: "Status", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 8},
		}},
		{Number: 50, Name: "News", Policy: message.PolicyAll, Methods: []message.MethodDescriptor{
			{Number: 1, Name: "Tell", Lane: message.LaneControl, Notice: true, MaxBytes: 8},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// transcript drives one Router with the commands of a test file.
type transcript struct {
	r     *Router
	now   time.Duration
	names map[uint64]string // of calls, by number
	calls map[string]*Call
	out   []Output
}

// TestTranscripts plays testdata/*: see each file's head for what it is about.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		x := &transcript{names: map[uint64]string{}, calls: map[string]*Call{}}
		x.r = New(Config{Self: 1, Incarnation: 1, Registry: testRegistry(t), Name: "one", Type: "all", Software: "test"})
		datadriven.RunTest(t, path, x.run)
	})
}

func (x *transcript) run(t *testing.T, d *datadriven.TestData) string {
	if d.HasArg("at") {
		x.now = duration(t, d, "at")
	}
	x.out = x.out[:0]
	switch r := x.r; d.Cmd {
	case "local":
		r.Local(x.now, number(t, d, "service"), !d.HasArg("gone"), d.HasArg("ready"), &x.out)
	case "local-draining":
		r.LocalDraining(number(t, d, "service"))
	case "hold":
		r.Hold(x.now, number(t, d, "service"), number(t, d, "holder"), uint64(number(t, d, "term")), &x.out)
	case "drain":
		r.Drain(&x.out)
	case "up":
		r.PeerUp(x.now, number(t, d, "sfu"), uint64(number(t, d, "incarnation")), &x.out)
	case "suspect":
		r.PeerSuspect(x.now, number(t, d, "sfu"), &x.out)
	case "recovered":
		r.PeerRecovered(number(t, d, "sfu"), &x.out)
	case "lost":
		r.PeerLost(x.now, number(t, d, "sfu"), &x.out)
	case "lose-all":
		r.LoseAll(x.now, &x.out)
	case "announced":
		r.Announced(x.now, number(t, d, "sfu"), parseAnnouncement(t, d), &x.out)
	case "call":
		x.call(t, d)
	case "answer":
		c := x.calls[word(t, d, "name")]
		r.Answer(x.now, number(t, d, "from"), c.Envelope.Call, Reply{Code: code(t, word(t, d, "code"))}, &x.out)
	case "notify":
		to, _, err := r.Notify(number(t, d, "to"), number(t, d, "service"), number(t, d, "method"), 1, nil)
		if err != nil {
			return err.Error() + "\n"
		}
		return fmt.Sprintln("to", to)
	case "tick":
		r.Tick(x.now, &x.out)
	case "close":
		r.Close(x.now, &x.out)
	case "last-of":
		return fmt.Sprintln(r.LastOf())
	case "peers":
		var b strings.Builder
		for _, p := range r.Peers() {
			fmt.Fprintf(&b, "%+v\n", p)
		}
		return b.String()
	case "state":
		calls, parked := r.Outstanding()
		next, waiting := r.Next()
		return fmt.Sprintf("calls=%d parked=%d ignored=%d next=%v %v\n", calls, parked, r.Ignored(), next, waiting)
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	return x.print()
}

func (x *transcript) call(t *testing.T, d *datadriven.TestData) {
	c := &Call{Target: number(t, d, "target"), Any: d.HasArg("any"), Key: uint64(number(t, d, "key")), Timeout: time.Second, Owner: word(t, d, "name")}
	if d.HasArg("timeout") {
		c.Timeout = duration(t, d, "timeout")
	}
	c.Envelope.Service, c.Envelope.Method = number(t, d, "service"), number(t, d, "method")
	c.Envelope.Body = make([]byte, number(t, d, "bytes"))
	x.calls[c.Owner.(string)] = c
	x.r.Call(x.now, c, &x.out)
	x.names[c.Envelope.Call] = c.Owner.(string)
}

// print writes the outputs, one a line.
func (x *transcript) print() string {
	var b strings.Builder
	for _, o := range x.out {
		switch e := o.Envelope; o.Action {
		case Deliver:
			fmt.Fprintf(&b, "deliver %s remaining=%dms\n", x.names[e.Call], e.RemainingMillis)
		case Send:
			fmt.Fprintf(&b, "send %s to=%d lane=%d remaining=%dms\n", x.names[e.Call], o.To, o.Lane, e.RemainingMillis)
		case Done:
			fmt.Fprintf(&b, "done %s from=%d %v", o.Call.Owner, o.Reply.From, o.Reply.Code)
			if o.Reply.Detail != "" {
				fmt.Fprintf(&b, " (%s)", o.Reply.Detail)
			}
			b.WriteByte('\n')
		case Announce:
			a := o.Announcement
			fmt.Fprintf(&b, "announce to=%d version=%d", o.To, a.Version)
			if a.Draining {
				b.WriteString(" draining")
			}
			for _, f := range a.Offers {
				fmt.Fprintf(&b, " [%d ready=%v holder=%d term=%d]", f.Service, f.Ready, f.Holder, f.Term)
			}
			b.WriteByte('\n')
		case Tell:
			fmt.Fprintf(&b, "tell %v %d services=%v\n", o.Event.Change, o.Event.Peer.SFU, o.Event.Peer.Services)
		}
	}
	if b.Len() == 0 {
		return "ok\n"
	}
	return b.String()
}

// parseAnnouncement reads version and draining from the arguments and one offer a
// line: `SERVICE [ready] [holder=N] [term=N]`.
func parseAnnouncement(t *testing.T, d *datadriven.TestData) *enginepb.Announcement {
	a := &enginepb.Announcement{Version: uint64(number(t, d, "version")), Draining: d.HasArg("draining")}
	for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
		var o enginepb.Offer
		for i, f := range strings.Fields(line) {
			name, value, _ := strings.Cut(f, "=")
			if i == 0 {
				value = name
			}
			v, err := strconv.ParseUint(value, 10, 32)
			switch {
			case f == "ready":
				o.Ready = true
			case err != nil:
				d.Fatalf(t, "%s: %v", f, err)
			case i == 0:
				o.Service = uint32(v)
			case name == "holder":
				o.Holder = uint32(v)
			case name == "term":
				o.Term = v
			}
		}
		if o.Service != 0 {
			a.Offers = append(a.Offers, o)
		}
	}
	return a
}

// number returns an argument, 0 if it is not there.
func number(t *testing.T, d *datadriven.TestData, key string) uint16 {
	if !d.HasArg(key) {
		return 0
	}
	v, err := strconv.ParseUint(word(t, d, key), 10, 16)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return uint16(v)
}

func duration(t *testing.T, d *datadriven.TestData, key string) time.Duration {
	v, err := time.ParseDuration(word(t, d, key))
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return v
}

func word(t *testing.T, d *datadriven.TestData, key string) (s string) {
	d.ScanArgs(t, key, &s)
	return s
}

func code(t *testing.T, name string) message.Code {
	for c := message.OK; c <= message.NotFound; c++ {
		if c.String() == name {
			return c
		}
	}
	t.Fatalf("there is no code %s", name)
	return 0
}
