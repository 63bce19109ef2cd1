package cluster

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what goes wrong.
type Kind string

const (
	Crash      Kind = "crash"       // the process ends; it starts again after `for`
	Power      Kind = "power"       // the power fails in the op-th disk operation from then on; it is back after `for`
	PowerState Kind = "power-state" // the power fails when a received state was switched to, and its log not yet
	FailedSync Kind = "failed-sync" // the op-th sync from then on fails; the process, which ends of it, starts after `for`
	Rot        Kind = "rot"         // the process ends, and bytes of its journal change before it starts again
	RotRows    Kind = "rot-rows"    // a row of its state changes
	Unreadable Kind = "unreadable"  // the same, and a sector of its journal cannot be read any more
	Full       Kind = "full"        // the disk has `bytes` left, for that long
	Slow       Kind = "slow"        // each sync takes up to `delay` longer, for that long
	Cut        Kind = "cut"         // one network, one direction, until healed
	Isolate    Kind = "isolate"     // both networks, both directions, until healed
	Heal       Kind = "heal"        // undoes every cut
	Storm      Kind = "weather"     // how a network treats frames from then on
	Pause      Kind = "pause"       // the process gets no time, for that long
	HandOver   Kind = "hand-over"   // the leader is told to go
	Clock      Kind = "clock"       // the wall clock jumps: it is `off` from then on
	Add        Kind = "add"         // the operator adds a member, which starts after `for`
	Remove     Kind = "remove"      // the operator removes one
	Demote     Kind = "demote"      // the operator takes a vote away
	Lose       Kind = "lose"        // a disk is lost for good, and the operator replaces its node
	Newer      Kind = "newer"       // newer software is installed: the process ends and starts with it after `for`
	Older      Kind = "older"       // the same with older software
	Activate   Kind = "activate"    // the node is asked to activate the newer apply version
)

// kinds are all of them.
var kinds = []Kind{
	Crash, Power, PowerState, FailedSync, Rot, RotRows, Unreadable, Full, Slow, Cut, Isolate, Heal, Storm, Pause, HandOver, Clock,
	Add, Remove, Demote, Lose, Newer, Older, Activate,
}

// Event is one fault of a schedule. A kind that has no use for a field leaves it zero.
// An event that makes no sense when its time comes (its node is not there, or the
// operator is at something else) does nothing.
type Event struct {
	At   time.Duration
	Kind Kind

	Node, To uint64        // by number: members get theirs in the order in which they join
	Net      int           // 0 is network A, 1 is B
	Op       int           // counted from 1
	For      time.Duration // how long it lasts
	Delay    time.Duration
	Off      time.Duration
	Bytes    int64
	Pick     uint64 // decides what rots
	Replica  bool   // the added member has a replica; otherwise it is an edge
	Voter    bool   // the added member is to vote
	Witness  bool   // and it is a witness

	Loss, Double, Corrupt float64
	Jitter                time.Duration
}

// field is one of an event's fields in its written form.
type field struct {
	name string
	to   any // *uint64, *int, *int64, *bool, *float64, *time.Duration
}

// fields are those that the kind uses, in the order in which they are written.
func (e *Event) fields() []field {
	node, lasts := field{"node", &e.Node}, field{"for", &e.For}
	switch e.Kind {
	case Crash, Pause, Newer, Older:
		return []field{node, lasts}
	case Power, FailedSync:
		return []field{node, {"op", &e.Op}, lasts}
	case PowerState:
		return []field{node, lasts}
	case Rot, Unreadable:
		return []field{node, {"pick", &e.Pick}, lasts}
	case RotRows:
		return []field{node, {"pick", &e.Pick}}
	case Full:
		return []field{node, {"bytes", &e.Bytes}, lasts}
	case Slow:
		return []field{node, {"delay", &e.Delay}, lasts}
	case Cut:
		return []field{node, {"to", &e.To}, {"net", &e.Net}}
	case Isolate, HandOver, Remove, Demote, Lose, Activate:
		return []field{node}
	case Storm:
		return []field{{"net", &e.Net}, {"loss", &e.Loss}, {"double", &e.Double}, {"corrupt", &e.Corrupt}, {"jitter", &e.Jitter}}
	case Clock:
		return []field{node, {"off", &e.Off}}
	case Add:
		return []field{{"replica", &e.Replica}, {"voter", &e.Voter}, {"witness", &e.Witness}, lasts}
	}
	return nil
}

// String is the event's line in a schedule.
func (e *Event) String() string { return fmt.Sprintf("%-12v %s", e.At, e.what()) }

// what is the event without its time.
func (e *Event) what() string {
	var b strings.Builder
	b.WriteString(string(e.Kind))
	for _, f := range e.fields() {
		switch v := f.to.(type) {
		case *uint64:
			fmt.Fprintf(&b, " %s=%d", f.name, *v)
		case *int:
			fmt.Fprintf(&b, " %s=%d", f.name, *v)
		case *int64:
			fmt.Fprintf(&b, " %s=%d", f.name, *v)
		case *bool:
			fmt.Fprintf(&b, " %s=%t", f.name, *v)
		case *float64:
			fmt.Fprintf(&b, " %s=%s", f.name, strconv.FormatFloat(*v, 'g', -1, 64))
		case *time.Duration:
			fmt.Fprintf(&b, " %s=%v", f.name, *v)
		}
	}
	return b.String()
}

// parseFields sets fields from name=value words; each must be there once.
func parseFields(fields []field, words []string) error {
	if len(words) != len(fields) {
		return fmt.Errorf("%d values, want %d", len(words), len(fields))
	}
	for i, f := range fields {
		name, value, ok := strings.Cut(words[i], "=")
		if !ok || name != f.name {
			return fmt.Errorf("%q, want %s=…", words[i], f.name)
		}
		var err error
		switch v := f.to.(type) {
		case *uint64:
			*v, err = strconv.ParseUint(value, 10, 64)
		case *int:
			*v, err = strconv.Atoi(value)
		case *int64:
			*v, err = strconv.ParseInt(value, 10, 64)
		case *bool:
			*v, err = strconv.ParseBool(value)
		case *float64:
			*v, err = strconv.ParseFloat(value, 64)
		case *time.Duration:
			*v, err = time.ParseDuration(value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// head are the values of a schedule's first line.
func (c *Config) head(bug *uint64) []field {
	return []field{{"seed", &c.Seed}, {"nodes", &c.Nodes}, {"witness", &c.Witness}, {"clients", &c.Clients}, {"effects", &c.Effects}, {"safety", &c.Safety}, {"bug", bug}}
}

// Schedule writes the run down, with every event: ParseSchedule reads it.
//
//	run seed=7 nodes=3 witness=false clients=6 effects=false safety=3s bug=0
//	512.3ms      crash node=2 for=300ms
//	…
func (c Config) Schedule() string {
	c = Plan(c)
	var b strings.Builder
	fmt.Fprintf(&b, "run seed=%d nodes=%d witness=%t clients=%d effects=%t safety=%v bug=%d\n", c.Seed, c.Nodes, c.Witness, c.Clients, c.Effects, c.Safety, c.Bug)
	for i := range c.Events {
		fmt.Fprintln(&b, c.Events[i].String())
	}
	return b.String()
}

// ParseSchedule reads what Schedule wrote. Empty lines and lines that begin with # are
// passed over. The error names the line.
func ParseSchedule(text string) (Config, error) {
	c := Config{Events: []Event{}}
	began, line := false, 0
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		line++
		words := strings.Fields(s.Text())
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if err := c.parseLine(words, &began); err != nil {
			return Config{}, fmt.Errorf("cluster: schedule line %d: %w", line, err)
		}
	}
	if !began {
		return Config{}, fmt.Errorf("cluster: schedule has no line that begins with run")
	}
	return c, nil
}

func (c *Config) parseLine(words []string, began *bool) error {
	if words[0] == "run" {
		*began = true
		var bug uint64
		err := parseFields(c.head(&bug), words[1:])
		c.Bug = Bug(bug)
		return err
	}
	if len(words) < 2 {
		return fmt.Errorf("%q, want a time and a kind", words[0])
	}
	var e Event
	var err error
	if e.At, err = time.ParseDuration(words[0]); err != nil {
		return err
	}
	if e.Kind = Kind(words[1]); !slices.Contains(kinds, e.Kind) {
		return fmt.Errorf("unknown kind %q; there are %v", words[1], kinds)
	}
	if err := parseFields(e.fields(), words[2:]); err != nil {
		return fmt.Errorf("%s: %w", e.Kind, err)
	}
	c.Events = append(c.Events, e)
	return nil
}
