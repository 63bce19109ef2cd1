package monitor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/comps/monitor/mail"
	"virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/comps/smtp/smtptest"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

// box takes mail, on virtual time.
type box struct {
	begin time.Time

	mu    sync.Mutex
	fault error    // what it answers
	tries []string // when
	got   []*smtp.Message
}

func (b *box) send(_ context.Context, _ *smtp.Relay, m *smtp.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries = append(b.tries, time.Since(b.begin).Round(time.Second).String())
	if b.fault == nil {
		b.got = append(b.got, m)
	}
	return b.fault
}

func (b *box) answer(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = err
}

// text is what came since it was asked last: to whom, and the subject.
func (b *box) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	for _, m := range b.got {
		fmt.Fprintf(&out, "%s: %s\n", strings.Join(m.To, " "), m.Subject)
	}
	b.got = nil
	return out.String()
}

var people = PostSettings{From: "rrts@example.com", Critical: []string{"anna@example.com", "bert@example.com"}, Warning: []string{"anna@example.com"}}

// withPost is a scene whose alarms are told to people.
func withPost(t *testing.T, b *box, settings func() (*PostSettings, error)) *scene {
	b.begin = time.Now()
	if settings == nil {
		settings = func() (*PostSettings, error) { return &people, nil }
	}
	return newScene(t, func(c *Config) {
		c.Machine, c.Post = "pc1", &Post{Cluster: "shop", ID: [16]byte{9}, Settings: settings, Send: b.send}
	})
}

func (s *scene) try(kind string, seconds uint32) {
	s.t.Helper()
	if _, err := (monitorpb.MonitorClient{Caller: s.Caller(7)}).TestAlarm(s.t.Context(), &monitorpb.TestAlarmRequest{By: "anna", Kind: kind, Seconds: seconds}); err != nil {
		s.t.Fatal(err)
	}
}

func expectMail(t *testing.T, b *box, want string) {
	t.Helper()
	synctest.Wait()
	if got := b.text(); got != want {
		t.Fatalf("the mail is\n%swant\n%s", got, want)
	}
}

// TestMail: an alarm is one message when it is raised and one when it ends, to those who
// want to hear of its severity, and the second belongs below the first.
func TestMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		s := withPost(t, b, nil)
		s.try("disk-full", 90)
		s.try("cpu-busy", 30)
		s.try("", 30) // an info, which nobody wants to hear of
		time.Sleep(time.Second)
		synctest.Wait()
		b.mu.Lock()
		first := b.got[0]
		b.mu.Unlock()
		for _, want := range []string{
			"disk-full@test at SFU seven, machine pc1, cluster shop\n", "raised 2000-01-01 00:00:00 UTC\n", "tried by anna, nothing is wrong", "What to do: Make room",
			"rrts alarms ack disk-full@test",
		} {
			if !strings.Contains(first.Text, want) {
				t.Errorf("no %q in\n%s", want, first.Text)
			}
		}
		if first.Headers["X-RRTS-Alarm"] != "disk-full@test" || first.Headers["X-RRTS-Severity"] != "critical" || first.From.Address != people.From || !strings.HasSuffix(first.ID, "@example.com") {
			t.Errorf("%+v", first)
		}
		expectMail(t, b, "anna@example.com bert@example.com: [shop] CRITICAL: disk-full@test at seven: The disk for transactions is full\n"+
			"anna@example.com: [shop] WARNING: cpu-busy@test at seven: The processors of this machine are busy\n")
		time.Sleep(40 * time.Second)
		expectMail(t, b, "anna@example.com: [shop] ended: cpu-busy@test at seven: The processors of this machine are busy\n")
		time.Sleep(time.Minute)
		synctest.Wait()
		b.mu.Lock()
		last := b.got[0]
		b.mu.Unlock()
		if last.Replies != first.ID || last.ID == first.ID || !strings.Contains(last.Text, "stood from 2000-01-01 00:00:00 UTC to 2000-01-01 00:01:30 UTC, 1m30s") {
			t.Errorf("%+v", last)
		}
		expectMail(t, b, "anna@example.com bert@example.com: [shop] ended: disk-full@test at seven: The disk for transactions is full\n")
		time.Sleep(24 * time.Hour)
		expectMail(t, b, "")
		s.end()
	})
}

// TestMailFails: a server that is away is asked again and again, with pauses; that is an
// alarm, which is no message; and when it is back nobody gets more than is worth reading.
func TestMailFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{fault: errors.New("connection refused")}
		s := withPost(t, b, nil)
		s.try("disk-full", 60)
		s.try("cpu-busy", 3600)
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if got := s.names(); got != "[cpu-busy@test disk-full@test]" && got != "[disk-full@test cpu-busy@test]" {
			t.Fatal(got)
		}
		time.Sleep(10 * time.Second) // the third one failed
		synctest.Wait()
		if a := s.find("mail-failing"); a == nil || a.Severity != engine.Warning || !strings.Contains(a.Detail, "connection refused") {
			t.Fatalf("%+v", s.Alarms())
		}
		time.Sleep(40 * time.Minute)
		b.answer(nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := strings.Join(b.tries[:9], " "); got != "0s 10s 30s 1m10s 2m30s 5m10s 10m30s 20m30s 30m30s" {
			t.Errorf("it was tried at %s", got)
		}
		expectMail(t, b, "anna@example.com: [shop] WARNING: cpu-busy@test at seven: The processors of this machine are busy\n"+
			"anna@example.com bert@example.com: [shop] ended: disk-full@test at seven: The disk for transactions is full\n")
		if got := s.names(); got != "[cpu-busy@test]" {
			t.Fatal(got)
		}
		// What is refused for good is not sent again, and is an alarm until another one is
		// taken.
		b.answer(fmt.Errorf("%w: no such mailbox", mail.ErrRefused))
		before := len(b.tries)
		s.try("peer-lost", 60)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if a := s.find("mail-failing"); a == nil || !strings.Contains(a.Detail, "no such mailbox") || len(b.tries) != before+1 {
			t.Fatalf("%+v after %d tries", s.Alarms(), len(b.tries)-before)
		}
		b.answer(nil)
		time.Sleep(time.Minute)
		expectMail(t, b, "anna@example.com: [shop] ended: peer-lost@test at seven: An SFU is silent\n")
		if a := s.find("mail-failing"); a != nil {
			t.Fatalf("%+v", a)
		}
		s.saw.Proves(t)
		s.end()
	})
}

func (s *scene) find(name string) *engine.Alarm {
	for _, a := range s.Alarms() {
		if a.Name == name {
			return &a
		}
	}
	return nil
}

// TestMailBounds: however many alarms come and go, people get so many messages an hour.
func TestMailBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		s := withPost(t, b, func() (*PostSettings, error) {
			p := people
			p.Info = p.Warning
			return &p, nil
		})
		kinds := 0
		for range 3 {
			kinds = 0
			for i := range alarm.Kinds {
				if k := &alarm.Kinds[i]; !k.Event && k.Name != mailFailing {
					s.try(k.Name, 5)
					kinds++
				}
			}
			time.Sleep(10 * time.Minute)
		}
		synctest.Wait()
		if n := strings.Count(b.text(), "\n"); n != maxPerHour {
			t.Fatalf("%d messages in half an hour, want %d", n, maxPerHour)
		}
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		// Of what waited, the beginning and the end are one.
		rest := b.text()
		if n := strings.Count(rest, "\n"); n != 2*kinds-maxPerHour+2*kinds || strings.Contains(rest, "CRITICAL") || strings.Contains(rest, "WARNING") {
			t.Fatalf("%d messages of %d kinds later:\n%s", n, kinds, rest)
		}
		s.end()
	})
}

// TestMailSettings: who is told may change at any time. Those who want mail from now on
// hear of what stands, and not of what is over; settings that cannot be used are an alarm.
func TestMailSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		var mu sync.Mutex
		var now *PostSettings
		var fault error
		set := func(p *PostSettings, err error) {
			mu.Lock()
			defer mu.Unlock()
			now, fault = p, err
		}
		s := withPost(t, b, func() (*PostSettings, error) {
			mu.Lock()
			defer mu.Unlock()
			return now, fault
		})
		s.try("disk-full", 3600)
		s.try("peer-lost", 5)
		time.Sleep(time.Minute)
		expectMail(t, b, "")
		set(&people, nil)
		time.Sleep(idleFor)
		expectMail(t, b, "anna@example.com bert@example.com: [shop] CRITICAL: disk-full@test at seven: The disk for transactions is full\n")
		set(nil, errors.New("the password is missing"))
		time.Sleep(idleFor)
		synctest.Wait()
		if a := s.find(mailFailing); a == nil || !strings.Contains(a.Detail, "password") {
			t.Fatalf("%+v", s.Alarms())
		}
		set(nil, nil) // nobody is told any more, so nothing fails
		time.Sleep(2 * idleFor)
		synctest.Wait()
		if a := s.find(mailFailing); a != nil {
			t.Fatalf("%+v", a)
		}
		time.Sleep(time.Hour)
		expectMail(t, b, "")
		s.end()
	})
}

// TestMailOnce: what was told is known after a restart, and told once; an alarm that gets
// worse is told again.
func TestMailOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{t: t, path: filepath.Join(t.TempDir(), "alarms.json")}
		s.open()
		all := func(severity string) bool { return severity != "info" }
		from := &sender{"shop", [16]byte{9}, "alpha", "pc1"}
		expect := func(want string) (ids []string) {
			t.Helper()
			var out []string
			for _, l := range s.book.owed(all) {
				out = append(out, l.Name+" "+string(l.why))
				ids = append(ids, from.message(&l, &people).ID)
			}
			if got := strings.Join(out, ", "); got != want {
				t.Fatalf("%q is owed, want %q", got, want)
			}
			return ids
		}
		tell := func() {
			for _, l := range s.book.owed(all) {
				s.book.told(&l)
			}
		}
		reopen := func() {
			t.Helper()
			if err := s.book.write(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			s.open()
		}
		s.raise("disk-full")
		first := expect("disk-full raised")
		reopen() // before it was sent
		expect("")
		s.raise("disk-full")
		if again := expect("disk-full raised"); again[0] != first[0] {
			t.Errorf("the same message has the ids %s and %s", first, again)
		}
		tell()
		expect("")
		reopen()
		s.raise("disk-full")
		expect("")
		s.stand[0].Severity = engine.Critical
		s.book.Note(engine.AlarmEvent{Alarm: s.stand[0]})
		if worse := expect("disk-full worse"); worse[0] == first[0] {
			t.Errorf("two messages have the id %s", first)
		}
		tell()
		expect("")
		s.clear("disk-full")
		expect("disk-full ended")
		reopen()
		expect("disk-full ended")
		tell()
		reopen()
		expect("")
		// One that ended long ago is of no interest, and the mail's own never is.
		s.raise("peer-lost@3")
		s.clear("peer-lost@3")
		s.raise(mailFailing)
		expect("peer-lost@3 stood")
		time.Sleep(staleAfter + time.Minute)
		expect("")
	})
}

// TestMailServer: through a real server, with a real clock.
func TestMailServer(t *testing.T) {
	server := smtptest.New(t, smtptest.Config{User: "rrts", Password: "secret"})
	p := people
	p.Server = smtp.Relay{Address: server.Address, Security: smtp.StartTLS, User: "rrts", Password: "secret", CAs: server.CAs, Name: "pc1.example.com"}
	s := newScene(t, func(c *Config) {
		c.Post = &Post{Cluster: "shop", Settings: func() (*PostSettings, error) { return &p, nil }}
	})
	s.try("disk-full", 1)
	for n := 0; n < 2; {
		select {
		case <-server.News():
			taken, _ := server.Taken()
			n = len(taken)
		case <-time.After(20 * time.Second):
			t.Fatal("no mail")
		}
	}
	taken, _ := server.Taken()
	for i, want := range []string{"Subject: [shop] CRITICAL: disk-full@test at seven", "Subject: [shop] ended: disk-full@test at seven"} {
		if !strings.Contains(taken[i].Data, want) || strings.Join(taken[i].To, " ") != "anna@example.com bert@example.com" || !taken[i].TLS {
			t.Errorf("no %q in %+v", want, taken[i])
		}
	}
	s.end()
}
