package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/nic"
	"virtualservicesinc.com/rrts/config"
)

func (c *cli) netCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "net", Short: "this machine's NICs of the interconnect"}
	cmd.AddCommand(&cobra.Command{
		Use:   "up",
		Short: "prepare the NICs that machine.toml names, as rrts-net.service does",
		Long: `Prepares the NICs of networks A and B that machine.toml names: NetworkManager and systemd-networkd are
told to leave them alone, IPv6 is off on them, they get their MTU and are raised. A NIC through which
the machine's default route goes is left alone. Doing it again changes nothing.

rrts-net.service runs this before the SFUs start and whenever a NIC is plugged in.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := config.LoadMachine(filepath.Join(c.dir, "machine.toml"))
			if err != nil {
				return err
			}
			ready, err := (&nic.Owner{}).Up(cmd.Context(), m)
			for _, n := range ready {
				carrier := "cable in"
				if !n.Carrier {
					carrier = "no carrier"
				}
				c.out.Say("%v is up, MTU %d, %s", n, n.MTU, carrier)
			}
			return err
		},
	})
	return cmd
}
