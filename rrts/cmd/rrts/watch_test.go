package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

// TestWatching: alarms, status, top and trace as an operator of three SFUs sees them.
func TestWatching(t *testing.T) {
	a := newArena(t, 3, func(c *arena.Config) { c.Settings.Metrics.Listen = config.MetricsUnix })
	ctx := run(t, a)
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	for i := range a.SFUs() { // the Monitors' first look was before anybody led
		waitFor(t, ctx, func() error {
			st, err := monitorpb.MonitorClient{Caller: op.To(a.Number(i))}.Status(ctx, &monitorpb.StatusRequest{})
			if err == nil && (st.Replica == nil || st.Replica.Leader == 0 || st.Gateway == nil || len(st.Networks) != 4) {
				err = fmt.Errorf("%s sees %v", a.Name(i), st)
			}
			return err
		})
	}
	id := u128.Int{Hi: uint64(time.Now().UnixMilli())<<16 | 0x7000, Lo: 1 << 63}
	for i := range a.SFUs() {
		text := figures(t, filepath.Join(filepath.Dir(a.ControlSocket(i)), "metrics.sock"))
		st, err := monitorpb.MonitorClient{Caller: op.To(a.Number(i))}.Status(ctx, &monitorpb.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		lead := fmt.Sprintf("\nrrts_leader_sfu %d\n", st.Replica.Leader)
		if info := fmt.Sprintf(`name=%q,sfu="%d"`, a.Name(i), a.Number(i)); !strings.Contains(text, lead) || !strings.Contains(text, info) {
			t.Errorf("no %q or no %s in:\n%s", lead, info, text)
		}
	}
	t.Run("scripts", func(t *testing.T) {
		scripts(t, "testdata/watch", "CONFIG="+a.ConfigDir(0), fmt.Sprint("ID=", id))
	})
}

// figures is what an SFU offers to Prometheus.
func figures(t *testing.T, socket string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	r, err := client.Get("http://sfu/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r.Status, err)
	}
	return string(text)
}
