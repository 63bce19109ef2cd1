package fabric

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// copySuffix is the name of the second file, behind that of the first.
const copySuffix = ".copy"

// NextIncarnation returns the incarnation of this start of an SFU's process: one
// more than the number in the file at path and its copy, which it replaces, on the disk,
// before it returns. The file is the number in decimal and a newline, as the release before
// reads it, which an operator may go back to; the copy has the CRC-32C of that in
// hexadecimal behind it. The greater one counts, so that one that has rotted takes the number
// forward or not at all. Files that are both missing count as 0. If none can be read as a
// number that is an error, because to begin again at 1 would make a restart look like an old
// copy of the process.
func NextIncarnation(path string) (uint64, error) {
	last, found := uint64(0), false
	var fault error
	for _, p := range [...]string{path, path + copySuffix} {
		n, err := readIncarnation(p)
		switch {
		case err == nil:
			last, found = max(last, n), true
		case !errors.Is(err, fs.ErrNotExist) && fault == nil:
			fault = err
		}
	}
	if fault != nil && !found {
		return 0, fmt.Errorf("fabric: incarnation: %w", fault)
	}
	next := last + 1
	text := strconv.FormatUint(next, 10)
	err := replaceFile(path, text+"\n")
	if err == nil {
		err = replaceFile(path+copySuffix, text+" "+incarnationSum(text)+"\n")
	}
	if err != nil {
		return 0, fmt.Errorf("fabric: incarnation: %w", err)
	}
	return next, nil
}

func incarnationSum(text string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

// readIncarnation reads one of the two files.
func readIncarnation(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	text, sum, checked := strings.Cut(strings.TrimSuffix(string(b), "\n"), " ")
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n+1 == 0 || checked && sum != incarnationSum(text) {
		return 0, fmt.Errorf("%s holds %.32q, not a number; give the SFU a new identity with `rrts sfu replace`", path, b)
	}
	return n, nil
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
