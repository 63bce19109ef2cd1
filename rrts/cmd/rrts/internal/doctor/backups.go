package doctor

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"virtualservicesinc.com/rrts/cmd/internal/lastbackup"
)

// backups looks at the target of the machine's backups, where it has one.
func (e *examination) backups(ctx context.Context) {
	const check = "backup"
	if e.machine == nil || e.machine.Backup.Target == "" {
		return
	}
	b := &e.machine.Backup
	target, err := device(e.Root + b.Target)
	switch {
	case errors.Is(err, os.ErrPermission):
		e.add(Warn, check, "run this as root", "the target %s cannot be looked at: permission denied", b.Target)
		return
	case err != nil:
		e.add(Fail, check, "mount its disk; see findmnt", "the target %s is not there: %v", b.Target, err)
		return
	}
	for _, c := range e.sfus {
		if state, err := device(e.Root + c.SFU.StateDir); err == nil && state == target {
			e.add(Warn, check, "name a target on another disk in machine.toml, best on another machine", "the target %s is on the disk that holds the ledger of %s: who loses one loses both", b.Target, c.Self.Name)
			return
		}
	}
	if e.Unit != nil {
		if p, err := e.Unit(ctx, "rrts-backup.timer", "UnitFileState", "ActiveState"); err == nil && (p["UnitFileState"] != "enabled" || p["ActiveState"] != "active") {
			e.add(Warn, check, "run: systemctl enable --now rrts-backup.timer", "nothing takes backups to %s by itself: rrts-backup.timer is %s, %s", b.Target, p["UnitFileState"], p["ActiveState"])
			return
		}
	}
	if missing := lastbackup.Missing(e.Dir, b, e.Now); missing != "" {
		e.add(Warn, check, "run: systemctl start rrts-backup; if it fails, see journalctl -u rrts-backup", "%s", missing)
		return
	}
	n, err := lastbackup.Read(e.Dir)
	if err != nil || n == nil {
		return // it has just been there
	}
	e.add(OK, check, "", "%s, CSN %d, of %s", n.File, n.CSN, n.Taken.UTC().Format("2006-01-02 15:04 UTC"))
}

// device returns the number of the file system that holds a path.
func device(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return uint64(st.Dev), nil
}
