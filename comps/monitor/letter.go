package monitor

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/rrts/engine/alarm"
)

// The Book is the queue of mail too: what was said about an alarm stands beside it, and
// what is owed follows. So a letter is written once, whatever is started anew, and while
// the mail server is away the beginning and the end of an alarm become one letter.

// occasion is why a letter is written.
type occasion string

// They are part of a Message-ID and never change.
const (
	alarmRaised occasion = "raised"
	alarmWorse  occasion = "worse"
	alarmEnded  occasion = "ended"
	alarmStood  occasion = "stood" // it ended before anybody was told of it
)

// staleAfter is how long after an alarm's end it is still worth a letter.
const staleAfter = 24 * time.Hour

// letter is one that is owed.
type letter struct {
	record // as it was
	why    occasion
}

// severities are the words of the Book, the least first.
var severities = []string{alarm.Info.String(), alarm.Warning.String(), alarm.Critical.String()}

// owed lists the letters that are due, the oldest first, and of one moment the most
// severe. wanted says whether anybody is
// told of a severity. An alarm that ended, and of which nobody is told any more, is
// settled: whoever wants mail from now on wants none of it.
func (b *Book) owed(wanted func(severity string) bool) []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settleLocked()
	var all []letter
	for _, r := range b.standing {
		if why := r.due(wanted); why != "" {
			all = append(all, letter{*r, why})
		}
	}
	for _, r := range b.ended {
		if r.MailedEnd {
			continue
		}
		why := r.due(wanted)
		if why == "" || b.wall().Sub(time.UnixMilli(r.Cleared)) > staleAfter {
			r.MailedEnd = true
			b.touch()
			continue
		}
		all = append(all, letter{*r, why})
	}
	slices.SortFunc(all, func(a, b letter) int {
		return cmp.Or(cmp.Compare(max(a.Raised, a.Cleared), max(b.Raised, b.Cleared)),
			cmp.Compare(slices.Index(severities, b.Severity), slices.Index(severities, a.Severity)), strings.Compare(a.Name, b.Name))
	})
	return all
}

// due says what is to be told of an alarm; nothing of one that is about the mail itself,
// which would be told by more of it, nor of one that has not come back after a start.
func (r *record) due(wanted func(severity string) bool) occasion {
	switch {
	case r.Name == mailFailing || r.carried || !wanted(r.Severity):
	case r.Cleared != 0 && r.Mailed == "":
		return alarmStood
	case r.Cleared != 0:
		return alarmEnded
	case r.Mailed == "":
		return alarmRaised
	case slices.Index(severities, r.Severity) > slices.Index(severities, r.Mailed):
		return alarmWorse
	}
	return ""
}

// told notes that a letter was sent, or will never be.
func (b *Book) told(l *letter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	mark := func(r *record) {
		if r.Name == l.Name && r.Raised == l.Raised {
			r.Mailed = l.Severity
			r.MailedEnd = r.MailedEnd || l.Cleared != 0
		}
	}
	if r := b.standing[l.Name]; r != nil {
		mark(r)
	}
	for _, r := range b.ended { // it may have ended meanwhile
		mark(r)
	}
	b.touch()
}

// sender is whose alarms are told.
type sender struct {
	cluster string
	id      [16]byte // of the cluster
	sfu     string
	machine string
}

// message writes a letter. It is the same, and has the same id, however often it is
// written.
func (s *sender) message(l *letter, p *PostSettings) *smtp.Message {
	_, domain, _ := strings.Cut(p.From, "@")
	id := func(why occasion) string {
		sum := sha256.Sum256(fmt.Appendf(nil, "rrts alarm %x %s %s %d %s", s.id, s.sfu, l.Name, l.Raised, why))
		return "rrts." + hex.EncodeToString(sum[:16]) + "@" + domain
	}
	own := l.why
	if l.why == alarmWorse { // twice, for one that began as an info
		own += occasion(" " + l.Severity)
	}
	m := &smtp.Message{
		ID: id(own), Date: time.UnixMilli(max(l.Raised, l.Cleared)).UTC(), From: mail.Address{Address: p.From}, To: p.To(l.Severity),
		Headers: map[string]string{"X-RRTS-Cluster": s.cluster, "X-RRTS-SFU": s.sfu, "X-RRTS-Alarm": l.Name, "X-RRTS-Severity": l.Severity, "X-RRTS-State": string(l.why)},
	}
	if l.why == alarmEnded || l.why == alarmWorse {
		m.Replies = id(alarmRaised)
	}
	when := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05 UTC") }
	where := fmt.Sprintf("%s at SFU %s, machine %s, cluster %s", l.Name, s.sfu, s.machine, s.cluster)
	stood := time.Duration(l.Cleared-l.Raised) * time.Millisecond
	var head, what string
	switch l.why {
	case alarmRaised:
		head, what = strings.ToUpper(l.Severity), "raised "+when(l.Raised)
	case alarmWorse:
		head, what = "now "+strings.ToUpper(l.Severity), fmt.Sprintf("raised %s, more severe than then", when(l.Raised))
	case alarmEnded, alarmStood:
		head, what = "ended", fmt.Sprintf("%s, stood from %s to %s, %v", l.Severity, when(l.Raised), when(l.Cleared), stood.Round(time.Second))
	}
	if l.Lost {
		what += "; the SFU was started anew, and nobody saw how it ended"
	}
	if l.Flapping {
		what += fmt.Sprintf("; it comes and goes, %d times so far", l.Count)
	}
	m.Subject = fmt.Sprintf("[%s] %s: %s at %s", s.cluster, head, l.Name, s.sfu)
	m.Text = fmt.Sprintf("%s\n%s\n\n%s\n", where, what, l.Detail)
	if k := alarm.Find(l.Name); k != nil { // one in the Book may be of other software
		m.Subject += ": " + k.Subject
		if l.Cleared == 0 {
			m.Text += fmt.Sprintf("\n%s\nWho looks after it says so: rrts alarms ack %s\n", k.Text(), l.Name)
		}
	}
	return m
}
