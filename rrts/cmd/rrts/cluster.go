package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/config"
)

// operatorTimeout is how long an operator's connection may take.
const operatorTimeout = 5 * time.Second

// operator connects to an SFU of this machine as its operator: the one that is
// named, or any that runs a gateway and answers.
func (c *cli) operator(ctx context.Context, name string) (*client.Client, *config.Cluster, error) {
	names, err := config.LocalSFUs(c.dir)
	if err != nil {
		return nil, nil, err
	}
	if name != "" {
		if !slices.Contains(names, name) {
			return nil, nil, usageError{fmt.Errorf("this machine has no SFU %q; it has %q", name, names)}
		}
		names = []string{name}
	}
	var errs []error
	for _, n := range names {
		cfg, err := config.Load(c.dir, n)
		if err != nil {
			return nil, nil, err
		}
		if !cfg.Self.Type.Gateway() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, operatorTimeout)
		op, err := client.Open(ctx, client.Config{Gateways: []string{"unix:" + cfg.ControlSocket(n)}, Agent: "rrts " + version})
		cancel()
		if err == nil {
			return op, cfg.Cluster, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", n, err))
	}
	if len(errs) == 0 {
		return nil, nil, fmt.Errorf("%w: this machine runs no SFU with a gateway; run it where one does", errUnreachable)
	}
	return nil, nil, fmt.Errorf("%w on this machine: %w; start one with `systemctl start rrts@NAME`, or join the group rrts", errUnreachable, errors.Join(errs...))
}

// findRrtsd returns the path of rrtsd: beside this program, or on the PATH.
func findRrtsd() (string, error) {
	self, err := os.Executable()
	if err == nil {
		beside := filepath.Join(filepath.Dir(self), "rrtsd")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("rrtsd")
	if err != nil {
		return "", errors.New("rrtsd is neither beside rrts nor on the PATH: build both with `make build`, or install the package rrts")
	}
	return filepath.Abs(path)
}

// namespacesVariable tells the part of a command that runs where the clients are
// in which namespaces.
const namespacesVariable = "RRTS_ARENA_NAMESPACES"

// inNamespaces runs this very command again in the clients' namespace of a fresh
// set, and deletes the set afterwards. The command that runs there gets the
// namespaces from attach.
func inNamespaces(ctx context.Context, sfus int) error {
	ns, err := arena.NewNamespaces(sfus)
	if err != nil {
		return err
	}
	defer ns.Delete()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := ns.ClientCommand(append([]string{self}, os.Args[1:]...))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	// It ends the cluster itself when it is told to stop.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), namespacesVariable+"="+ns.Name())
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return errSilent{exit.ExitCode()}
		}
		return err
	}
	return nil
}

// attach returns the namespaces that inNamespaces made, or nil.
func attach(sfus int) *arena.Namespaces {
	if name := os.Getenv(namespacesVariable); name != "" {
		return arena.Attach(name, sfus)
	}
	return nil
}

// errSilent is a failure that was reported already.
type errSilent struct{ status int }

func (e errSilent) Error() string { return fmt.Sprintf("ended with status %d", e.status) }
