package machine

import (
	"fmt"
	"unicode/utf8"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Bounds of what one transaction may owe, and of what is said of it later.
const (
	maxEffects       = 64      // of a transaction, and of what follows one effect
	maxAllEffects    = 256     // of a transaction with all that may follow
	maxEffectDepth   = 6       // of effects that follow effects
	maxFollowing     = 64      // transfers that follow one effect
	maxService       = 32      // bytes
	maxTarget        = 64      // bytes
	maxOperation     = 64      // bytes
	maxEffectKey     = 64      // bytes
	maxArguments     = 256     // of an effect
	maxArgumentName  = 64      // bytes
	maxArgumentBytes = 1 << 18 // of an effect: its row must fit into a few pages of the store
	maxDigits        = 1000    // of a number: the longest that PostgreSQL's numeric takes on one side of the point

	// maxQueued bounds the effects in one queue, and maxQueues the queues: what nobody
	// does must not fill the disks.
	maxQueued = 1_000_000
	maxQueues = 1024

	// Bounds of an EffectChange.
	minLease    = 1_000       // milliseconds: some heartbeats and an election
	maxLease    = 60_000      // milliseconds: how long a queue waits for who is gone
	maxDelay    = 24 * 3600e3 // milliseconds
	maxReason   = 512         // bytes
	maxResult   = 512         // bytes
	millisecond = uint64(1e6) // nanoseconds
)

// malformedEffects returns why a transaction's effects or their changes cannot be taken
// from a role, or "".
func malformedEffects(tx *txnpb.Transaction, role message.Role) string {
	if len(tx.Effects) > 0 && tx.Mode != txnpb.ModeAtomic {
		return "effects need the mode atomic: an independent transaction is committed even when its operations fail"
	}
	left := maxAllEffects
	if fault := malformedList(tx.Effects, "effect", maxEffectDepth, &left); fault != "" {
		return fault
	}
	for i := range tx.EffectChanges {
		if fault := malformedChange(&tx.EffectChanges[i], role); fault != "" {
			return fmt.Sprintf("effect change %d: %s", i, fault)
		}
	}
	return ""
}

func malformedList(list []txnpb.Effect, path string, depth int, left *int) string {
	switch {
	case len(list) == 0:
		return ""
	case depth == 0:
		return fmt.Sprintf("%s: effects that follow effects, more than %d deep", path, maxEffectDepth)
	case len(list) > maxEffects:
		return fmt.Sprintf("%s: %d effects, the bound is %d", path, len(list), maxEffects)
	}
	if *left -= len(list); *left < 0 {
		return fmt.Sprintf("%s: more than %d effects in all", path, maxAllEffects)
	}
	for i := range list {
		here := fmt.Sprintf("%s %d", path, i)
		if fault := malformedEffect(&list[i]); fault != "" {
			return here + ": " + fault
		}
		for _, next := range [...]struct {
			what string
			c    *txnpb.Continuation
		}{{"done", list[i].Done}, {"failed", list[i].Failed}} {
			if next.c == nil {
				continue
			}
			if n := len(next.c.Transfers); n > maxFollowing {
				return fmt.Sprintf("%s: %s: %d transfers, the bound is %d", here, next.what, n, maxFollowing)
			}
			if fault := malformedList(next.c.Effects, here+": "+next.what+": effect", depth-1, left); fault != "" {
				return fault
			}
		}
	}
	return ""
}

func malformedEffect(e *txnpb.Effect) string {
	switch {
	case !validName(e.Service, maxService):
		return fmt.Sprintf("service %q: it must have 1 to %d characters of a-z, 0-9, '.', '_' and '-'", cut(e.Service), maxService)
	case e.Target != "" && !validName(e.Target, maxTarget):
		return fmt.Sprintf("target %q: it must have at most %d characters of a-z, 0-9, '.', '_' and '-'", cut(e.Target), maxTarget)
	case !validName(e.Operation, maxOperation):
		return fmt.Sprintf("operation %q: it must have 1 to %d characters of a-z, 0-9, '.', '_' and '-'", cut(e.Operation), maxOperation)
	case len(e.Key) > maxEffectKey || !utf8.ValidString(e.Key):
		return fmt.Sprintf("a key of %d bytes, it must have at most %d of UTF-8", len(e.Key), maxEffectKey)
	case len(e.Arguments) > maxArguments:
		return fmt.Sprintf("%d arguments, the bound is %d", len(e.Arguments), maxArguments)
	}
	names := make(map[string]bool, len(e.Arguments))
	for i := range e.Arguments {
		a := &e.Arguments[i]
		if a.Name == "" || len(a.Name) > maxArgumentName || !utf8.ValidString(a.Name) {
			return fmt.Sprintf("argument %d: a name of %d bytes, it must have 1 to %d of UTF-8", i, len(a.Name), maxArgumentName)
		}
		if names[a.Name] {
			return fmt.Sprintf("argument %q stands twice", a.Name)
		}
		names[a.Name] = true
	}
	size := 0
	for i := range e.Arguments {
		a := &e.Arguments[i]
		if size += len(a.Name) + len(a.Value); size > maxArgumentBytes {
			return fmt.Sprintf("argument %q: with its %d bytes the arguments have more than %d", a.Name, len(a.Value), maxArgumentBytes)
		}
		if fault := malformedValue(a.Kind, a.Value); fault != "" {
			return fmt.Sprintf("argument %q: %s", a.Name, fault)
		}
	}
	return ""
}

// cut shortens what a message repeats.
func cut(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func validName(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// malformedValue returns why bytes are no value of a kind, or "".
func malformedValue(kind txnpb.ArgumentKind, v []byte) string {
	ok := false
	switch kind {
	case txnpb.ArgumentKindText:
		if !utf8.Valid(v) {
			return "the text is not UTF-8"
		}
		return ""
	case txnpb.ArgumentKindBytes:
		return ""
	case txnpb.ArgumentKindNull:
		ok = len(v) == 0
	case txnpb.ArgumentKindInteger:
		ok = isNumber(v, false)
	case txnpb.ArgumentKindDecimal:
		ok = isNumber(v, true)
	case txnpb.ArgumentKindBoolean:
		ok = string(v) == "true" || string(v) == "false"
	case txnpb.ArgumentKindTime:
		ok = isTime(v)
	default:
		return fmt.Sprintf("unknown kind %d", kind)
	}
	if !ok {
		return fmt.Sprintf("%q is no value of kind %v", cut(string(v)), kind)
	}
	return ""
}

// isNumber reports whether v is digits, with a sign in front of them and one point
// between them if there may be one.
func isNumber(v []byte, point bool) bool {
	if len(v) > 0 && v[0] == '-' {
		v = v[1:]
	}
	if len(v) == 0 || len(v) > maxDigits {
		return false
	}
	for i, c := range v {
		if c == '.' && point && i > 0 && i < len(v)-1 {
			point = false
		} else if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// isTime reports whether v is a time in RFC 3339 with upper-case letters, and one of the
// calendar. It is a rule of this package's own: what a library takes may change.
func isTime(v []byte) bool {
	const shape = "0000-00-00T00:00:00"
	if len(v) <= len(shape) {
		return false
	}
	for i := range len(shape) {
		if c := v[i]; shape[i] == '0' && (c < '0' || c > '9') || shape[i] != '0' && c != shape[i] {
			return false
		}
	}
	two := func(i int) int { return twoDigits(v[i:]) }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	if month < 1 || month > 12 || day < 1 || day > daysOf(year, month) || two(11) > 23 || two(14) > 59 || two(17) > 59 {
		return false
	}
	v = v[len(shape):]
	if v[0] == '.' {
		n := 1
		for n < len(v) && v[n] >= '0' && v[n] <= '9' {
			n++
		}
		if n == 1 || n > 10 {
			return false
		}
		v = v[n:]
	}
	if len(v) == 1 {
		return v[0] == 'Z'
	}
	if len(v) != 6 || v[0] != '+' && v[0] != '-' || v[3] != ':' {
		return false
	}
	for _, i := range [...]int{1, 2, 4, 5} {
		if v[i] < '0' || v[i] > '9' {
			return false
		}
	}
	return twoDigits(v[1:]) <= 23 && twoDigits(v[4:]) <= 59
}

func twoDigits(v []byte) int { return int(v[0]-'0')*10 + int(v[1]-'0') }

func daysOf(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// malformedChange returns why a change of an effect cannot be taken from a role, or "".
func malformedChange(c *txnpb.EffectChange, role message.Role) string {
	switch a := c.Action; {
	case a == txnpb.EffectActionNone || a > txnpb.EffectActionRelease:
		return fmt.Sprintf("unknown action %d", a)
	case a < txnpb.EffectActionRequeue && role != message.RoleSFU:
		return "only an SFU's Component may do effects"
	case a >= txnpb.EffectActionRequeue && role != message.RoleOperator:
		return "only an operator may change what is owed"
	case a == txnpb.EffectActionRelease:
		return ""
	case !validName(c.Service, maxService) || c.Target != "" && !validName(c.Target, maxTarget):
		return fmt.Sprintf("there is no queue %q of %q", cut(c.Target), cut(c.Service))
	case a == txnpb.EffectActionKeep && c.LeaseMillis == 0:
	case a <= txnpb.EffectActionClaim && (c.LeaseMillis < minLease || c.LeaseMillis > maxLease):
		return fmt.Sprintf("a lease of %d ms, it must be %d to %d", c.LeaseMillis, minLease, maxLease)
	case a == txnpb.EffectActionTake && c.Holder == 0:
		return "who takes the queue is missing"
	case c.DelayMillis > maxDelay:
		return fmt.Sprintf("a delay of %d ms, the bound is %d", c.DelayMillis, uint32(maxDelay))
	case len(c.Reason) > maxReason || !utf8.ValidString(c.Reason):
		return fmt.Sprintf("a reason of %d bytes, it must have at most %d of UTF-8", len(c.Reason), maxReason)
	case len(c.Result) > maxResult:
		return fmt.Sprintf("a result of %d bytes, the bound is %d", len(c.Result), maxResult)
	}
	return ""
}
