package journal

import (
	"os"
	"runtime/debug"
	"testing"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(800) // thousands of small journals are made and dropped
	os.Exit(m.Run())
}
