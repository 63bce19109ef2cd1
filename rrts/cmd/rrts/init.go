package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
)

func (c *cli) initCommand() *cobra.Command {
	var (
		name, carrier, outDir, machine string
		sfus                           []string
		nicA, nicB                     string
	)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "make a cluster: identity, keys, certificate authority, configuration",
		Long: `Makes a cluster's identity, its keys and certificates, and a configuration directory for each machine.

Each --sfu names one SFU:

    --sfu alpha,machine=pc1,gateway=pc1.example:7400
    --sfu wit,machine=pc3,type=witness,udp_a=192.168.7.3:7401

With --machine this machine's part goes to the configuration directory (default /etc/rrts) and the
rest below --out, one directory for each machine: copy each to that machine's /etc/rrts. Whoever
holds the directory master below --out can make further SFUs and certificates: keep it off the
machines that clients can reach.

An existing cluster is never overwritten.`,
		Example: `  rrts init --name shop --machine pc1 --nic-a enp2s0 --nic-b enp3s0 \
    --sfu alpha,machine=pc1,gateway=pc1.example:7400 \
    --sfu bravo,machine=pc2,gateway=pc2.example:7400 \
    --sfu carol,machine=pc3,gateway=pc3.example:7400`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			spec := genesis.Spec{Name: name, Carrier: config.Carrier(carrier)}
			if name == "" || len(sfus) == 0 {
				return usageError{errors.New("name the cluster and its SFUs: rrts init --name shop --sfu alpha,machine=pc1,gateway=pc1.example:7400 …")}
			}
			for _, s := range sfus {
				one, err := parseSFU(s)
				if err != nil {
					return usageError{err}
				}
				spec.SFUs = append(spec.SFUs, one)
			}
			if machine != "" {
				m := config.Machine{Name: machine}
				var err error
				if m.NetworkA, err = parseNIC(nicA); err == nil {
					m.NetworkB, err = parseNIC(nicB)
				}
				if err != nil {
					return usageError{err}
				}
				spec.Machines = append(spec.Machines, m)
			}
			return c.makeCluster(spec, machine, outDir)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the cluster's name")
	cmd.Flags().StringArrayVar(&sfus, "sfu", nil, "an SFU: NAME[,machine=M][,type=T][,gateway=HOST:PORT][,udp_a=IP:PORT][,udp_b=IP:PORT][,voter=no]")
	cmd.Flags().StringVar(&carrier, "carrier", string(config.Ethernet), "what carries frames between machines: ethernet or udp")
	cmd.Flags().StringVar(&machine, "machine", "", "the machine that this is: its part goes to the configuration directory")
	cmd.Flags().StringVar(&nicA, "nic-a", "", "this machine's NIC of network A: its name or its MAC address")
	cmd.Flags().StringVar(&nicB, "nic-b", "", "this machine's NIC of network B")
	cmd.Flags().StringVar(&outDir, "out", "rrts-cluster", "directory for the other machines' parts, the client kit and the master keys")
	return cmd
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

func parseNIC(s string) (config.NIC, error) {
	if strings.Contains(s, ":") {
		mac, err := net.ParseMAC(s)
		if err != nil {
			return config.NIC{}, fmt.Errorf("the NIC %q is no MAC address: %w", s, err)
		}
		return config.NIC{MAC: mac}, nil
	}
	return config.NIC{Name: s}, nil
}

// makeCluster writes the cluster, and this machine's part to its place.
func (c *cli) makeCluster(spec genesis.Spec, machine, outDir string) error {
	m, err := genesis.Create(spec)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(outDir, 0o700); err != nil {
		return err
	}
	if err := m.Write(outDir, genesis.WriteOptions{}); err != nil {
		return err
	}
	if machine != "" {
		if err := c.installMachine(m, machine); err != nil {
			return err
		}
	}
	if c.json {
		return c.out.Object(map[string]any{"cluster": m.Cluster.Name, "id": m.Cluster.ID.String(), "machines": m.Machines(), "out": outDir})
	}
	rows := [][]string{{"cluster", m.Cluster.Name + ", " + m.Cluster.ID.String()}}
	for _, name := range m.Machines() {
		where := filepath.Join(outDir, name) + ": copy it to that machine's " + config.DefaultDir
		if name == machine {
			where = c.dir + ", this machine"
		}
		rows = append(rows, []string{"machine " + name, where})
	}
	rows = append(rows, []string{"for clients", filepath.Join(outDir, "client-kit.toml")},
		[]string{"master keys", filepath.Join(outDir, "master") + ": keep it safe, away from the machines"})
	return c.out.Table(nil, rows)
}

// installMachine writes this machine's configuration and marks its SFUs as not
// yet born.
func (c *cli) installMachine(m *genesis.Material, machine string) error {
	uid, gid := serviceUser()
	if err := m.WriteMachine(c.dir, machine, genesis.WriteOptions{Group: gid}); err != nil {
		return err
	}
	for _, s := range m.Cluster.SFUs {
		if s.Machine != machine {
			continue
		}
		cfg, err := config.Load(c.dir, s.Name)
		if err != nil {
			return err
		}
		// Others pass through the parent; the directory itself is the SFU's alone.
		if err := os.MkdirAll(filepath.Dir(cfg.SFU.StateDir), 0o755); err != nil {
			return fmt.Errorf("the state directory: %w", err)
		}
		if err := os.Mkdir(cfg.SFU.StateDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("the state directory: %w", err)
		}
		if err := genesis.Birth(cfg.SFU.StateDir); err != nil {
			return err
		}
		for _, path := range []string{cfg.SFU.StateDir, filepath.Join(cfg.SFU.StateDir, "birth")} {
			if uid == 0 {
				break
			}
			if err := os.Chown(path, uid, gid); err != nil {
				return fmt.Errorf("the state directory: %w", err)
			}
		}
	}
	return nil
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
