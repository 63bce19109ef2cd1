package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is what the kernel says of its own.
type Clock struct {
	Synchronised bool
	// MaxError bounds the difference to true time, as the kernel believes.
	MaxError time.Duration
}

// PeerClock is how another machine's clock compares with this one's, by the probes
// that the SFUs exchange.
type PeerClock struct {
	SFU, Machine string
	Offset       time.Duration // the other clock less this one
	Error        time.Duration // of Offset, at most; above 0
}

const (
	// maxClockError is where the leader's own rule begins: one that is further from its
	// voters' median hands over, and without an agreeing majority nothing is decided.
	maxClockError = 500 * time.Millisecond
	// oddOffset between two machines is far more than any time service leaves.
	oddOffset = 100 * time.Millisecond
)

// timeServices are those of Debian, by unit, with what to ask each.
var timeServices = []struct{ unit, ask string }{
	{"chrony.service", "chronyc tracking; chronyc sources"},
	{"systemd-timesyncd.service", "timedatectl timesync-status"},
	{"ntpsec.service", "ntpq -p"},
	{"openntpd.service", "ntpctl -s all"},
}

// timeService returns the one that runs, and what to ask it; empty if none does.
func (e *examination) timeService(ctx context.Context) (name, ask string) {
	if e.Unit == nil {
		return "", ""
	}
	for _, s := range timeServices {
		if p, err := e.Unit(ctx, s.unit, "ActiveState"); err == nil && p["ActiveState"] == "active" {
			return s.unit, s.ask
		}
	}
	return "", ""
}

func (e *examination) clock(ctx context.Context) {
	c, err := e.Clock()
	service, ask := e.timeService(ctx)
	by, cure := service+" runs", "ask it why: "+ask
	if service == "" {
		by, cure = "no time service runs", "run one: apt install chrony; then see chronyc tracking"
	}
	switch {
	case err != nil:
		e.add(Fail, "clock", cure, "the kernel does not say: %v", err)
	case !c.Synchronised && e.alone():
		e.add(Warn, "clock", cure, "it is not synchronised (%s): harmless on one machine, wrong as soon as there is a second", by)
	case !c.Synchronised:
		e.add(Fail, "clock", cure, "it is not synchronised (%s): a leader whose clock is off hands over, and logins and certificates go wrong", by)
	case c.MaxError > maxClockError:
		e.add(Warn, "clock", cure, "it may be off by %v, more than %v (%s)", c.MaxError.Round(time.Millisecond), maxClockError, by)
	default:
		e.add(OK, "clock", "", "synchronised, off by %v at most (%s)", c.MaxError.Round(time.Millisecond), by)
	}
}

// peerClocks compares this machine's clock with those of the others, one SFU of each.
func (e *examination) peerClocks(ctx context.Context) {
	if e.cluster == nil || e.machine == nil || e.Clocks == nil || e.alone() {
		return
	}
	all, err := e.Clocks(ctx)
	if err != nil {
		e.add(Warn, "clocks of the others", "start an SFU with a gateway here: systemctl start rrts@NAME", "nobody here knows them: %s", oneLine(err))
		return
	}
	best := map[string]PeerClock{}
	for _, c := range all {
		if old, ok := best[c.Machine]; c.Machine != e.machine.Name && c.Error > 0 && (!ok || c.Error < old.Error) {
			best[c.Machine] = c
		}
	}
	all = all[:0]
	for _, c := range best {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b PeerClock) int { return cmp.Compare(a.Machine, b.Machine) })
	for _, c := range all {
		check := "clock of " + c.Machine
		cure := "find out which of the two is wrong: rrts doctor there and on a third machine; its time service does not do its work"
		measured := fmt.Sprintf("%s compared with this one, to within %v (by %s)", ahead(c.Offset), c.Error.Round(10*time.Microsecond), c.SFU)
		switch off := c.Offset.Abs() - c.Error; {
		case off >= maxClockError:
			e.add(Fail, check, cure, "%s: a leader that is so far from the others hands over", measured)
		case off >= oddOffset:
			e.add(Warn, check, cure, "%s", measured)
		default:
			e.add(OK, check, "", "%s", measured)
		}
	}
}

func ahead(d time.Duration) string {
	if d < 0 {
		return fmt.Sprintf("%v behind", -d.Round(100*time.Microsecond))
	}
	return fmt.Sprintf("%v ahead", d.Round(100*time.Microsecond))
}

func kernelClock() (Clock, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Clock{}, err
	}
	const timeError = 5 // TIME_ERROR of adjtimex(2)
	return Clock{Synchronised: state != timeError && t.Status&unix.STA_UNSYNC == 0, MaxError: time.Duration(t.Maxerror) * time.Microsecond}, nil
}
