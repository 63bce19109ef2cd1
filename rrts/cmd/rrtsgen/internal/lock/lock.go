// Package lock keeps the wire contract of a schema in a text file, schema.lock, and
// compares the schema as it is with it.
//
// The file holds what may only grow: the numbers, names and types of fields, values
// and methods, and the bounds that callers rely on. It is committed with the
// schema, so that a review sees every change of the contract as a changed line:
//
//	message rrts.txn.Outcome
//	  1 id uint128
//	  3 csn uint64
//	  reserved 4 to 6
//	enum rrts.txn.Mode
//	  0 MODE_ATOMIC
//	service rrts.txn.Txn 2 leader
//	  1 Submit rrts.txn.SubmitBatch rrts.txn.Outcomes idempotent max_bytes 16777216
//	  2 Moved rrts.txn.Move - max_bytes 1024
//	  reserved 3
//
// Things are sorted by name, and by number within them; a notice has "-" in place
// of a reply. Lines that begin with # are comments. Lanes, documentation and
// sensitivity may change and are not in it.
package lock

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

// Name is the file's name, in the schema's folder.
const Name = "schema.lock"

const head = `# The wire contract of the schema, written by "rrtsgen lock" and compared by
# "rrtsgen check". Do not edit it, except to say on purpose that something which the
# check refuses is all right: then delete or change its line here, in the same commit.
`

// Lock is the contract of a schema.
type Lock struct {
	things map[string]*thing // by "message rrts.txn.Outcome"
}

// thing is a message, enum or service.
type thing struct {
	kind, name     string
	number, policy string // of a service
	members        map[int]member
	reserved       []schema.Range
}

// member is a field, a value or a method.
type member struct {
	name     string
	typ      string // of a field
	maxItems int
	in, out  string // of a method
	idem     bool
	maxBytes int
}

// Of returns the contract of a schema's files.
func Of(s *schema.Schema) *Lock {
	l := &Lock{things: make(map[string]*thing)}
	add := func(kind, name string) *thing {
		t := &thing{kind: kind, name: name, members: make(map[int]member)}
		l.things[kind+" "+name] = t
		return t
	}
	for _, f := range s.Files {
		for _, m := range f.Messages {
			t := add("message", m.Name)
			t.reserved = m.Reserved.Ranges
			for _, x := range m.Fields {
				t.members[x.Number] = member{name: x.Name, typ: x.Type(), maxItems: x.MaxItems}
			}
		}
		for _, e := range f.Enums {
			t := add("enum", e.Name)
			t.reserved = e.Reserved.Ranges
			for _, v := range e.Values {
				t.members[v.Number] = member{name: v.Name}
			}
		}
		for _, s := range f.Services {
			t := add("service", s.Name)
			t.number, t.policy = strconv.Itoa(s.Number), s.Policy.String()
			for _, n := range s.Reserved {
				t.reserved = append(t.reserved, schema.Range{First: n, Last: n})
			}
			for _, m := range s.Methods {
				out := "-"
				if m.Out != nil {
					out = m.Out.Name
				}
				t.members[m.Number] = member{name: m.Name, in: m.In.Name, out: out, idem: m.Idempotent, maxBytes: m.MaxBytes}
			}
		}
	}
	return l
}

// String returns the contract as the file has it.
func (l *Lock) String() string {
	var b strings.Builder
	b.WriteString(head)
	for _, t := range l.sorted() {
		fmt.Fprintf(&b, "%s %s", t.kind, t.name)
		if t.kind == "service" {
			fmt.Fprintf(&b, " %s %s", t.number, t.policy)
		}
		b.WriteByte('\n')
		for _, n := range slices.Sorted(maps.Keys(t.members)) {
			fmt.Fprintf(&b, "  %d %s%s\n", n, t.members[n].name, t.members[n].rest(t.kind))
		}
		for _, r := range t.reserved {
			if r.First == r.Last {
				fmt.Fprintf(&b, "  reserved %d\n", r.First)
			} else {
				fmt.Fprintf(&b, "  reserved %d to %d\n", r.First, r.Last)
			}
		}
	}
	return b.String()
}

// rest returns what follows number and name in the file.
func (m member) rest(kind string) string {
	var b strings.Builder
	switch kind {
	case "message":
		b.WriteString(" " + m.typ)
		if m.maxItems > 0 {
			fmt.Fprintf(&b, " max_items %d", m.maxItems)
		}
	case "service":
		fmt.Fprintf(&b, " %s %s", m.in, m.out)
		if m.idem {
			b.WriteString(" idempotent")
		}
		fmt.Fprintf(&b, " max_bytes %d", m.maxBytes)
	}
	return b.String()
}

func (l *Lock) sorted() []*thing {
	return slices.SortedFunc(maps.Values(l.things), func(a, b *thing) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
}

// Read reads a file. The error names the line.
func Read(r io.Reader) (*Lock, error) {
	l := &Lock{things: make(map[string]*thing)}
	var t *thing
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		words := strings.Fields(line)
		ok := true
		switch {
		case len(words) == 0 || words[0][0] == '#':
		case line[0] != ' ':
			t, ok = newThing(words)
			if ok {
				key := t.kind + " " + t.name
				ok = l.things[key] == nil
				l.things[key] = t
			}
		case t == nil:
			ok = false
		default:
			ok = t.line(words)
		}
		if !ok {
			return nil, fmt.Errorf("rrtsgen: %s:%d: not a line of a lock file: %q", Name, n, line)
		}
	}
	return l, s.Err()
}

func newThing(words []string) (*thing, bool) {
	want := map[string]int{"message": 2, "enum": 2, "service": 4}[words[0]]
	if want != len(words) {
		return nil, false
	}
	t := &thing{kind: words[0], name: words[1], members: make(map[int]member)}
	if t.kind == "service" {
		t.number, t.policy = words[2], words[3]
	}
	return t, true
}

// line reads a line below a thing; it reports false when it is none.
func (t *thing) line(words []string) bool {
	if words[0] == "reserved" {
		var r schema.Range
		var err1, err2 error
		switch {
		case len(words) == 2:
			r.First, err1 = strconv.Atoi(words[1])
			r.Last = r.First
		case len(words) == 4 && words[2] == "to":
			r.First, err1 = strconv.Atoi(words[1])
			r.Last, err2 = strconv.Atoi(words[3])
		default:
			return false
		}
		t.reserved = append(t.reserved, r)
		return err1 == nil && err2 == nil
	}
	n, err := strconv.Atoi(words[0])
	if _, twice := t.members[n]; err != nil || twice || len(words) < 2 {
		return false
	}
	m := member{name: words[1]}
	rest := words[2:]
	number := func(key string) (v int) { // takes "key NUMBER" off the end
		if i := len(rest) - 2; i >= 0 && rest[i] == key {
			if v, err = strconv.Atoi(rest[i+1]); err == nil {
				rest = rest[:i]
			}
		}
		return v
	}
	switch t.kind {
	case "message":
		m.maxItems = number("max_items")
		m.typ = strings.Join(rest, " ")
	case "service":
		m.maxBytes = number("max_bytes")
		if m.idem = len(rest) == 3 && rest[2] == "idempotent"; m.idem {
			rest = rest[:2]
		}
		if len(rest) != 2 {
			return false
		}
		m.in, m.out = rest[0], rest[1]
	}
	t.members[n] = m
	return err == nil && (m.typ != "") == (t.kind == "message") &&
		strings.TrimPrefix(m.rest(t.kind), " ") == strings.Join(words[2:], " ")
}
