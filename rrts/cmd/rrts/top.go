package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/glance"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
)

const (
	// minInterval bounds how often all SFUs are asked.
	minInterval = 500 * time.Millisecond
	// rosterEvery is how often it is asked who is in the cluster.
	rosterEvery = 10 * time.Second
	// minWidth is the narrowest screen that is worth filling, in columns.
	minWidth = 40
)

func (c *cli) topCommand() *cobra.Command {
	var via string
	var interval time.Duration
	var count int
	cmd := &cobra.Command{
		Use:   "top",
		Short: "the cluster at a glance, live",
		Long: `Shows what rrts status shows, again and again, until q or Ctrl-C is pressed. Fits a terminal of 80 columns
and 24 lines; what finds no room is counted in the last line. Where standard output is no terminal the
screens follow each other; with --json each SFU is one object at each interval.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < minInterval {
				return usageError{fmt.Errorf("--interval is %v, must be at least %v", interval, minInterval)}
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			op, cluster, err := c.operator(ctx, via)
			if err != nil {
				return err
			}
			defer op.Close()
			screen, err := term.OpenScreen(os.Stdin, os.Stdout, !c.json)
			if err != nil {
				return err
			}
			defer screen.Close()
			resized := make(chan os.Signal, 1)
			signal.Notify(resized, syscall.SIGWINCH)
			defer signal.Stop(resized)
			keys := screen.Keys(ctx)
			newest, asked := cluster, time.Time{}
			var view *glance.Cluster
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for shown := 0; ; {
				if time.Since(asked) >= rosterEvery {
					newest, asked = c.newest(ctx, op, cluster), time.Now()
				}
				view = glance.Ask(ctx, op, newest)
				if ctx.Err() != nil {
					return nil
				}
				if err := c.showTop(screen, view); err != nil {
					return err
				}
				if shown++; shown == count {
					return nil
				}
				for waiting := true; waiting; {
					select {
					case <-ctx.Done():
						return nil
					case key := <-keys:
						if key == 'q' || key == 'Q' {
							return nil
						}
					case <-resized:
						if err := c.showTop(screen, view); err != nil {
							return err
						}
					case <-tick.C:
						waiting = false
					}
				}
			}
		},
	}
	viaFlag(cmd, &via)
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "the time between two looks")
	cmd.Flags().IntVar(&count, "count", 0, "end after so many looks; 0 goes on")
	return cmd
}

// showTop shows the cluster once.
func (c *cli) showTop(s *term.Screen, view *glance.Cluster) error {
	if c.json {
		return c.showStatus(view)
	}
	width, height := s.Size()
	return s.Show(view.Screen(time.Now().Format("15:04:05 "), max(width, minWidth), height), height)
}
