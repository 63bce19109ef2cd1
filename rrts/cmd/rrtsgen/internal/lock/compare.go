package lock

import (
	"fmt"
	"maps"
	"slices"
)

// Compare returns what in the new contract breaks the old one, a line each: what
// breaks, and how to do it compatibly.
func Compare(old, now *Lock) []string {
	c := new(comparison)
	for _, t := range old.sorted() {
		n := now.things[t.kind+" "+t.name]
		switch {
		case n == nil:
			c.refuse(t, "it was removed, but older programs send it and stored bytes may hold it: keep it (or, if neither is so, delete its lines from %s)", Name)
			continue
		case t.kind == "service":
			c.service(t, n)
		default:
			c.members(t, n)
		}
		c.reserved(t, n)
	}
	return c.lines
}

type comparison struct{ lines []string }

func (c *comparison) refuse(t *thing, format string, a ...any) {
	c.lines = append(c.lines, fmt.Sprintf("%s %s: ", t.kind, t.name)+fmt.Sprintf(format, a...))
}

// what names the members of each kind of thing, and how their numbers are reserved.
var what = map[string]struct{ member, reserve string }{
	"message": {"field", "reserved %d;"},
	"enum":    {"value", "reserved %d;"},
	"service": {"method", "reserved_methods: %d in (rrts.service)"},
}

// members refuses what happened to the numbers and names of t.
func (c *comparison) members(t, now *thing) {
	w := what[t.kind]
	for _, number := range slices.Sorted(maps.Keys(t.members)) {
		m := t.members[number]
		n, ok := now.members[number]
		reserve := fmt.Sprintf(w.reserve, number)
		switch moved := now.find(m.name); {
		case !ok && moved >= 0:
			c.refuse(t, "%s %s moved from number %d to %d, which older programs do not know: give it back its number %d", w.member, m.name, number, moved, number)
		case !ok && !now.isReserved(number):
			c.refuse(t, "%s %s = %d was removed, and the number could be used again by mistake: write %s", w.member, m.name, number, reserve)
		case ok && n.name != m.name:
			c.refuse(t, "number %d was %s %s and is now %s; a number is never used again: give %s the number %d and write %s (if it is the same under another name, rename it in %s, too)",
				number, w.member, m.name, n.name, n.name, now.free(t), reserve, Name)
		case ok && t.kind == "message":
			c.field(t, now, number, m, n)
		case ok && t.kind == "service":
			c.method(t, now, m, n)
		}
	}
}

func (c *comparison) field(t, now *thing, number int, m, n member) {
	if m.typ != n.typ {
		c.refuse(t, "field %s = %d was %s and is now %s, which older programs would misread: keep it as it was and add a field %s_2 = %d",
			m.name, number, m.typ, n.typ, m.name, now.free(t))
	}
	if n.maxItems > 0 && (m.maxItems == 0 || n.maxItems < m.maxItems) {
		c.refuse(t, "field %s = %d: max_items fell from %s to %d, and what older programs send would be malformed: keep it", m.name, number, bound(m.maxItems), n.maxItems)
	}
}

func (c *comparison) method(t, now *thing, m, n member) {
	add := fmt.Sprintf("add a method %s2 = %d", m.name, now.free(t))
	if m.in != n.in {
		c.refuse(t, "method %s took %s and now takes %s: keep it and %s", m.name, m.in, n.in, add)
	}
	switch {
	case m.out == n.out:
	case n.out == "-":
		c.refuse(t, "method %s became a notice, and older callers wait for a reply: keep it and %s", m.name, add)
	case m.out == "-":
		c.refuse(t, "method %s was a notice, and older callers take no reply: keep it and %s", m.name, add)
	default:
		c.refuse(t, "method %s returned %s and now returns %s: keep it and %s", m.name, m.out, n.out, add)
	}
	if m.idem && !n.idem {
		c.refuse(t, "method %s is idempotent no more, but older engines send it twice: keep it and %s", m.name, add)
	}
	if n.maxBytes < m.maxBytes {
		c.refuse(t, "method %s: max_bytes fell from %d to %d, and what older callers send would be refused: keep it", m.name, m.maxBytes, n.maxBytes)
	}
}

func (c *comparison) service(t, now *thing) {
	if t.number != now.number {
		c.refuse(t, "its number changed from %s to %s, which older engines do not know: give it back the number %s", t.number, now.number, t.number)
	}
	if t.policy != now.policy {
		c.refuse(t, "its policy changed from %s to %s, but older engines go on routing by %s: keep it and add a service", t.policy, now.policy, t.policy)
	}
	c.members(t, now)
}

// reserved refuses numbers that are no longer reserved.
func (c *comparison) reserved(t, now *thing) {
	w := what[t.kind]
	for _, r := range t.reserved {
		for n := r.First; n <= r.Last; n++ {
			if now.isReserved(n) {
				// On to the end of what reserves it: ranges may be as large as all numbers.
				n = now.reservedUpTo(n)
				continue
			}
			reserve := fmt.Sprintf(w.reserve, n)
			if m, used := now.members[n]; used {
				c.refuse(t, "%s %s took the number %d of a removed %s: give it the number %d and write %s again", w.member, m.name, n, w.member, now.free(t), reserve)
			} else {
				c.refuse(t, "number %d of a removed %s is no longer reserved: write %s again", n, w.member, reserve)
			}
			break // one line a range
		}
	}
}

func bound(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}

// find returns the number of the member of that name, or −1.
func (t *thing) find(name string) int {
	for n, m := range t.members {
		if m.name == name {
			return n
		}
	}
	return -1
}

func (t *thing) isReserved(n int) bool { return t.reservedUpTo(n) >= n }

// reservedUpTo returns the last number of a range that holds n, or −1.
func (t *thing) reservedUpTo(n int) int {
	last := -1
	for _, r := range t.reserved {
		if r.First <= n && n <= r.Last {
			last = max(last, r.Last)
		}
	}
	return last
}

// free returns a number that neither t nor the older form of it ever used: one more
// than the highest, or the lowest when that would leave the numbers that protobuf
// has for everybody.
func (t *thing) free(old *thing) int {
	const limit = 19000 // protobuf keeps the next thousand for itself
	used := func(n int) bool {
		_, a := t.members[n]
		_, b := old.members[n]
		return a || b || t.isReserved(n) || old.isReserved(n)
	}
	for n := limit - 1; n > 0; n-- {
		if used(n) && n+1 < limit {
			return n + 1
		}
	}
	n := 1
	for used(n) {
		n++
	}
	return n
}
