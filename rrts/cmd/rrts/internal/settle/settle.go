// Package settle gives SFUs their place on this machine: configuration, keys, state
// directory.
//
// A machine is settled once, with its first SFU (genesis.Material.WriteMachine, or
// the files of a genesis.Welcome); further SFUs add their files to what is there.
// Nothing is ever overwritten, and an SFU never gets a state directory in which
// something lies: it could be another's.
package settle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
)

// Place is where a machine keeps what is RRTS's.
type Place struct {
	Dir string // of the configuration, usually /etc/rrts
	// UID and GID are the user that runs SFUs; 0 and 0 leave everything to the caller.
	UID, GID int
}

// SFU is one to settle.
type SFU struct {
	Name     string
	StateDir string
}

// Settle writes files below p.Dir and makes the state directories of the SFUs, each
// with the mark of birth. It refuses, with nothing written, what is there already.
func (p Place) Settle(files []genesis.File, sfus []SFU) error {
	for _, s := range sfus {
		if err := Vacant(s.StateDir); err != nil {
			return err
		}
	}
	if err := genesis.WriteNew(p.Dir, files, genesis.WriteOptions{Group: p.GID}); err != nil {
		return err
	}
	for _, s := range sfus {
		if err := p.bear(s.StateDir); err != nil {
			return fmt.Errorf("the state directory: %w", err)
		}
	}
	return nil
}

// Vacant refuses a state directory in which something lies.
func Vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return fmt.Errorf("the state directory: %w", err)
	}
	return fmt.Errorf("%s holds the state of an earlier SFU (%s); move it away, it may be needed to repair others", dir, entries[0].Name())
}

// bear makes a state directory, with its mark of birth, for the SFUs' user.
func (p Place) bear(dir string) error {
	// Others pass through the parent; the directory itself is the SFU's alone.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := genesis.Birth(dir); err != nil {
		return err
	}
	if p.UID == 0 {
		return nil
	}
	for _, path := range []string{dir, filepath.Join(dir, genesis.BirthFile)} {
		if err := os.Chown(path, p.UID, p.GID); err != nil {
			return err
		}
	}
	return nil
}

// Renew replaces files of a machine's configuration that others are newer than, such
// as client-kit.toml when the cluster has grown.
func (p Place) Renew(files ...genesis.File) error {
	for _, f := range files {
		if err := genesis.WriteFile(filepath.Join(p.Dir, f.Path), f, p.GID); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

// Remove takes an SFU out of the configuration: its files and its keys. Its state
// stays.
func (p Place) Remove(name string) error {
	var errs []error
	for _, path := range []string{"sfu/" + name + ".toml", config.GatewayCert(name), "keys/" + name} {
		errs = append(errs, os.RemoveAll(filepath.Join(p.Dir, path)))
	}
	return errors.Join(errs...)
}
