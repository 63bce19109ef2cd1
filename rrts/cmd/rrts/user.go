package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/loginpb"
)

func (c *cli) userCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "users of the cluster"}
	cmd.AddCommand(c.userAddCommand(), c.userListCommand(), c.userAddressCommand(), c.userGrantCommand(), c.userRightsCommand(), c.userPasswordCommand(), c.userRoleCommand(),
		c.userChangeCommand("disable", "end a user's sessions and let the user in no more", loginpb.StandingDisabled),
		c.userChangeCommand("enable", "let a disabled user in again", loginpb.StandingEnabled),
		c.userChangeCommand("revoke", "end a user's sessions, at every gateway within a second", loginpb.StandingUnchanged))
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

func (c *cli) userListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "users, their roles and whether they may log in",
		Long: `Lists the users of the cluster by their numbers: public name, role, whether they may log in, and since when
there is such a user. Login names nobody can list: the cluster does not know them.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op, _, err := c.operator(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer op.Close()
			var rows [][]string
			for u, err := range op.Users(cmd.Context()) {
				if err != nil {
					return err
				}
				role, state, created := roleName(u.Role), "enabled", time.Unix(0, int64(u.Created))
				if u.Disabled {
					state = "disabled"
				}
				if c.json {
					if err := c.out.Object(map[string]any{"user": u.Number, "public_name": u.PublicName, "role": role, "state": state,
						"created": created.UTC().Format(time.RFC3339Nano)}); err != nil {
						return err
					}
					continue
				}
				rows = append(rows, []string{fmt.Sprint(u.Number), u.PublicName, role, state, created.Format(time.DateTime)})
			}
			switch {
			case c.json:
				return nil
			case len(rows) == 0:
				c.out.Say("no users: rrts user add creates one")
				return nil
			}
			return c.out.Table([]string{"user", "public name", "role", "state", "since"}, rows)
		},
	}
}

// roleName is the name of a user's role.
func roleName(role uint32) string {
	for name, r := range roleNames {
		if uint32(r) == role {
			return name
		}
	}
	return fmt.Sprint("role ", role)
}

func (c *cli) userPasswordCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "password NUMBER",
		Short: "give a user a new password",
		Long: `Gives a user a new password, which is read from the terminal or from standard input, and ends the user's
sessions. A user who knows the old password changes it from the application.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := userNumber(cmd, args, 1)
			if err != nil {
				return err
			}
			password, err := ask(bufio.NewReader(os.Stdin), "new password: ")
			if err != nil {
				return err
			}
			if password == "" {
				return errors.New("the new password is empty")
			}
			return c.changeUser(cmd, &loginpb.ChangeUserRequest{User: number, Password: password}, "has a new password")
		},
	}
}

func (c *cli) userRoleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "role NUMBER client|operator|auditor",
		Short: "give a user another role",
		Long:  "Gives a user another role and ends the user's sessions.",
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := userNumber(cmd, args, 2)
			if err != nil {
				return err
			}
			role, ok := roleNames[args[1]]
			if !ok {
				return usageError{fmt.Errorf("the role is %q, must be client, operator or auditor", args[1])}
			}
			return c.changeUser(cmd, &loginpb.ChangeUserRequest{User: number, Role: uint32(role)}, "is "+args[1]+" now")
		},
	}
}

func (c *cli) userChangeCommand(verb, short string, standing loginpb.Standing) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NUMBER",
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := userNumber(cmd, args, 1)
			if err != nil {
				return err
			}
			done := map[loginpb.Standing]string{loginpb.StandingDisabled: "is disabled", loginpb.StandingEnabled: "is enabled"}[standing]
			if done == "" {
				done = "has no session any more"
			}
			return c.changeUser(cmd, &loginpb.ChangeUserRequest{User: number, Standing: standing}, done)
		},
	}
}

// userNumber returns the user whose number is the first of n arguments.
func userNumber(cmd *cobra.Command, args []string, n int) (uint64, error) {
	if len(args) != n {
		return 0, usageError{fmt.Errorf("write: rrts user %s", cmd.Use)}
	}
	number, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil || number == 0 {
		return 0, usageError{fmt.Errorf("%q is no user's number, which rrts user list says", args[0])}
	}
	return number, nil
}

// changeUser changes a user and says what that did.
func (c *cli) changeUser(cmd *cobra.Command, in *loginpb.ChangeUserRequest, done string) error {
	op, _, err := c.operator(cmd.Context(), "")
	if err != nil {
		return err
	}
	defer op.Close()
	in.TransactionId = op.NewID()
	answer, err := op.ChangeUser(cmd.Context(), in)
	switch {
	case err != nil:
		return err
	case answer.Refused != "":
		return errors.New(answer.Refused)
	case c.json:
		return c.out.Object(map[string]any{"user": in.User, "done": done})
	}
	return c.out.Table(nil, [][]string{{fmt.Sprintf("user %d %s", in.User, done)}})
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
