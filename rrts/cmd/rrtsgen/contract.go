package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/lock"
)

// contract is the schema's contract as it is, and as the lock file has it.
type contract struct {
	path     string // of the lock file
	now, old *lock.Lock
	text     string // of the lock file
}

// read loads both. The error is fs.ErrNotExist when there is no lock file, and then
// now is set all the same.
func (s *sources) read(c *cobra.Command) (*contract, error) {
	_, dir, sch, err := s.load(c.Context(), nil)
	if err != nil {
		return nil, err
	}
	x := &contract{path: filepath.Join(dir, lock.Name), now: lock.Of(sch)}
	f, err := os.Open(x.path)
	if err != nil {
		return x, err
	}
	defer f.Close()
	x.old, err = lock.Read(f)
	if err != nil {
		return nil, err
	}
	x.text = x.old.String()
	return x, nil
}

// refuse prints what breaks the contract; the error says how much.
func (x *contract) refuse(c *cobra.Command) error {
	lines := lock.Compare(x.old, x.now)
	for _, l := range lines {
		fmt.Fprintln(c.OutOrStdout(), l)
	}
	if n := len(lines); n > 0 {
		return fmt.Errorf("rrtsgen: %d breaking change%s", n, map[bool]string{true: "s"}[n > 1])
	}
	return nil
}

func checkCommand() *cobra.Command {
	var s sources
	c := &cobra.Command{
		Use:   "check",
		Short: "refuse changes of the schema that older programs would misunderstand",
		Long: `Compare all .proto files of the schema folder with its schema.lock. Every change
that programs built before it would misunderstand is listed, a line each, with what
breaks and how to do it compatibly; the exit status is then 1.

It is also 1 when the lock file does not have what was added: run rrtsgen lock, and
commit it with the schema.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			x, err := s.read(c)
			if errors.Is(err, fs.ErrNotExist) && x != nil {
				return fmt.Errorf("rrtsgen: there is no %s: run rrtsgen lock", x.path)
			}
			if err != nil {
				return err
			}
			if err := x.refuse(c); err != nil {
				return err
			}
			if x.text != x.now.String() {
				return fmt.Errorf("rrtsgen: %s is older than the schema: run rrtsgen lock", x.path)
			}
			return nil
		},
	}
	s.flags(c)
	return c
}

func lockCommand() *cobra.Command {
	var s sources
	c := &cobra.Command{
		Use:   "lock",
		Short: "write what was added to the schema into schema.lock",
		Long: `Write the contract of all .proto files of the schema folder into its schema.lock.
What rrtsgen check refuses is refused here, too, and nothing is written.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			x, err := s.read(c)
			switch {
			case errors.Is(err, fs.ErrNotExist) && x != nil: // the first one
			case err != nil:
				return err
			default:
				if err := x.refuse(c); err != nil {
					return err
				}
			}
			return os.WriteFile(x.path, []byte(x.now.String()), 0o644)
		},
	}
	s.flags(c)
	return c
}
