package marker

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestMarker: what was flushed is there after a crash, and nothing older.
func TestMarker(t *testing.T) {
	disk := vfs.NewCrashableMem()
	open := func() *File {
		t.Helper()
		f, err := Open(disk, "dir")
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	crash := func() { disk = disk.CrashClone(vfs.CrashCloneCfg{}) }
	f := open()
	if f.Marker() != nil || f.Applied() != 0 || f.Flushed() != 0 || f.Flush() != nil {
		t.Fatal("a new one holds something")
	}
	f.Set(&txnpb.Marker{AppliedIndex: 3, AppliedTerm: 1, Members: []byte{1}})
	if f.Applied() != 3 || f.Flushed() != 0 {
		t.Errorf("applied %d, flushed %d", f.Applied(), f.Flushed())
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Set(&txnpb.Marker{AppliedIndex: 4, AppliedTerm: 1})
	crash()
	f = open()
	if m := f.Marker(); m == nil || m.AppliedIndex != 3 || string(m.Members) != "\x01" || f.Flushed() != 3 {
		t.Errorf("after a crash %v", m)
	}
	f.Set(&txnpb.Marker{AppliedIndex: 5, Roster: &txnpb.Roster{Version: 9}})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	crash()
	if m := open().Marker(); m == nil || m.AppliedIndex != 5 || m.Roster == nil || m.Roster.Version != 9 {
		t.Errorf("after another crash %v", m)
	}
}

// TestWholeOrOld: however far a Flush comes, the file holds the old marker or the new.
func TestWholeOrOld(t *testing.T) {
	for n := int32(0); ; n++ {
		disk := vfs.NewCrashableMem()
		f, err := Open(disk, "dir")
		if err != nil {
			t.Fatal(err)
		}
		f.Set(&txnpb.Marker{AppliedIndex: 1})
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		f.fs = errorfs.Wrap(disk, errorfs.OnIndex(n))
		f.Set(&txnpb.Marker{AppliedIndex: 2})
		failed := f.Flush()
		if failed != nil && !errors.Is(failed, errorfs.ErrInjected) {
			t.Fatal(failed)
		}
		again, err := Open(disk.CrashClone(vfs.CrashCloneCfg{}), "dir")
		if err != nil {
			t.Fatalf("operation %d failed: %v", n, err)
		}
		if got := again.Applied(); got != 2 && (failed == nil || got != 1) || f.Flushed() > got {
			t.Errorf("operation %d failed with %v: the file stands at %d", n, failed, got)
		}
		if failed == nil {
			if n < 5 {
				t.Errorf("a flush has only %d operations", n)
			}
			return
		}
	}
}
