package fabric

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// NextIncarnation returns the incarnation of this start of an SFU's process: one
// more than the number in the file at path, which it replaces, on the disk, before
// it returns. The file is one decimal number and a newline. A file that is
// missing counts as 0; one that cannot be read as a number is an error, because
// to begin again at 1 would make a restart look like an old copy of the process.
func NextIncarnation(path string) (uint64, error) {
	last := uint64(0)
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		last, err = strconv.ParseUint(strings.TrimSuffix(string(b), "\n"), 10, 64)
		if err != nil || last == 0 || last+1 == 0 {
			return 0, fmt.Errorf("fabric: incarnation file %s holds %.32q, not a number", path, b)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("fabric: incarnation: %w", err)
	}
	next := last + 1
	if err := replaceFile(path, strconv.FormatUint(next, 10)+"\n"); err != nil {
		return 0, fmt.Errorf("fabric: incarnation: %w", err)
	}
	return next, nil
}

// replaceFile puts content into the file at path so that after a crash at any
// moment it holds the old content or the new one.
func replaceFile(path, content string) error {
	dir := filepath.Dir(path)
	fresh := path + ".new"
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
