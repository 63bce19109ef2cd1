package main

import (
	"os"
	"path/filepath"
	"testing"

	"virtualservicesinc.com/rrts/config/genesis"
)

// TestKitOpen: the machine with the master keys is lost, and another one gets them.
func TestKitOpen(t *testing.T) {
	create := func() *genesis.Material {
		t.Helper()
		m, err := genesis.Create(genesis.Spec{Name: "shop", SFUs: []genesis.SFU{{Name: "alpha", Machine: "pc1", Gateways: []string{"127.0.0.1:1"}}}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := create()
	kitFile, foreign, etc := writeKit(t, m.Master), writeKit(t, create().Master), filepath.Join(t.TempDir(), "etc")
	refused(t, "rrts init", "--config", etc, "kit", "open", kitFile) // no machine of a cluster
	if err := m.WriteMachine(etc, "pc1", genesis.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(t, "find this one's kit", "--config", etc, "kit", "open", foreign)
	must(t, "--config", etc, "kit", "open", kitFile)
	got, err := genesis.LoadMaster(filepath.Join(etc, "master"))
	if err != nil || got.PSK != m.Master.PSK || got.Backup != m.Master.Backup || string(got.CA.KeyPEM) != string(m.Master.CA.KeyPEM) {
		t.Errorf("the keys are not those of the kit: %v", err)
	}
	if info, err := os.Stat(filepath.Join(etc, "master")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
	refused(t, "has master keys in", "--config", etc, "kit", "open", kitFile)
}
