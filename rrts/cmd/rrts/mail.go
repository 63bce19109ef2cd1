package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/schema/mailpb"
)

func (c *cli) mailCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "mail", Short: "mails that transactions owe"}
	cmd.AddCommand(c.mailTestCommand())
	return cmd
}

func (c *cli) mailTestCommand() *cobra.Command {
	var address bool
	cmd := &cobra.Command{
		Use:   "test PUBLIC-NAME|ADDRESS",
		Short: "send a mail now, and print what the relay said",
		Long: `Sends a mail to a user, named by the public name, or to an address, through the relay of an SFU that sends
mails. The relay has taken it when this says so; whether it arrives is the relay's business.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name who gets it: rrts mail test PUBLIC-NAME, or an address")}
			}
			in := &mailpb.TestRequest{PublicName: args[0]}
			if address || strings.Contains(args[0], "@") {
				in = &mailpb.TestRequest{Address: args[0]}
			}
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				a, err := mailpb.MailClient{Caller: op}.Test(cmd.Context(), in)
				switch {
				case err != nil:
					return err
				case c.json:
					if err := c.out.Object(map[string]any{"taken": a.Refused == "", "reason": a.Refused, "message_id": a.MessageId, "relay": a.Relay, "security": a.Security}); err != nil {
						return err
					}
				case a.Refused == "":
					if err := c.out.Table(nil, [][]string{{"taken by", a.Relay}, {"security", a.Security}, {"message id", a.MessageId}}); err != nil {
						return err
					}
				}
				if a.Refused != "" {
					return fmt.Errorf("the mail was not taken: %s", a.Refused)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&address, "address", false, "the argument is an address, not a public name")
	return cmd
}

func (c *cli) userAddressCommand() *cobra.Command {
	var none bool
	cmd := &cobra.Command{
		Use:   "address PUBLIC-NAME",
		Short: "say where mails for a user go",
		Long: `Reads the mail address of a user from the terminal or from standard input, and stores it sealed: it stands
in no transaction, list or log. Transactions name the user.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name the user's public name: rrts user address PUBLIC-NAME")}
			}
			in := &mailpb.SetAddressRequest{PublicName: args[0]}
			if !none {
				address, err := ask(bufio.NewReader(os.Stdin), "address: ")
				if err != nil {
					return err
				}
				if in.Address = strings.TrimSpace(address); in.Address == "" {
					return usageError{errors.New("the address is empty; --none takes it away")}
				}
			}
			return c.withOperator(cmd.Context(), func(op *client.Client) error {
				a, err := mailpb.MailClient{Caller: op}.SetAddress(cmd.Context(), in)
				switch {
				case err != nil:
					return err
				case a.Refused != "":
					return errors.New(a.Refused)
				case c.json:
					return c.out.Object(map[string]any{"public_name": args[0], "address": !none})
				}
				return c.out.Table(nil, [][]string{{fmt.Sprintf("user %q: ok", args[0])}})
			})
		},
	}
	cmd.Flags().BoolVar(&none, "none", false, "the user gets no mails any more")
	return cmd
}
