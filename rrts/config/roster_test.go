package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRosterFile(t *testing.T) {
	c, err := ParseCluster("cluster.toml", []byte(goodCluster))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if in, err := c.StateRoster(dir); in != nil || err != nil {
		t.Errorf("without a file: %v, %v", in, err)
	}
	grown := *c
	grown.Roster, grown.SFUs = 5, append([]Member(nil), c.SFUs[:2]...)
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, RosterFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(grown.MarshalRoster())
	in, err := c.StateRoster(dir)
	if diff := cmp.Diff(&grown, in, equateAddresses); err != nil || diff != "" {
		t.Errorf("%v:\n%s", err, diff)
	}
	whole := grown.MarshalRoster()
	for bit := 0; bit < 8*len(whole); bit += 11 { // what reads differently is refused
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		write(b)
		in, err := c.StateRoster(dir)
		if err == nil && !cmp.Equal(&grown, in, equateAddresses) || err != nil && !errors.Is(err, ErrRosterRotten) {
			t.Fatalf("with bit %d changed: %v", bit, err)
		}
	}
	old, _, _ := strings.Cut(string(whole), "# crc32c ") // as older software wrote it
	for text, want := range map[string]string{
		strings.Replace(old, "0001020304", "ff01020304", 1): "another cluster",
		strings.Replace(old, "alpha", "core-2", 1):          "own name",
		"version = 3\n": "cluster_id",
	} {
		write([]byte(text))
		if _, err := c.StateRoster(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
