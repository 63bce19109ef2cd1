package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// remedy is what Fix does about a finding. It takes nothing away from anybody, costs no
// client anything, and is what every operator would do: whatever needs a decision, as
// which cable, which disk, which clock, has none.
type remedy struct {
	what string // as it is told; two findings with the same one are cured at once
	do   func(context.Context, *Patient) error
}

// Fixed is one thing that Fix did, or tried.
type Fixed struct {
	Did string `json:"did"`
	Err error  `json:"-"`
}

// Fix does what the findings' cures say, where Fixable says so, each thing once, in the
// order of the findings. What it did is to be examined again.
func (p *Patient) Fix(ctx context.Context, findings []Finding) []Fixed {
	var all []Fixed
	done := map[string]bool{}
	for _, f := range findings {
		if r := f.remedy; r != nil && !done[r.what] {
			done[r.what] = true
			all = append(all, Fixed{Did: r.what, Err: r.do(ctx, p)})
		}
	}
	return all
}

// command is the remedy of running a command.
func command(args ...string) remedy {
	return remedy{what: strings.Join(args, " "), do: func(ctx context.Context, p *Patient) error { return p.Run(ctx, args...) }}
}

// closed is the remedy of keys that others can look into.
func closed(dir string) remedy {
	return remedy{what: "chmod -R go= " + dir, do: func(context.Context, *Patient) error {
		return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil || info.Mode()&fs.ModeSymlink != 0 {
				return err
			}
			return os.Chmod(path, info.Mode().Perm()&^0o077)
		})
	}}
}

// renewed is the remedy of a certificate that ends soon, where the master keys are.
func renewed(sfu string) remedy {
	return remedy{what: "rrts node renew " + sfu, do: func(ctx context.Context, p *Patient) error { return p.Renew(ctx, sfu) }}
}

func run(ctx context.Context, command ...string) error {
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
