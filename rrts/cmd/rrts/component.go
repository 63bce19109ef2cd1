package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/glance"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

func (c *cli) componentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "component",
		Short: "programs of your own that SFUs run",
		Long: `Programs of your own that SFUs run as Components: /etc/rrts/components.d/NAME.toml describes one, rrtsgen
new makes one. rrts status shows how they are.`,
	}
	cmd.AddCommand(c.componentListCommand(), c.componentRestartCommand())
	return cmd
}

func (c *cli) componentListCommand() *cobra.Command {
	var via string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the programs of the site that the SFUs run",
		Long: `Lists the programs of the site that the SFUs run: where, their state, the numbers of the services that they
answer, what they have answered, and why they failed last.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withCluster(cmd.Context(), via, func(_ *client.Client, view *glance.Cluster) error {
				rows := [][]string{}
				for i := range view.SFUs {
					for _, x := range view.SFUs[i].Components {
						switch {
						case !x.Site:
						case c.json:
							if err := c.out.Object(struct {
								SFU string `json:"sfu"`
								glance.Component
							}{view.SFUs[i].Name, x}); err != nil {
								return err
							}
						default:
							rows = append(rows, []string{x.Name, view.SFUs[i].Name, x.State, fmt.Sprint(x.Services), fmt.Sprint(x.Handled), fmt.Sprint(x.Restarts), x.Failure})
						}
					}
				}
				if c.json {
					return nil
				}
				return c.out.Table([]string{"COMPONENT", "SFU", "STATE", "SERVICES", "ANSWERED", "RESTARTS", "FAILED LAST"}, rows)
			})
		},
	}
	viaFlag(cmd, &via)
	return cmd
}

func (c *cli) componentRestartCommand() *cobra.Command {
	var via string
	cmd := &cobra.Command{
		Use:   "restart NAME",
		Short: "start a program of the site anew, on each SFU that runs it, one after the other",
		Long: `Starts a program of the site anew, as after a change of the program or of its file: on each SFU that runs
it, one after the other, each when the one before is ready again. Requests that wait for it are kept.`,
		Example: "  rrts component restart orders",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name one component: %s NAME", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withCluster(cmd.Context(), via, func(op *client.Client, view *glance.Cluster) error {
				return c.restartComponent(cmd.Context(), op, view, args[0])
			})
		},
	}
	viaFlag(cmd, &via)
	return cmd
}

// withCluster asks all SFUs how they are.
func (c *cli) withCluster(ctx context.Context, via string, f func(*client.Client, *glance.Cluster) error) error {
	op, cluster, err := c.operator(ctx, via)
	if err != nil {
		return err
	}
	defer op.Close()
	return f(op, glance.Ask(ctx, op, c.newest(ctx, op, cluster)))
}

func (c *cli) restartComponent(ctx context.Context, op *client.Client, view *glance.Cluster, name string) error {
	var errs []error
	found := 0
	for i := range view.SFUs {
		s := &view.SFUs[i]
		if !s.Reachable {
			errs = append(errs, fmt.Errorf("%s does not answer: %s", s.Name, s.Error))
			continue
		}
		runs := false
		for _, x := range s.Components {
			runs = runs || x.Site && x.Name == name
		}
		if !runs {
			continue
		}
		found++
		engine := enginepb.EngineClient{Caller: op.To(s.SFU)}
		if _, err := engine.Restart(ctx, &enginepb.RestartRequest{Component: name}); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Name, err))
			continue
		}
		if err := ready(ctx, engine, name); err != nil {
			return fmt.Errorf("%s on %s: %w; the SFUs after it run the program from before", name, s.Name, err)
		}
		c.out.Say("%s runs anew on %s", name, s.Name)
	}
	if found == 0 && len(errs) == 0 {
		return fmt.Errorf("no SFU runs a component %q; rrts component list shows those that run", name)
	}
	return errors.Join(errs...)
}

const (
	// restartPatience is how long a program may take until it is ready again.
	restartPatience = 30 * time.Second
	restartInterval = 100 * time.Millisecond
)

// ready waits until a Component is ready again.
func ready(ctx context.Context, engine enginepb.EngineClient, name string) error {
	ctx, cancel := context.WithTimeout(ctx, restartPatience)
	defer cancel()
	failure := "it is not ready"
	for {
		st, err := engine.Status(ctx, &enginepb.EngineStatusRequest{})
		if err != nil {
			return err
		}
		for _, x := range st.Components {
			switch {
			case x.Name != name:
			case x.State == "ready":
				return nil
			case x.Failure != "":
				failure = x.Failure
			}
		}
		select {
		case <-time.After(restartInterval):
		case <-ctx.Done():
			return errors.New(failure)
		}
	}
}
