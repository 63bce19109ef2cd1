package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// sfuStatus is one line of `rrts status --json`.
type sfuStatus struct {
	SFU          uint16   `json:"sfu"`
	Name         string   `json:"name"`
	Type         string   `json:"type"`
	Reachable    bool     `json:"reachable"`
	Error        string   `json:"error,omitempty"`
	Software     string   `json:"software,omitempty"`
	UptimeS      uint64   `json:"uptime_s,omitempty"`
	ResidentMB   float64  `json:"resident_mb,omitempty"`
	Role         string   `json:"role,omitempty"`
	Term         uint64   `json:"term,omitempty"`
	AppliedIndex uint64   `json:"applied_index,omitempty"`
	Lag          uint64   `json:"lag"`
	CSN          uint64   `json:"csn,omitempty"`
	Transactions uint64   `json:"transactions,omitempty"`
	NetworksUp   string   `json:"networks_up,omitempty"`
	Alarms       []string `json:"alarms,omitempty"`
}

// statusTimeout is how long one SFU may take to answer.
const statusTimeout = 2 * time.Second

func (c *cli) statusCommand() *cobra.Command {
	var via string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "the cluster at a glance: SFUs, roles, lag, networks, alarms",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op, cluster, err := c.operator(cmd.Context(), via)
			if err != nil {
				return err
			}
			defer op.Close()
			cluster = c.newest(cmd.Context(), op, cluster)
			// All at once: one that is silent must not make the others' answers old.
			all := make([]*sfuStatus, len(cluster.SFUs))
			var asking sync.WaitGroup
			for i := range cluster.SFUs {
				asking.Go(func() { all[i] = askStatus(cmd.Context(), op, &cluster.SFUs[i]) })
			}
			asking.Wait()
			var highest uint64
			for _, s := range all {
				highest = max(highest, s.AppliedIndex)
			}
			unreachable := 0
			for _, s := range all {
				if s.AppliedIndex > 0 {
					s.Lag = highest - s.AppliedIndex
				}
				if !s.Reachable {
					unreachable++
				}
			}
			if err := c.showStatus(cluster, all); err != nil {
				return err
			}
			if unreachable > 0 {
				return fmt.Errorf("%d of %d SFUs do not answer", unreachable, len(all))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&via, "sfu", "", "ask through this SFU of this machine (default: any that answers)")
	return cmd
}

// newest returns the cluster by the roster that it has now; while nobody leads, by
// what this machine starts from.
func (c *cli) newest(ctx context.Context, op *client.Client, cluster *config.Cluster) *config.Cluster {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answer, err := txnpb.MembersClient{Caller: op}.List(ctx, &txnpb.ListMembers{})
	if err != nil || answer.Roster == nil {
		return cluster
	}
	if now, err := members.Cluster(cluster, answer.Roster); err == nil {
		return now
	}
	return cluster
}

// askStatus asks one SFU's Monitor and, where it has one, its replica.
func askStatus(ctx context.Context, op *client.Client, m *config.Member) *sfuStatus {
	s := &sfuStatus{SFU: m.Number, Name: m.Name, Type: string(m.Type)}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	mon, err := monitorpb.MonitorClient{Caller: op.To(m.Number)}.Status(ctx, &monitorpb.StatusRequest{})
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Reachable, s.Software, s.UptimeS = true, mon.Software, mon.UptimeMillis/1000
	s.ResidentMB = float64(mon.ResidentBytes/1000) / 1000
	down := map[string]bool{}
	for _, n := range mon.Networks {
		if !n.Up {
			down[n.Network] = true
		}
	}
	for _, n := range []string{"A", "B"} {
		if !down[n] {
			s.NetworksUp += n
		}
	}
	for _, a := range mon.Alarms {
		s.Alarms = append(s.Alarms, fmt.Sprintf("%s %s: %s", a.Severity, a.Name, a.Detail))
	}
	if !m.Type.Transactions() {
		return s
	}
	rep, err := txnpb.ReplicaClient{Caller: op.To(m.Number)}.Status(ctx, &txnpb.ReplicaStatusRequest{})
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Role, s.Term, s.AppliedIndex = rep.Role, rep.Term, rep.AppliedIndex
	s.CSN, s.Transactions = rep.Csn, rep.Transactions
	return s
}

func (c *cli) showStatus(cluster *config.Cluster, all []*sfuStatus) error {
	if c.json {
		for _, s := range all {
			if err := c.out.Object(s); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	var alarms []string
	for _, s := range all {
		if !s.Reachable {
			rows = append(rows, []string{s.Name, s.Type, "does not answer", "", "", "", "", ""})
			continue
		}
		networks := strings.Join(strings.Split(s.NetworksUp, ""), "+")
		if networks == "" {
			networks = "none"
		}
		rows = append(rows, []string{
			s.Name, s.Type, s.Role, fmt.Sprint(s.CSN), fmt.Sprint(s.Lag), networks,
			fmt.Sprintf("%.0f MB", s.ResidentMB), (time.Duration(s.UptimeS) * time.Second).String(),
		})
		for _, a := range s.Alarms {
			alarms = append(alarms, s.Name+": "+a)
		}
	}
	if err := c.out.Table([]string{"SFU", "TYPE", "ROLE", "CSN", "LAG", "NETWORKS", "MEMORY", "UP"}, rows); err != nil {
		return err
	}
	if len(alarms) == 0 {
		alarms = []string{"no alarms"}
	}
	return c.out.Table(nil, [][]string{{fmt.Sprintf("\ncluster %s, %d SFUs", cluster.Name, len(all))}, {strings.Join(alarms, "\n")}})
}
