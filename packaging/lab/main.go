// Command labctl puts RRTS to the proof on real systemd machines: Debian packages
// installed with apt, a cluster made with the operator's own commands, payments by a
// client machine while machines and networks fail, and the audit afterwards.
//
//	labctl run [SCENARIO...]     the scenarios, all of them without a name
//	labctl list                  the scenarios, and the sites that are up
//	labctl shell MACHINE [CMD]   into a machine of a run, or of one that was kept
//	labctl down [SITE...]        remove what was kept
//
// `make lab` builds what it needs and runs it; packaging/doc/lab.md is its page.
//
// Exit status: 0 all bars are met, 1 a bar is missed or the run failed, 2 a fault in
// the command line.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/packaging/lab/nspawn"
)

const (
	// cacheDir holds what is made once, root file systems, and the sites.
	cacheDir = "/var/cache/rrts-lab"
	sitesDir = cacheDir + "/sites"
)

// errSilent is a failure that was reported already.
var errSilent = errors.New("reported")

// usageError is what makes the exit status 2.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := command().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintln(os.Stderr, "labctl:", err)
	}
	var usage usageError
	if errors.As(err, &usage) {
		os.Exit(2)
	}
	var exit *exec.ExitError // of a shell
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	os.Exit(1)
}

func command() *cobra.Command {
	cmd := &cobra.Command{Use: "labctl", Short: "real systemd machines that run RRTS and fail", SilenceUsage: true, SilenceErrors: true}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	})
	cmd.AddCommand(runCommand(), listCommand(), shellCommand(), downCommand())
	return cmd
}

func runCommand() *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "run [SCENARIO...]",
		Short: "run scenarios one after the other; all of them without a name",
		RunE: func(cmd *cobra.Command, names []string) error {
			all, err := choose(names)
			if err != nil {
				return usageError{err}
			}
			if err := nspawn.Sweep(sitesDir); err != nil {
				return err
			}
			return runAll(cmd.Context(), all, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.json, "json", false, "results as one JSON object per line on standard output")
	f.BoolVar(&o.keep, "keep", false, "leave the machines up afterwards, to look around in them")
	f.StringVar(&o.repository, "repository", "build/apt", "the repository of `make apt-repo`")
	f.StringVar(&o.payer, "payer", "build/payer", "the payments program for the client machine")
	f.StringVar(&o.payments, "payments", "packaging/demo/payments.csv", "what it pays")
	f.StringVar(&o.logs, "logs", "build/lab", "directory for what a failed run leaves to read")
	f.StringVar(&o.suite, "suite", "bookworm", "Debian release of the machines")
	f.StringVar(&o.makeRoot, "make-root", "packaging/lab/make-root", "what makes their root file system")
	return cmd
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "the scenarios, and the sites that are up", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var rows [][]string
			for _, s := range scenarios() {
				rows = append(rows, []string{s.Name, s.About})
			}
			if err := table(os.Stdout, []string{"SCENARIO", "ABOUT"}, rows); err != nil {
				return err
			}
			sites, err := nspawn.Find(sitesDir)
			if err != nil || len(sites) == 0 {
				return err
			}
			rows = nil
			for _, s := range sites {
				for m, pid := range s.Machines {
					rows = append(rows, []string{s.Name, m, fmt.Sprint(pid)})
				}
			}
			fmt.Println()
			return table(os.Stdout, []string{"SITE", "MACHINE", "INIT"}, rows)
		},
	}
}

func shellCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "shell [SITE/]MACHINE [COMMAND...]", Short: "a shell in a machine that is up",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("name a machine; `labctl list` shows them")}
			}
			site, machine, named := strings.Cut(args[0], "/")
			if !named {
				site, machine = "", args[0]
			}
			sites, err := nspawn.Find(sitesDir)
			if err != nil {
				return err
			}
			for _, s := range sites {
				if _, ok := s.Machines[machine]; ok && (site == "" || s.Name == site) {
					sh, err := s.Shell(cmd.Context(), machine, args[1:]...)
					if err != nil {
						return err
					}
					return sh.Run()
				}
			}
			return fmt.Errorf("there is no machine %s; `labctl list` shows those that are up", args[0])
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows the machine's name is the command's
	return cmd
}

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down [SITE...]", Short: "remove sites that were kept; all of them without a name",
		RunE: func(_ *cobra.Command, names []string) error {
			sites, err := nspawn.Find(sitesDir)
			if err != nil {
				return err
			}
			wanted := map[string]bool{}
			for _, n := range names {
				wanted[n] = true
			}
			var errs []error
			for _, s := range sites {
				if len(names) == 0 || wanted[s.Name] {
					errs = append(errs, s.Remove())
				}
				delete(wanted, s.Name)
			}
			for n := range wanted {
				errs = append(errs, fmt.Errorf("there is no site %s; `labctl list` shows them", n))
			}
			return errors.Join(errs...)
		},
	}
}
