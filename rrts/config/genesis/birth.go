package genesis

import (
	"fmt"
	"os"
	"path/filepath"
)

// BirthFile marks the state directory of an SFU that has not run yet.
const BirthFile = "birth"

const birthText = `This SFU has not run yet: it may begin with an empty journal.
It removes this file. An SFU that finds neither a journal nor this file has lost
its disk; it refuses to start, because it could vote twice.
`

// Birth allows the SFU whose state directory this is to begin with an empty
// journal. It is called once, when the SFU is made: never to revive one.
func Birth(stateDir string) error {
	return WriteFile(filepath.Join(stateDir, BirthFile), File{Path: BirthFile, Mode: modeSecret, Data: []byte(birthText)}, 0)
}

// Unborn reports whether the state directory bears the mark of Birth.
func Unborn(stateDir string) (bool, error) {
	_, err := os.Stat(filepath.Join(stateDir, BirthFile))
	switch {
	case err == nil:
		return true, nil
	case os.IsNotExist(err):
		return false, nil
	}
	return false, fmt.Errorf("genesis: %w", err)
}

// Born takes the mark away: there is a journal now.
func Born(stateDir string) error {
	if err := os.Remove(filepath.Join(stateDir, BirthFile)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("genesis: %w", err)
	}
	return syncDir(stateDir)
}
