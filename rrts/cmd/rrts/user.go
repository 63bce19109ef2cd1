package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/loginpb"
)

func (c *cli) userCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "users of the cluster"}
	cmd.AddCommand(c.userAddCommand(), c.userGrantCommand(), c.userRightsCommand())
	return cmd
}

// roleNames are the roles that a user can have.
var roleNames = map[string]message.Role{"client": message.RoleClient, "operator": message.RoleOperator, "auditor": message.RoleAuditor}

func (c *cli) userAddCommand() *cobra.Command {
	var roleName string
	cmd := &cobra.Command{
		Use:   "add PUBLIC-NAME",
		Short: "create a user",
		Long: `Creates a user under a public name, which others see. The login name, which is the user's secret, and
the password are read from the terminal or, one line each, from standard input: what stands in a
command line can be seen by everybody on the machine.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name the user's public name: rrts user add PUBLIC-NAME")}
			}
			role, ok := roleNames[roleName]
			if !ok {
				return usageError{fmt.Errorf("--role is %q, must be client, operator or auditor", roleName)}
			}
			in := bufio.NewReader(os.Stdin)
			loginName, err := ask(in, "login name: ")
			if err != nil {
				return err
			}
			password, err := ask(in, "password: ")
			if err != nil {
				return err
			}
			op, _, err := c.operator(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer op.Close()
			answer, err := op.Register(cmd.Context(), &loginpb.RegisterRequest{
				LoginName: loginName, Password: password, PublicName: args[0], Role: uint32(role), TransactionId: op.NewID(),
			})
			switch {
			case err != nil:
				return err
			case answer.Refused != "":
				return errors.New(answer.Refused)
			case c.json:
				return c.out.Object(map[string]any{"user": answer.User, "public_name": args[0], "role": roleName})
			}
			return c.out.Table(nil, [][]string{{fmt.Sprintf("user %d, %s %q", answer.User, roleName, args[0])}})
		},
	}
	cmd.Flags().StringVar(&roleName, "role", "client", "client, operator or auditor")
	return cmd
}

// ask reads one line; at a terminal it prompts and what is typed does not show.
func ask(in *bufio.Reader, prompt string) (string, error) {
	fd := int(os.Stdin.Fd())
	if old, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		fmt.Fprint(os.Stderr, prompt)
		hidden := *old
		hidden.Lflag &^= unix.ECHO
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
			return "", fmt.Errorf("hiding what is typed: %w", err)
		}
		defer func() {
			_ = unix.IoctlSetTermios(fd, unix.TCSETS, old) // nothing better can be done
			fmt.Fprintln(os.Stderr)
		}()
	}
	line, err := in.ReadString('\n')
	if err != nil && !(errors.Is(err, io.EOF) && line != "") {
		return "", fmt.Errorf("reading the %s%w", prompt, err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
