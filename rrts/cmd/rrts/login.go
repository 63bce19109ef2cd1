package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func (c *cli) loginCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "login", Short: "the login services of the cluster"}
	cmd.AddCommand(c.loginRotateCommand())
	return cmd
}

func (c *cli) loginRotateCommand() *cobra.Command {
	var destroy bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "have every login service make new keys now",
		Long: `Has every login service make new keys, to which login names and passwords are sealed, as they do by
themselves every clients.login_rotation. The old keys are destroyed a minute later, or with
--destroy at once: clients that have sealed a login to them by then are given the new ones and
seal again, which nobody notices.

Exit status: 0 when every SFU with a login service has done it, else 1.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op, _, err := c.operator(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer op.Close()
			answer, err := txnpb.MembersClient{Caller: op}.List(cmd.Context(), &txnpb.ListMembers{})
			if err != nil {
				return err
			}
			var rows [][]string
			var errs []error
			for i := range answer.Roster.Members {
				m := &answer.Roster.Members[i]
				if !config.Type(m.Type).Gateway() {
					continue
				}
				r, err := loginpb.LoginClient{Caller: op.To(uint16(m.Number))}.Rotate(cmd.Context(), &loginpb.RotateRequest{Destroy: destroy})
				switch {
				case errors.Is(err, &message.Error{Code: message.NoMethod}): // logins are checked elsewhere
				case err != nil:
					errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
				case c.json:
					errs = append(errs, c.out.Object(map[string]any{"sfu": m.Name, "epoch": r.Epoch, "destroyed": destroy}))
				default:
					rows = append(rows, []string{m.Name, fmt.Sprint(r.Epoch)})
				}
			}
			if !c.json && len(rows) > 0 {
				errs = append(errs, c.out.Table([]string{"SFU", "epoch"}, rows))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&destroy, "destroy", false, "destroy the old keys at once")
	return cmd
}
