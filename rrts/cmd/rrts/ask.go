package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// atTerminal reports whether somebody can be asked.
func (c *cli) atTerminal() bool {
	_, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS)
	return err == nil && !c.json
}

// asker asks one question after the other; where nobody is, the defaults answer.
type asker struct {
	in    *bufio.Reader
	there bool
}

func (c *cli) asker() *asker {
	return &asker{in: bufio.NewReader(os.Stdin), there: c.atTerminal()}
}

// ask returns the answer to a question, or what the empty answer means. A value that
// is there already is not asked for.
func (a *asker) ask(value *string, question, otherwise string) error {
	if *value != "" {
		return nil
	}
	*value = otherwise
	if !a.there {
		return nil
	}
	fmt.Fprintf(os.Stderr, "%s [%s]: ", question, otherwise)
	line, err := a.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	*value = cmp.Or(strings.TrimSpace(line), otherwise)
	return nil
}

// askInit fills in what the flags of `rrts init` leave open.
func (c *cli) askInit(f *initFlags) error {
	a := c.asker()
	if f.name == "" && !a.there {
		return usageError{errors.New("name the cluster: rrts init --name shop")}
	}
	if err := a.ask(&f.name, "Name of the cluster", "shop"); err != nil {
		return err
	}
	if f.elsewhere() {
		if len(f.sfus) == 0 {
			return usageError{errors.New("name the SFUs: --sfu alpha,machine=pc1,gateway=pc1.example:7400 …")}
		}
		return nil
	}
	if f.outDir == "" {
		f.outDir = "rrts-cluster"
	}
	if err := a.ask(&f.machine, "Name of this machine", machineName()); err != nil {
		return err
	}
	if len(f.sfus) > 0 {
		return nil
	}
	name, gateway := "", ""
	if err := a.ask(&name, "Name of its SFU", sfuNames[0]); err != nil {
		return err
	}
	if err := a.ask(&gateway, "Where clients reach it", defaultGateway()); err != nil {
		return err
	}
	f.sfus = []string{name + ",machine=" + f.machine + ",gateway=" + gateway}
	return nil
}

// sfuNames are given where the operator gives none.
var sfuNames = []string{
	"alpha", "bravo", "carol", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima", "mike",
	"november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey", "xray", "yankee", "zulu",
}

// freeName returns the first name that nobody has.
func freeName(taken []string) string {
	for _, n := range sfuNames {
		if !slices.Contains(taken, n) {
			return n
		}
	}
	return ""
}

// machineName is the host's name up to its first dot.
func machineName() string {
	host, err := os.Hostname()
	if err != nil {
		return "pc1"
	}
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	return host
}

// gatewayPort is where clients connect, unless the operator says otherwise.
const gatewayPort = "7400"

// defaultGateway is this host's full name, where it has one, at the usual port.
func defaultGateway() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return net.JoinHostPort(strings.ToLower(host), gatewayPort)
}
