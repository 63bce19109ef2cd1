package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/nic"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/settle"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
)

// initFlags are what `rrts init` is told; what is empty it finds out or asks for.
type initFlags struct {
	name, carrier, machine, outDir string
	sfus                           []string
	place                          placeFlags
	kit                            newKitFlags
}

// placeFlags say how an SFU and its machine are placed, for every command that makes
// one.
type placeFlags struct {
	nicA, nicB, stateDir, runDir string
}

func (p *placeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.nicA, "nic-a", "", `this machine's NIC of network A: its name, its MAC address, or "none" (default: found by probing)`)
	cmd.Flags().StringVar(&p.nicB, "nic-b", "", "this machine's NIC of network B")
	cmd.Flags().StringVar(&p.stateDir, "state-dir", "", "the SFU's state directory (default /var/lib/rrts/NAME)")
	cmd.Flags().StringVar(&p.runDir, "run-dir", "", "where this machine's SFUs keep their sockets (default /run/rrts)")
}

// noNIC is what a machine without an interconnect of its own says for --nic-a.
const noNIC = "none"

func (c *cli) initCommand() *cobra.Command {
	f := &initFlags{}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "make a cluster: identity, keys, certificate authority, configuration",
		Long: `Makes a cluster. At a terminal it asks for what is not given; without one, or with --json, the defaults
are taken.

Usually the cluster begins with one SFU on this machine, and grows with rrts node add. The NICs of
networks A and B are found by probing: free Ethernet NICs with their cables in, that no default route
and no address uses, and that are plugged into two networks.

A cluster of several SFUs is made at once with one --sfu for each:

    --sfu alpha,machine=pc1,gateway=pc1.example:7400
    --sfu wit,machine=pc3,type=witness,udp_a=192.168.7.3:7401

This machine's part goes to the configuration directory (default /etc/rrts), with the cluster's master
keys in the directory master; the parts of other machines go below --out: copy each to that machine's
/etc/rrts. With --out and without --machine everything goes there.

The recovery kit holds the master keys, sealed under a passphrase. Without it a backup is worth
nothing: keep it away from the machines, and the passphrase away from the kit.

An existing cluster is never overwritten.`,
		Example: `  rrts init
  rrts init --name shop --sfu alpha,gateway=pc1.example:7400 --nic-a enp2s0 --nic-b enp3s0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.init(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.name, "name", "", "the cluster's name")
	cmd.Flags().StringArrayVar(&f.sfus, "sfu", nil, "an SFU: NAME[,machine=M][,type=T][,gateway=HOST:PORT][,udp_a=IP:PORT][,udp_b=IP:PORT][,voter=no] (default: alpha, on this machine)")
	cmd.Flags().StringVar(&f.carrier, "carrier", string(config.Ethernet), "what carries frames between machines: ethernet or udp")
	cmd.Flags().StringVar(&f.machine, "machine", "", "the name of this machine (default: its host name)")
	cmd.Flags().StringVar(&f.outDir, "out", "", "directory for the other machines' parts (default rrts-cluster)")
	f.place.add(cmd)
	f.kit.add(cmd)
	return cmd
}

// init makes the cluster.
func (c *cli) init(ctx context.Context, f *initFlags) error {
	// Before anybody types: what would be refused at the end.
	for _, taken := range []string{"cluster.toml", "machine.toml", "master"} {
		if err := genesis.Absent(filepath.Join(c.dir, taken)); err != nil && !f.elsewhere() {
			return err
		}
	}
	if err := c.askInit(f); err != nil {
		return err
	}
	spec, err := f.spec()
	if err != nil {
		return usageError{err}
	}
	if !f.elsewhere() {
		m := config.Machine{Name: f.machine, RunDir: f.place.runDir}
		if spec.Carrier == config.Ethernet && f.place.nicA != noNIC {
			if err := c.chooseNICs(ctx, f, &m); err != nil {
				return err
			}
		}
		spec.Machines = append(spec.Machines, m)
	}
	m, err := genesis.Create(spec)
	if err != nil {
		return err
	}
	sealed, err := f.kit.seal(m.Master, c)
	if err != nil {
		return err
	}
	if err := c.writeCluster(m, f); err != nil {
		return err
	}
	if sealed != nil {
		if err := genesis.WriteFile(f.kit.file, genesis.File{Mode: 0o600, Data: sealed}, 0); err != nil {
			return fmt.Errorf("the recovery kit: %w", err)
		}
	}
	return c.showInit(m, f, sealed != nil)
}

// elsewhere reports whether nothing of the cluster is this machine's.
func (f *initFlags) elsewhere() bool { return f.outDir != "" && f.machine == "" }

// spec turns the flags into what genesis makes.
func (f *initFlags) spec() (genesis.Spec, error) {
	spec := genesis.Spec{Name: f.name, Carrier: config.Carrier(f.carrier)}
	for _, s := range f.sfus {
		one, err := parseSFU(s)
		if err != nil {
			return spec, err
		}
		if len(f.sfus) == 1 && !strings.Contains(s, "machine=") && !f.elsewhere() {
			one.Machine = f.machine
		}
		if one.Machine == f.machine && f.place.stateDir != "" {
			one.Settings.StateDir = f.place.stateDir
		}
		if one.Machine == f.machine && len(one.Gateways) == 0 && cmp.Or(one.Type, config.TypeAll).Gateway() {
			one.Gateways = []string{defaultGateway()}
		}
		spec.SFUs = append(spec.SFUs, one)
	}
	if !f.elsewhere() && !slices.ContainsFunc(spec.SFUs, func(s genesis.SFU) bool { return s.Machine == f.machine }) {
		return spec, fmt.Errorf("no --sfu is on this machine, %s: name it with machine=%s, or name this machine with --machine", f.machine, f.machine)
	}
	return spec, nil
}

// chooseNICs finds or checks this machine's NICs.
func (c *cli) chooseNICs(ctx context.Context, f *initFlags, m *config.Machine) error {
	c.out.Progress("probing the networks")
	// Nobody else knows the key: only the machine's own NICs are heard.
	var key nic.Key
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	choice, err := nic.Choose(ctx, key, defaultEtherTypes(), f.place.nicA, f.place.nicB)
	c.out.Progress("")
	if err != nil {
		return err
	}
	for _, n := range choice.Note {
		c.out.Say("%s", n)
	}
	m.NetworkA, m.NetworkB = choice.A, choice.B
	if m.NetworkA.IsZero() {
		c.out.Say("this machine has no interconnect yet: its SFU works alone. Plug in two NICs, name them in machine.toml, then add machines")
	}
	return nil
}

// defaultEtherTypes are those of a cluster that does not say otherwise.
func defaultEtherTypes() [2]uint16 { return [2]uint16{0x88b5, 0x88b6} }

// writeCluster puts this machine's part in its place, and the others' below outDir.
func (c *cli) writeCluster(m *genesis.Material, f *initFlags) error {
	if f.elsewhere() {
		if err := os.MkdirAll(f.outDir, 0o700); err != nil {
			return err
		}
		return m.Write(f.outDir, genesis.WriteOptions{})
	}
	var others []string
	for _, name := range m.Machines() {
		if name != f.machine {
			others = append(others, name)
			if err := genesis.Absent(filepath.Join(f.outDir, name)); err != nil {
				return err
			}
		}
	}
	if len(others) > 0 {
		if err := os.MkdirAll(f.outDir, 0o700); err != nil {
			return err
		}
	}
	if err := m.WriteMaster(filepath.Join(c.dir, "master")); err != nil {
		return err
	}
	for _, name := range others {
		if err := m.WriteMachine(filepath.Join(f.outDir, name), name, genesis.WriteOptions{}); err != nil {
			return err
		}
	}
	var sfus []settle.SFU
	for i := range m.Cluster.SFUs {
		self := &m.Cluster.SFUs[i]
		if self.Machine != f.machine {
			continue
		}
		sfus = append(sfus, settle.SFU{Name: self.Name, StateDir: cmp.Or(f.place.stateDir, defaultStateDir(self.Name))})
	}
	return c.here().Settle(m.Files(f.machine), sfus)
}

func defaultStateDir(name string) string { return filepath.Join("/var/lib/rrts", name) }

// here is this machine as a place for SFUs.
func (c *cli) here() settle.Place {
	uid, gid := serviceUser()
	return settle.Place{Dir: c.dir, UID: uid, GID: gid}
}

func (c *cli) showInit(m *genesis.Material, f *initFlags, kit bool) error {
	kitFile := f.kit.file
	if !kit {
		kitFile = ""
	}
	if c.json {
		return c.out.Object(map[string]any{"cluster": m.Cluster.Name, "id": m.Cluster.ID.String(), "machines": m.Machines(), "out": f.outDir, "kit": kitFile})
	}
	rows := [][]string{{"cluster", m.Cluster.Name + ", " + m.Cluster.ID.String()}}
	var start []string
	for i := range m.Cluster.SFUs {
		if s := &m.Cluster.SFUs[i]; s.Machine == f.machine {
			start = append(start, "rrts@"+s.Name)
		}
	}
	for _, name := range m.Machines() {
		where := filepath.Join(f.outDir, name) + ": copy it to that machine's " + config.DefaultDir
		if name == f.machine {
			where = c.dir + ", this machine"
		}
		rows = append(rows, []string{"machine " + name, where})
	}
	top := c.dir
	if f.elsewhere() {
		top = f.outDir
	}
	rows = append(rows, []string{"for clients", filepath.Join(top, "client-kit.toml")}, []string{"master keys", filepath.Join(top, "master")})
	if kit {
		rows = append(rows, []string{"recovery kit", kitFile + ": keep it away from the machines, and the passphrase away from it"})
	} else {
		rows = append(rows, []string{"recovery kit", "none yet: without one a backup is worth nothing. Make it: rrts kit FILE"})
	}
	if len(start) > 0 {
		rows = append(rows, []string{"start it", "systemctl enable --now " + strings.Join(start, " ")})
	}
	return c.out.Table(nil, rows)
}

// parseSFU reads one --sfu.
func parseSFU(s string) (genesis.SFU, error) {
	name, rest, _ := strings.Cut(s, ",")
	out := genesis.SFU{Name: name, Machine: name}
	for _, pair := range strings.Split(rest, ",") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		var err error
		switch key {
		case "machine":
			out.Machine = value
		case "type":
			out.Type = config.Type(value)
		case "gateway":
			out.Gateways = append(out.Gateways, value)
		case "udp_a":
			out.UDPA, err = netip.ParseAddrPort(value)
		case "udp_b":
			out.UDPB, err = netip.ParseAddrPort(value)
		case "carrier":
			out.Carrier = config.Carrier(value)
		case "voter":
			switch value {
			case "yes":
			case "no":
				out.NoVote = true
			default:
				err = fmt.Errorf("%q is neither yes nor no", value)
			}
		default:
			err = errors.New("unknown; the keys are machine, type, gateway, udp_a, udp_b, carrier, voter")
		}
		if err != nil {
			return out, fmt.Errorf("--sfu %s: %s: %w", name, key, err)
		}
	}
	return out, nil
}

// serviceUser is the user that runs the SFUs; 0, 0 where there is none, or where
// this process could not give files to it.
func serviceUser() (uid, gid int) {
	u, err := user.Lookup("rrts")
	if err != nil || os.Getuid() != 0 {
		return 0, 0
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return uid, gid
}
