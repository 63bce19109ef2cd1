package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/way"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func (c *cli) txTraceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "trace ID",
		Short: "print where a transaction spent its time",
		Long: `Prints when a transaction was at each step of its way: the gateway, the queue at the leader, the disks of leader
and followers, its commit, its application, the answer; and what each step took. Every SFU remembers the
last 32,768 transactions in memory: ask soon. The times of different SFUs are laid together by the halves of
their round trips, not by their clocks.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name the transaction: %s ID", cmd.CommandPath())}
			}
			id, err := u128.Parse(args[0])
			if err != nil || id.IsZero() {
				return usageError{fmt.Errorf("ID is %q, must be a transaction's id, a whole number", args[0])}
			}
			ctx := cmd.Context()
			op, cluster, err := c.operator(ctx, "")
			if err != nil {
				return err
			}
			defer op.Close()
			cluster = c.newest(ctx, op, cluster)
			told, silent := make([]way.Told, len(cluster.SFUs)), make([]bool, len(cluster.SFUs))
			var asking sync.WaitGroup
			for i := range cluster.SFUs {
				m, t := &cluster.SFUs[i], &told[i]
				t.SFU = m.Name
				asking.Go(func() {
					ctx, cancel := context.WithTimeout(ctx, statusTimeout)
					defer cancel()
					var err1, err2 error
					if m.Type.Gateway() {
						t.Gateway, err1 = gatewaypb.GatewayClient{Caller: op.To(m.Number)}.Trace(ctx, &txnpb.TraceRequest{Id: id})
					}
					if m.Type.Transactions() {
						t.Replica, err2 = txnpb.ReplicaClient{Caller: op.To(m.Number)}.Trace(ctx, &txnpb.TraceRequest{Id: id})
					}
					silent[i] = err1 != nil || err2 != nil
				})
			}
			asking.Wait()
			var names []string
			for i, s := range silent {
				if s {
					names = append(names, cluster.SFUs[i].Name)
				}
			}
			if len(names) > 0 {
				c.out.Say("rrts: %s did not answer: its steps are missing", strings.Join(names, ", "))
			}
			w := way.Lay(told)
			if len(w.Steps) == 0 {
				return fmt.Errorf("no SFU remembers transaction %v: each one remembers its last 32,768, since it was started; rrts tx status %v says what became of it", id, id)
			}
			return c.printWay(id, w)
		},
	}
}

// printWay prints the way of a transaction.
func (c *cli) printWay(id u128.Int, w *way.Way) error {
	if c.json {
		for _, s := range w.Steps {
			if err := c.out.Object(struct {
				SFU        string  `json:"sfu"`
				Step       string  `json:"step"`
				AtMicros   float64 `json:"at_us"`
				TookMicros float64 `json:"took_us"`
			}{s.SFU, s.What, microseconds(s.At), microseconds(s.Took)}); err != nil {
				return err
			}
		}
		return nil
	}
	head := fmt.Sprintf("transaction %v: %v", id, w.Total.Round(time.Microsecond))
	if w.Gateway != "" {
		head += ", gateway " + w.Gateway
	}
	if w.Leader != "" {
		head += ", leader " + w.Leader
	}
	if w.Index != 0 {
		head += fmt.Sprintf(", log entry %d", w.Index)
	}
	if w.Sent > 1 {
		head += fmt.Sprintf(", sent %d times", w.Sent)
	}
	if err := c.out.Text(head + "\n\n"); err != nil {
		return err
	}
	var rows [][]string
	for _, s := range w.Steps {
		took := ""
		if s.Took > 0 {
			took = s.Took.Round(time.Microsecond).String()
		}
		rows = append(rows, []string{s.At.Round(time.Microsecond).String(), took, s.SFU, s.What})
	}
	return c.out.Table([]string{"AT", "TOOK", "SFU", "STEP"}, rows)
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
