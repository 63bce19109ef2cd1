package backups

import (
	"crypto/ecdh"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestPrune: old ones go, but never the newest three of the cluster, those of another
// cluster, or what is no backup.
func TestPrune(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 3, 31, 0, 0, 0, 0, time.UTC)
	ours, theirs := [16]byte{1}, [16]byte{2}
	private, err := ecdh.X25519().NewPrivateKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	keys := &backup.Keys{Recipient: [32]byte(private.PublicKey().Bytes())}
	take := func(name string, cluster [16]byte, age int) {
		t.Helper()
		h := &txnpb.BackupHeader{ClusterId: cluster[:], Cluster: "shop", Taken: uint64(now.AddDate(0, 0, -age).UnixNano())}
		s, file, err := backup.NewSealer(keys, h)
		if err == nil {
			file, err = s.Seal(file, &txnpb.SnapshotChunk{Last: true})
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+Suffix), file, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	prune := func(days int) []string {
		t.Helper()
		gone, err := Prune(dir, ours[:], now.AddDate(0, 0, -days))
		if err != nil {
			t.Fatal(err)
		}
		for i := range gone {
			if _, err := os.Stat(gone[i]); !os.IsNotExist(err) {
				t.Errorf("%s is said to be deleted: %v", gone[i], err)
			}
			gone[i] = filepath.Base(gone[i])
		}
		slices.Sort(gone)
		return gone
	}
	for _, age := range []int{50, 45, 40, 10, 1} {
		take(fmt.Sprintf("ours-%d", age), ours, age)
	}
	take("theirs-90", theirs, 90)
	for _, name := range []string{"none" + Suffix, ".partial-1" + Suffix, ".partial-2" + Suffix} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	died := now.AddDate(0, 0, -60)
	if err := os.Chtimes(filepath.Join(dir, ".partial-1"+Suffix), died, died); err != nil {
		t.Fatal(err)
	}
	if got, want := prune(47), []string{".partial-1" + Suffix, "ours-50" + Suffix}; !slices.Equal(got, want) {
		t.Errorf("deleted %q, want %q", got, want)
	}
	if got, want := prune(0), []string{"ours-45" + Suffix}; !slices.Equal(got[len(got)-1:], want) {
		t.Errorf("deleted %q, want the oldest of four", got)
	}
	all, err := List(dir)
	if err != nil || len(all) != 5 {
		t.Errorf("%d files are left, %v", len(all), err)
	}
}
