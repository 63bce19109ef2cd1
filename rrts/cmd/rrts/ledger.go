package main

import "github.com/spf13/cobra"

func (c *cli) ledgerCommand() *cobra.Command {
	return &cobra.Command{Use: "ledger", Short: "read and change the ledger by JSON lines"}
}
