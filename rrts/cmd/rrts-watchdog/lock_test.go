package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/sim/require"
)

// asLocked has the test's binary lock itself in memory and print how it is.
const asLocked = "RRTS_TEST_LOCKED"

// TestLockMemory: all of the program is in memory and locked there, and not much more.
func TestLockMemory(t *testing.T) {
	if os.Getenv(asLocked) != "" {
		debug.SetGCPercent(garbage)
		if err := lockMemory(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		for _, name := range []string{"status", "smaps"} {
			text, err := os.ReadFile("/proc/self/" + name)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			os.Stdout.Write(text)
		}
		os.Exit(0)
	}
	require.Root(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockMemory$")
	cmd.Env = append(os.Environ(), asLocked+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %.200s", err, out)
	}
	resident := number(t, `VmRSS:\s+(\d+) kB`, string(out))
	if resident > 40_000 {
		t.Errorf("%d kB are resident", resident)
	}
	program := 0
	for _, mapping := range regexp.MustCompile(`(?m)^[0-9a-f]+-[0-9a-f]+ r`).Split(string(out), -1)[1:] {
		if head, _, _ := strings.Cut(mapping, "\n"); !strings.HasSuffix(head, os.Args[0]) {
			continue
		}
		program++
		size, there := number(t, `\nSize:\s+(\d+) kB`, mapping), number(t, `\nRss:\s+(\d+) kB`, mapping)
		if there < size || !strings.Contains(mapping, " lo") {
			t.Errorf("of %d kB of the program %d are in memory, or are not locked: %s", size, there, mapping)
		}
	}
	if program < 2 {
		t.Errorf("the program has %d mappings", program)
	}
}

func number(t *testing.T, pattern, text string) int {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in %.300s", pattern, text)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
