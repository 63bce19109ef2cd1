package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/sim/disk"
)

// script runs transcripts: each command's output is what the journal did.
type script struct {
	t    *testing.T
	disk *disk.Disk
	cfg  Config
	keys *keyring.Live
	j    *Journal
	pos  map[string]Position // of appended records, by payload
	log  strings.Builder
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{disk: newDisk(1), pos: make(map[string]Position)}
		s.cfg = testConfig(t, s.disk)
		s.keys = s.cfg.Keys.(*keyring.Live)
		s.cfg.Log = slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			s.t = t
			err := s.run(d, &out)
			out.WriteString(s.log.String())
			s.log.Reset()
			var dam *DamageError
			switch {
			case errors.As(err, &dam):
				fmt.Fprintf(&out, "damage: %v\n", err)
			case err != nil:
				fmt.Fprintf(&out, "error: %v\n", err)
			case out.Len() == 0:
				out.WriteString("ok\n")
			}
			return out.String()
		})
	})
}

func (s *script) run(d *datadriven.TestData, out *strings.Builder) (err error) {
	switch d.Cmd {
	case "open": // head: with a head record
		if d.HasArg("head") {
			s.cfg.Head = func() []Record { return []Record{{kindState, []byte("state")}} }
		}
		s.j, err = Open(s.cfg)
		return err
	case "close":
		return s.j.Close()
	case "kill":
		s.disk.Kill()
		return nil
	case "append": // lines of: kind payload [bytes]
		for line := range strings.Lines(d.Input) {
			var kind Kind
			var payload string
			var pad int
			fmt.Sscan(line, &kind, &payload, &pad)
			pos, err := s.j.Append(kind, []byte(payload), make([]byte, pad))
			if err != nil {
				return err
			}
			s.pos[payload] = pos
			fmt.Fprintf(out, "%v %s\n", pos, payload)
		}
		return nil
	case "sync":
		err = s.j.Sync()
	case "mark":
		err = s.j.Mark()
	case "rotate":
		epoch := s.j.Epoch()
		d.MaybeScanArgs(s.t, "epoch", &epoch)
		err = s.j.Rotate(epoch)
	case "new-key":
		ring, err := s.keys.Ring().Rotate(newRand(4))
		s.keys.Set(ring)
		return err
	case "trim":
		var payload string
		d.MaybeScanArgs(s.t, "before", &payload)
		err = s.j.TrimBefore(s.pos[payload])
	case "replay":
		from := Position(0)
		if d.HasArg("beyond-damage") {
			list := s.j.Damage()
			from = list[len(list)-1].To
		}
		return s.j.Replay(from, func(pos Position, kind Kind, payload []byte) error {
			if kind == Missing {
				fmt.Fprintf(out, "%v missing\n", pos)
				return nil
			}
			fmt.Fprintf(out, "%v %d %s\n", pos, kind, strings.TrimRight(string(payload), "\x00"))
			return nil
		})
	case "files":
		names, err := s.disk.List("/j")
		for _, name := range names {
			fmt.Fprintln(out, name)
		}
		return err
	case "frames":
		s.frames(out)
		return nil
	case "rot": // at=payload | file=name off=n bytes=n
		return s.rot(d)
	case "damage":
		for _, dam := range s.j.Damage() {
			fmt.Fprintln(out, dam)
		}
		return nil
	case "repair", "abandon": // repair: lines of: kind payload [bytes]
		list := s.j.Damage()
		if len(list) == 0 {
			return errors.New("nothing is damaged")
		}
		if d.Cmd == "abandon" {
			return s.j.Abandon(list[0])
		}
		var recs []Record
		for line := range strings.Lines(d.Input) {
			var kind Kind
			var payload string
			var pad int
			fmt.Sscan(line, &kind, &payload, &pad)
			recs = append(recs, Record{kind, append([]byte(payload), make([]byte, pad)...)})
		}
		return s.j.Repair(list[0], recs)
	default:
		return fmt.Errorf("no command %q", d.Cmd)
	}
	if err == nil {
		fmt.Fprintf(out, "synced %v, needs mark: %v\n", s.j.Synced(), s.j.NeedsMark())
	}
	return err
}

func (s *script) rot(d *datadriven.TestData) error {
	if d.HasArg("at") {
		var payload string
		d.MaybeScanArgs(s.t, "at", &payload)
		pos := s.pos[payload]
		return s.disk.FlipBit(s.j.path(pos.Segment(), segmentSuffix), int64(pos.Offset())+frameClear, 0)
	}
	var name string
	var off int64
	n := 1
	d.MaybeScanArgs(s.t, "file", &name)
	d.MaybeScanArgs(s.t, "off", &off)
	d.MaybeScanArgs(s.t, "bytes", &n)
	return s.disk.Rot("/j/"+name, off, n)
}

// frames draws what the segments hold.
func (s *script) frames(out *strings.Builder) {
	for _, seg := range s.j.segs {
		if seg.seal == nil {
			fmt.Fprintf(out, "segment %d: no header\n", seg.num)
			continue
		}
		h := seg.hdr
		fmt.Fprintf(out, "segment %d: epoch %d, key %d, begins behind %v: %d shared, %d local records, chain %x\n",
			seg.num, h.epoch, h.keyID, h.prevEnd, h.base.shared, h.base.local, h.base.chain[:4])
		r := reader{file: seg.file}
		_ = seg.walk(&r, firstFrame, seg.end, func(off uint32, f *frame, linked []byte) error {
			what := fmt.Sprintf("kind %d, %d bytes", f.kind, f.n)
			if f.typ == typeGap {
				what = fmt.Sprintf("gap to %d shared, %d local", f.sharedSynced, f.localSynced)
			}
			fmt.Fprintf(out, "  %5d %s, behind %d shared, %d local, chain %x, synced %v\n", off, what, f.shared, f.local, linked[:4], f.synced)
			return nil
		})
		if pos, st, ok := seg.lastMark(&r); ok {
			fmt.Fprintf(out, "  mark: synced %v, %d shared, %d local, chain %x\n", pos, st.shared, st.local, st.chain[:4])
		}
	}
}
