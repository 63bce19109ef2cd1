package settle

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/config/genesis"
)

func TestSettle(t *testing.T) {
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "rrts")
	p := Place{Dir: dir}
	files := []genesis.File{{Path: "sfu/alpha.toml", Mode: 0o640, Data: []byte("# alpha\n")}, {Path: "keys/alpha/psk.key", Mode: 0o600, Data: []byte("secret\n")}}
	alpha := []SFU{{"alpha", filepath.Join(state, "alpha")}}
	if err := p.Settle(files, alpha); err != nil {
		t.Fatal(err)
	}
	if unborn, err := genesis.Unborn(alpha[0].StateDir); !unborn || err != nil {
		t.Errorf("unborn %v, %v", unborn, err)
	}
	if info, err := os.Stat(alpha[0].StateDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("state directory: %v, %v", info.Mode(), err)
	}

	// What an earlier SFU left is never taken for the new one's.
	err := p.Settle([]genesis.File{{Path: "sfu/bravo.toml", Mode: 0o640}}, alpha)
	if err == nil || !strings.Contains(err.Error(), "holds the state of an earlier SFU (birth)") {
		t.Errorf("a used state directory: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "sfu/bravo.toml")); err == nil {
		t.Error("the refused SFU has a file")
	}
	bravo := []SFU{{"bravo", filepath.Join(state, "bravo")}}
	if err := p.Settle(files, bravo); !errors.Is(err, genesis.ErrExists) {
		t.Errorf("over existing files: %v", err)
	}
	if _, err := os.Stat(bravo[0].StateDir); err == nil {
		t.Error("the refused SFU has a state directory")
	}

	if err := p.Remove("alpha"); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(dir, f.Path)); err == nil {
			t.Errorf("%s is left", f.Path)
		}
	}
	if _, err := os.Stat(alpha[0].StateDir); err != nil {
		t.Errorf("the state went with the configuration: %v", err)
	}
}
