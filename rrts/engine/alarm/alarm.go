// Package alarm is the table of all alarms: what each one means, what the system
// has done already when it is raised, and what people are to do.
//
// The table, in table.go, is the one place where an alarm is described. From it come
// the journal's catalog (packaging/catalog/rrts.catalog, which `journalctl -x` shows
// below an alarm) and the operator's page (packaging/doc/alarms.md). The id under
// which an alarm stands in the journal, its MESSAGE_ID, follows from its name; see
// sysd.MessageID.
//
// An alarm that stands has a name of two parts, kind@subject: "peer-lost@3". The kind
// is in the table; the subject tells alarms of one kind apart that stand together, and
// is left out where there can be only one.
package alarm

import (
	"fmt"
	"strings"
)

// Severity of an alarm.
type Severity uint8

const (
	Info     Severity = iota // nothing has to be done
	Warning                  // look at it today: something is no longer redundant, or will not go well for long
	Critical                 // look at it now: work stands still, or the next failure stops it
)

func (s Severity) String() string { return [...]string{"info", "warning", "critical"}[s] }

// Kind is one kind of alarm.
type Kind struct {
	// Name is lower-case words joined by hyphens. It is never changed: the id in the
	// journal, and operators' filters, follow from it.
	Name string
	// Severity with which it is raised. A few get more severe while they stand.
	Severity Severity
	// Event is set for what is logged when it happens, and does not stand.
	Event bool
	// Lasting is set for what stands until the SFU is started anew.
	Lasting bool
	// Machine is set for what concerns a whole machine: one SFU of the machine raises it.
	Machine bool
	// Subject is one line: what is the matter.
	Subject string
	// Means, Done and Do say what it means, what the system did already, and what to do.
	Means, Done, Do string
	// Proof names the test in which it is raised and cleared, as package.TestName; an alarm's
	// calls alarmtest.Record.Proves.
	Proof string
}

// Find returns the kind of an alarm by its name, with or without a subject; nil if
// there is none.
func Find(name string) *Kind {
	name, _, _ = strings.Cut(name, "@")
	for i := range Kinds {
		if Kinds[i].Name == name {
			return &Kinds[i]
		}
	}
	return nil
}

// Catalog returns the journal's catalog; id is sysd.MessageID.
func Catalog(id func(kind string) string) []byte {
	var b strings.Builder
	b.WriteString(`# Explanations that ` + "`journalctl -x`" + ` shows below RRTS's alarms and events.
#
# Made by ` + "`make generate`" + ` from rrts/engine/alarm/table.go. An id follows from the name
# of the alarm or event in the comment above it.
`)
	for i := range Kinds {
		k := &Kinds[i]
		fmt.Fprintf(&b, "\n# %s: %s\n-- %s\nSubject: %s\nDefined-By: RRTS\n\n%s\n%s\n%s", k.what(), k.Name, id(k.Name), k.Subject,
			fill("", k.Means), fill("What was done: ", k.Done), fill("What to do: ", k.Do))
	}
	return []byte(b.String())
}

func (k *Kind) severity() string {
	if k.Event {
		return "event"
	}
	return k.Severity.String()
}

func (k *Kind) what() string {
	if k.Event {
		return "event"
	}
	return "alarm"
}

// column is where lines of the catalog end.
const column = 84

// fill lays text out in lines.
func fill(lead, text string) string {
	var b strings.Builder
	at := 0
	for word := range strings.FieldsSeq(lead + text) {
		switch {
		case at > 0 && at+1+len(word) > column:
			b.WriteByte('\n')
			at = 0
		case at > 0:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String() + "\n"
}

// Page returns the operator's page of all alarms, in Markdown; id is sysd.MessageID.
func Page(id func(kind string) string) []byte {
	var b strings.Builder
	b.WriteString(pageHead)
	for i := range Kinds {
		k := &Kinds[i]
		fmt.Fprintf(&b, "| [%s](#%s) | %v | %s |\n", k.Name, k.Name, k.severity(), k.Subject)
	}
	for i := range Kinds {
		k := &Kinds[i]
		of := ""
		switch {
		case k.Event:
			of = ". An event: it is logged, and does not stand"
		case k.Machine:
			of = ", raised by one SFU of the machine"
		case k.Lasting:
			of = ". It stands until the SFU is started again"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s. Severity: %v%s.\n`journalctl MESSAGE_ID=%s`\n\n%s\n**What was done:** %s\n**What to do:** %s",
			k.Name, k.Subject, k.Severity, of, id(k.Name), fill("", k.Means), fill("", k.Done), fill("", k.Do))
	}
	return []byte(b.String())
}

const pageHead = `# Alarms

<!-- Made by ` + "`make generate`" + ` from rrts/engine/alarm/table.go. -->

An alarm is a condition that stands: raised once, ended once. ` + "`rrts alarms`" + ` shows those that stand in the whole
cluster, ` + "`rrts alarms history`" + ` those that were; ` + "`journalctl -u 'rrts@*' -x`" + ` shows them with the explanations of this
page. ` + "`rrts alarms ack NAME`" + ` says that somebody looks after one: it stays in the list, and is marked.
` + "`rrts alarms test NAME`" + ` raises one for trial. [status.md](status.md) says how alarms go by mail.

Info needs nobody. A warning wants somebody today: something is not redundant any more, or will not go well for
long. A critical one wants somebody now: work stands still, or the next failure stops it.

What comes back within five minutes is the same alarm, with a count. One that has come back three times is
flapping: it stands until it has been quiet for five minutes.

What concerns a whole machine (processors, memory, disks, temperature, clock) is raised by one SFU of that
machine. The limits stand in ` + "`machine.toml`" + ` and ` + "`sfu/NAME.toml`" + `, in the section ` + "`[alarms]`" + `.

| alarm | severity | what it is |
| --- | --- | --- |
`

// Text is the kind for people, in lines.
func (k *Kind) Text() string {
	return fmt.Sprintf("%s: %s (%v)\n\n%s\n%s\n%s", k.Name, k.Subject, k.Severity,
		fill("", k.Means), fill("What was done: ", k.Done), fill("What to do: ", k.Do))
}
