// Command rrts is the operator's hand on an RRTS cluster.
//
//	rrts init        make a cluster: identity, keys, configuration
//	rrts doctor      examine this machine
//	rrts kit         seal the master keys into a recovery kit
//	rrts net         this machine's NICs of the interconnect
//	rrts node        add machines, and join one
//	rrts sfu         add, stop, start, replace and remove SFUs
//	rrts watchdog    arm the hardware that resets a machine that hangs
//	rrts status      the cluster at a glance
//	rrts top         the same, live
//	rrts alarms      what stands, who looks after it, and what was
//	rrts keys        change the keys under which SFUs keep journal and state
//	rrts user        create users, and say what they may do with accounts
//	rrts ledger      read and change the ledger by JSON lines, list its rows, print statements, audit it
//	rrts tx          submit transactions, ask what became of them, make them final
//	rrts events      what is committed, as it happens
//	rrts backup      take, verify and list backups
//	rrts restore     make a cluster that begins with a backup
//	rrts demo        a throw-away cluster that loses a machine and a network, and no payment
//	rrts bench       what a cluster on this machine reaches
//
// Tables are for people; with --json every result is one object per line.
//
// Exit status: 0 success, 1 the command failed or found something wrong, 2 a fault
// in the command line, 3 no SFU could be reached.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/packaging/man/describe"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/config"
)

// version is set by the build.
var version = "devel"

const (
	exitFailure     = 1
	exitUsage       = 2
	exitUnreachable = 3
)

// errUnreachable is what makes the exit status 3.
var errUnreachable = errors.New("no SFU could be reached")

// usageError is what makes the exit status 2.
type usageError struct{ error }

// cli is what all commands share.
type cli struct {
	json bool
	dir  string // of the configuration
	out  *term.Out
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	var silent errSilent
	if errors.As(err, &silent) {
		os.Exit(silent.status)
	}
	fmt.Fprintln(os.Stderr, "rrts:", err)
	var usage usageError
	switch {
	case errors.As(err, &usage):
		os.Exit(exitUsage)
	case errors.Is(err, errUnreachable):
		os.Exit(exitUnreachable)
	}
	os.Exit(exitFailure)
}

func root() *cobra.Command {
	c := &cli{}
	cmd := &cobra.Command{
		Use: "rrts", Short: "operate a cluster of the Redundant Reliable Transaction System",
		Version: version, SilenceUsage: true, SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) { c.out = term.New(c.json) },
	}
	cmd.PersistentFlags().BoolVar(&c.json, "json", false, "print one JSON object per line")
	cmd.PersistentFlags().StringVar(&c.dir, "config", config.DefaultDir, "directory of the configuration")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	})
	cmd.AddCommand(
		c.initCommand(),
		c.doctorCommand(),
		c.kitCommand(),
		c.netCommand(),
		c.nodeCommand(),
		c.sfuCommand(),
		c.quorumCommand(),
		c.upgradeCommand(),
		c.watchdogCommand(),
		c.statusCommand(),
		c.topCommand(),
		c.alarmsCommand(),
		c.keysCommand(),
		c.componentCommand(),
		c.quarantineCommand(),
		c.datasourceCommand(),
		c.userCommand(),
		c.loginCommand(),
		c.ledgerCommand(),
		c.txCommand(),
		c.effectsCommand(),
		c.mailCommand(),
		c.paymentCommand(),
		c.eventsCommand(),
		c.backupCommand(),
		c.restoreCommand(),
		c.demoCommand(),
		c.benchCommand(),
		describe.Command(),
	)
	return cmd
}

// noArgs refuses arguments as a fault of the command line.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, it got %q; see `%s --help`", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
}
