package genesis

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteOptions says to whom the files belong.
type WriteOptions struct {
	// Group owns configuration files and directories, so that the SFUs' user can
	// read them; 0 leaves them to the writer's own group. Secrets always belong to
	// the writer alone: systemd hands them to the SFU.
	Group int
}

const (
	modeDir       fs.FileMode = 0o750
	modeSecretDir fs.FileMode = 0o700
)

// Write puts the whole cluster below dir: a configuration directory per machine,
// the client kit and master/. If any of it is there already it writes nothing and
// returns an error that wraps ErrExists.
func (m *Material) Write(dir string, o WriteOptions) error {
	for _, taken := range append(m.Machines(), "master", "client-kit.toml") {
		if err := Absent(filepath.Join(dir, taken)); err != nil {
			return err
		}
	}
	for _, machine := range m.machines {
		if err := m.WriteMachine(filepath.Join(dir, machine), machine, o); err != nil {
			return err
		}
	}
	if err := m.WriteMaster(filepath.Join(dir, "master")); err != nil {
		return err
	}
	return writeFiles(dir, []File{{"client-kit.toml", modeConfig, m.Kit.Marshal()}}, o)
}

// WriteMachine puts one machine's configuration into dir, usually /etc/rrts. If
// any of its files is there already it writes nothing and returns an error that
// wraps ErrExists.
func (m *Material) WriteMachine(dir, machine string, o WriteOptions) error {
	files, ok := m.files[machine]
	if !ok {
		return fmt.Errorf("genesis: the cluster has no machine %q; it has %q", machine, m.machines)
	}
	return WriteNew(dir, files, o)
}

// WriteNew puts files into dir in their order. If any of them is there already it
// writes nothing and returns an error that wraps ErrExists.
func WriteNew(dir string, files []File, o WriteOptions) error {
	for _, f := range files {
		if err := Absent(filepath.Join(dir, filepath.FromSlash(f.Path))); err != nil {
			return err
		}
	}
	return writeFiles(dir, files, o)
}

// WriteMaster puts the secrets of the whole cluster into dir, which must not exist.
func (m *Material) WriteMaster(dir string) error {
	if err := Absent(dir); err != nil {
		return err
	}
	if err := makeDir(dir, modeSecretDir, 0); err != nil {
		return err
	}
	return writeFiles(dir, m.Master.Files(), WriteOptions{})
}

// Absent returns an error that wraps ErrExists if something is at the path.
func Absent(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%w: %s; to make another one, move the old configuration away first (keep it: its keys open its data), or write elsewhere", ErrExists, path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("genesis: %w", err)
}

func writeFiles(dir string, files []File, o WriteOptions) error {
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		mode, group := modeDir, o.Group
		if f.Mode == modeSecret {
			mode, group = modeSecretDir, 0
		}
		if err := makeDir(filepath.Dir(path), mode, group); err != nil {
			return err
		}
		if err := WriteFile(path, f, group); err != nil {
			return fmt.Errorf("genesis: %w", err)
		}
	}
	return nil
}

// makeDir makes a directory and those above it. One that is there stays as it is.
func makeDir(dir string, mode fs.FileMode, group int) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(parent, mode, group); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("genesis: %w", err)
	}
	if group != 0 {
		if err := os.Chown(dir, -1, group); err != nil {
			return fmt.Errorf("genesis: %w", err)
		}
	}
	if err := os.Chmod(dir, mode); err != nil { // whatever the umask took away
		return fmt.Errorf("genesis: %w", err)
	}
	if err := syncDir(parent); err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	return nil
}

// WriteFile puts a file in its place whole: under another name first, fsynced, then
// renamed. It replaces one that is there. group owns it; 0 leaves it to the writer's
// own.
func WriteFile(path string, file File, group int) (err error) {
	dir, base := filepath.Split(path)
	f, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if group != 0 {
		if err := f.Chown(-1, group); err != nil {
			return err
		}
	}
	if err := f.Chmod(file.Mode); err != nil {
		return err
	}
	if _, err := f.Write(file.Data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
