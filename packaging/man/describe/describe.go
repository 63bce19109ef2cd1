// Package describe lets a program tell what its command line is, so that manual
// pages are made of the commands themselves and cannot fall behind them.
//
// Command is a hidden command for the tree's root. It prints every visible command
// of the tree, the root first, as one JSON object a line; Read reads them again.
package describe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Entry is one command.
type Entry struct {
	Path    string `json:"path"`              // such as "rrts user add"
	Use     string `json:"use"`               // the path with its arguments; empty for a group of commands
	Short   string `json:"short"`             // one line
	Long    string `json:"long,omitempty"`    // paragraphs; lines that begin with a space stand as they are
	Example string `json:"example,omitempty"` // stands as it is
	Flags   []Flag `json:"flags,omitempty"`   // its own
	Global  []Flag `json:"global,omitempty"`  // those that the commands below it have, too
}

// Flag is one flag of a command.
type Flag struct {
	Name      string `json:"name"`
	Shorthand string `json:"shorthand,omitempty"`
	Value     string `json:"value,omitempty"`   // what kind of value; empty for a switch
	Default   string `json:"default,omitempty"` // empty when that is the zero value
	Usage     string `json:"usage"`
}

// Command returns the hidden command "describe".
func Command() *cobra.Command {
	return &cobra.Command{
		Use: "describe", Hidden: true, Args: cobra.NoArgs,
		Short: "print every command as one JSON object a line, as manual pages are made of them",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return write(json.NewEncoder(cmd.OutOrStdout()), cmd.Root())
		},
	}
}

func write(enc *json.Encoder, cmd *cobra.Command) error {
	e := Entry{Path: cmd.CommandPath(), Short: cmd.Short, Long: cmd.Long, Example: cmd.Example}
	if cmd.Runnable() {
		e.Use = cmd.UseLine()
	}
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { e.Flags = appendFlag(e.Flags, f) })
	cmd.PersistentFlags().VisitAll(func(f *pflag.Flag) { e.Global = appendFlag(e.Global, f) })
	if err := enc.Encode(e); err != nil {
		return err
	}
	for _, sub := range cmd.Commands() {
		// Cobra's own commands are the same in every program.
		if !sub.IsAvailableCommand() || sub.Name() == "completion" || sub.Name() == "help" {
			continue
		}
		if err := write(enc, sub); err != nil {
			return err
		}
	}
	return nil
}

func appendFlag(to []Flag, f *pflag.Flag) []Flag {
	if f.Hidden || f.Name == "help" {
		return to
	}
	value, usage := pflag.UnquoteUsage(f)
	d := f.DefValue
	switch d {
	case "0", "0s", "false", "[]":
		d = ""
	}
	return append(to, Flag{Name: f.Name, Shorthand: f.Shorthand, Value: value, Default: d, Usage: usage})
}

// Read reads what Command printed.
func Read(r io.Reader) ([]Entry, error) {
	var all []Entry
	for dec := json.NewDecoder(r); ; {
		var e Entry
		switch err := dec.Decode(&e); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("describe: entry %d: %w", len(all)+1, err)
		}
		all = append(all, e)
	}
}
