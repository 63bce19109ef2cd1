package watchdog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

const (
	// engineUnits are the units of the engines.
	engineUnits = "rrts@*.service"
	// answerWithin bounds one question to systemd, which answers in milliseconds. One
	// that is not answered is asked again, over a new connection.
	answerWithin = 5 * time.Second
)

// Systemd is the service manager, spoken to without a D-Bus daemon between, so that a
// daemon that hangs is not taken for a machine that does. It needs root. One goroutine
// calls it at a time.
type Systemd struct {
	// Root stands before /proc and /sys; empty means the machine's own.
	Root string

	conn   *dbus.Conn
	alive  context.Context // of conn
	hangUp context.CancelFunc
}

// Engines asks for the engines of this machine.
func (s *Systemd) Engines(ctx context.Context) ([]Engine, error) {
	var engines []Engine
	err := s.ask(ctx, func(ctx context.Context) error {
		units, err := s.conn.ListUnitsByPatternsContext(ctx, nil, []string{engineUnits})
		if err != nil {
			return err
		}
		for _, u := range units {
			e, err := s.engine(ctx, u)
			if err != nil {
				return err
			}
			engines = append(engines, e)
		}
		return nil
	})
	return engines, err
}

// engine asks for what counts of one unit: each property alone, for the whole of them
// costs systemd a hundred times as much.
func (s *Systemd) engine(ctx context.Context, u dbus.UnitStatus) (Engine, error) {
	e := Engine{Name: strings.TrimSuffix(u.Name, ".service"), State: stateOf(u.ActiveState)}
	progress := fnv.New64a()
	for _, name := range []string{"WatchdogTimestampMonotonic", "MainPID", "NRestarts", "WatchdogUSec"} {
		v, err := property[any](ctx, s.conn, u.Name, name)
		if err != nil {
			return e, err
		}
		switch n := v.(type) {
		case uint64:
			progress.Write(binary.LittleEndian.AppendUint64(nil, n))
			if name == "WatchdogUSec" && unwatched(n) && e.State == Watched {
				e.State = Busy // it was never asked to show life
			}
		case uint32:
			progress.Write(binary.LittleEndian.AppendUint32(nil, n))
		default:
			return e, fmt.Errorf("%s of %s is a %T", name, u.Name, v)
		}
	}
	e.Progress = progress.Sum64()
	group, err := property[string](ctx, s.conn, u.Name, "ControlGroup")
	if err != nil || group == "" {
		return e, err
	}
	processes, doomed, err := unitProcesses(s.Root, group)
	if err != nil {
		return e, err
	}
	e.Doomed = doomed
	if e.State == Gone && processes > 0 {
		e.State = Busy // systemd gave it up, and it is still there
	}
	return e, nil
}

func stateOf(active string) State {
	switch active {
	case "active", "reloading":
		return Watched
	case "inactive", "failed":
		return Gone
	}
	return Busy // activating, deactivating, maintenance: systemd's time-outs run
}

// unwatched reports whether a WatchdogUSec means that systemd does not watch.
func unwatched(usec uint64) bool { return usec == 0 || usec == 1<<64-1 }

func property[T any](ctx context.Context, c *dbus.Conn, unit, name string) (T, error) {
	var zero T
	p, err := c.GetServicePropertyContext(ctx, unit, name)
	if err != nil {
		return zero, err
	}
	v, ok := p.Value.Value().(T)
	if !ok {
		return zero, fmt.Errorf("%s of %s is a %T", name, unit, p.Value.Value())
	}
	return v, nil
}

// Holds reports whether systemd feeds the hardware watchdog itself.
func (s *Systemd) Holds(ctx context.Context) (bool, error) {
	held := false
	err := s.ask(ctx, func(context.Context) error {
		v, err := s.conn.GetManagerProperty("RuntimeWatchdogUSec")
		if err != nil {
			return err
		}
		var usec uint64
		if _, err := fmt.Sscan(strings.TrimPrefix(v, "@t "), &usec); err != nil {
			return fmt.Errorf("RuntimeWatchdogUSec is %q", v)
		}
		held = !unwatched(usec)
		return nil
	})
	return held, err
}

// resetUnit has systemd reset the machine at once.
const resetUnit = "rrts-reset.service"

// Reset has systemd reset the machine, now and without stopping anything.
func (s *Systemd) Reset(ctx context.Context) error {
	return s.ask(ctx, func(ctx context.Context) error {
		_, err := s.conn.StartUnitContext(ctx, resetUnit, "replace-irreversibly", nil)
		return err
	})
}

// ask asks over a connection that is made when there is none, and given up after a
// fault. Whatever hears of no context ends when the connection is closed under it.
func (s *Systemd) ask(ctx context.Context, question func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if s.conn == nil {
		s.alive, s.hangUp = context.WithCancel(context.Background())
	}
	stop := context.AfterFunc(ctx, s.hangUp)
	if s.conn == nil {
		s.conn, err = dbus.NewSystemdConnectionContext(s.alive)
	}
	if err == nil {
		err = question(ctx)
	}
	if stop() && err == nil {
		return nil
	}
	s.hangUp()
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn = nil
	return fmt.Errorf("watchdog: systemd does not answer: %w", errors.Join(err, ctx.Err()))
}
