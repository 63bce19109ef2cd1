package testpb

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/genpy"
	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/sim/require"
	"virtualservicesinc.com/rrts/site/python"
)

// again is a Python program that decodes each line, "TYPE HEX", and prints it encoded
// again, or that it is malformed.
const again = `
import sys, kinds_pb, shared_pb, rrts_site
for line in sys.stdin:
    name, _, text = line.strip().partition(" ")
    cls = next(getattr(m, n) for m in (kinds_pb, shared_pb) for n in (name, name + "_") if hasattr(getattr(m, n, None), "FIELDS"))
    try:
        print(cls.decode(bytes.fromhex(text)).encode().hex())
    except rrts_site.Malformed:
        print("malformed")
`

// TestPython: the Python code of every message reads what ours reads and writes the same
// bytes, also of input that was damaged.
func TestPython(t *testing.T) {
	require.Tool(t, "python3", "python3")
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sch, err := schema.Source{Root: "../../../../.."}.Load(t.Context(), []string{"rrts/cmd/internal/codecpb/kindspb/kinds.proto"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(sch.Files, sch.Imports...) {
		write(genpy.Module(f)+".py", genpy.File(f))
	}
	write(python.Name, python.Runtime)

	rng := rand.New(rand.NewPCG(1, 2))
	var in strings.Builder
	var want []string
	for _, p := range pairs {
		for range 60 {
			theirs := p.theirs()
			fill(rng, theirs.ProtoReflect(), 3)
			wire := marshal(t, theirs)
			if rng.IntN(2) == 0 && len(wire) > 0 {
				wire[rng.IntN(len(wire))] ^= byte(1 << rng.IntN(8))
				wire = wire[:len(wire)-rng.IntN(2)]
			}
			ours := p.ours()
			answer := "malformed"
			if ours.Parse(wire) == nil {
				answer = hex.EncodeToString(message.Marshal(ours))
			}
			if strings.Contains(fmt.Sprint(ours), "NaN") {
				continue // Python does not keep which one it is
			}
			name := fmt.Sprintf("%T", ours)
			fmt.Fprintf(&in, "%s %x\n", name[strings.LastIndex(name, ".")+1:], wire)
			want = append(want, answer)
		}
	}
	cmd := exec.Command("python3", "-c", again)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(in.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(in.String(), "\n")
	malformed, n := 0, 0
	for got := range strings.Lines(string(out)) {
		if got = strings.TrimSpace(got); n < len(want) && got != want[n] {
			t.Errorf("%s:\nPython %s\nours   %s", lines[n], got, want[n])
		}
		if got == "malformed" {
			malformed++
		}
		n++
	}
	if n != len(want) || malformed == 0 || malformed > n/2 {
		t.Errorf("%d answers to %d messages, %d malformed", n, len(want), malformed)
	}
}
