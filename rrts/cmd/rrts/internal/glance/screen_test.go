package glance

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

var update = flag.Bool("update", false, "write the screens")

// shop is a cluster in trouble: a network is down, an SFU is silent, another one is sent
// the state, and alarms stand.
func shop(alarms int) *Cluster {
	names := map[uint32]string{1: "alpha", 2: "bravo", 3: "carol", 4: "delta"}
	c := &Cluster{Name: "shop"}
	for n := uint32(1); n <= 4; n++ {
		s := SFU{SFU: uint16(n), Name: names[n], Type: "all"}
		if n == 4 {
			s.Error = "unavailable"
			c.SFUs = append(c.SFUs, s)
			continue
		}
		st := &monitorpb.MonitorStatus{Software: "1.0", UptimeMillis: 7_400_000, ResidentBytes: 41_200_000,
			Recent:  &monitorpb.Recent{Millis: 5000, CpuThousandths: 8},
			Replica: &txnpb.ReplicaStatus{Role: "follower", Csn: 1_204_000, AppliedIndex: 90_000}, Gateway: &gatewaypb.GatewayStatus{Connections: 3}}
		for peer := uint32(1); peer <= 3; peer++ {
			for _, network := range []string{"A", "B"} {
				if peer != n {
					st.Networks = append(st.Networks, monitorpb.NetworkStatus{Peer: peer, Network: network, Up: network == "B" || peer+n != 5, RttMicros: 180 + uint64(peer), LossMillionths: 300})
				}
			}
		}
		switch n {
		case 1:
			st.Replica.Role, st.Recent.Transactions, st.Recent.P99Micros, st.Recent.CpuThousandths = "leader", 6020, 4130, 230
			st.Replica.Progress = []txnpb.Progress{{Task: txnpb.TaskStateSent, Sfu: 3, Done: 120_000_000, AgeMillis: 3000}}
			st.Machine = &monitorpb.MachineStatus{Name: "pc1", Processors: 4, CpuThousandths: 123, MemoryBytes: 8e9, MemoryAvailableBytes: 4.9e9, ClockKnown: true, ClockOffsetMicros: -300,
				Disks:   []monitorpb.DiskStatus{{Directory: "/srv", Bytes: 250e9, FreeBytes: 100e9, WriteMicros: 1240}, {Directory: "/big", Bytes: 900e9, FreeBytes: 800e9}},
				Sensors: []monitorpb.SensorStatus{{Name: "a", Millicelsius: 41000}, {Name: "b", Millicelsius: 61300}},
				Watchdog: &monitorpb.WatchdogStatus{State: "armed", Resets: 1, LastReset: uint64(time.Now().Add(-12 * time.Minute).UnixMilli()),
					LastResetWhy: "the machine ended without a word: it stood still, or lost its power"}}
		case 3:
			st.Lag, st.Replica.Role = 5120, "learner"
		}
		if n == 2 {
			st.Alarms = append(st.Alarms, monitorpb.Alarm{Name: "network-a-down@3", Severity: "warning", Detail: "SFU 3 is heard on network B only", AgeMillis: 61_000, Count: 7, Flapping: true})
		}
		for i := range alarms {
			if n == 1 {
				st.Alarms = append(st.Alarms, monitorpb.Alarm{Name: fmt.Sprintf("peer-lost@%d", 4+i), Severity: "critical", Detail: fmt.Sprintf("SFU %d is silent on every network", 4+i), AgeMillis: 5000, Count: 1, AcknowledgedBy: "anna"})
			}
		}
		s.take(st, config.TypeAll, names)
		c.SFUs = append(c.SFUs, s)
	}
	return c
}

// TestScreens holds what people see to files, and to the terminal that it must fit.
func TestScreens(t *testing.T) {
	quiet := &Cluster{Name: "shop", SFUs: []SFU{{SFU: 1, Name: "alpha", Type: "edge", Reachable: true, NetworksUp: "A+B", ResidentMB: 30}}}
	many := shop(6)
	for n := 5; n < 9; n++ {
		s := many.SFUs[1]
		s.SFU, s.Name, s.Alarms = uint16(n), fmt.Sprint("sfu-", n), nil
		many.SFUs = append(many.SFUs, s)
	}
	for _, x := range []struct {
		name          string
		c             *Cluster
		width, height int
	}{{"trouble", shop(1), 80, 24}, {"many-alarms", shop(30), 80, 24}, {"wide", shop(1), 0, 0}, {"many-sfus", many, 80, 24}, {"quiet", quiet, 80, 24}, {"narrow", shop(1), 40, 10}} {
		got := x.c.Screen("", x.width, x.height)
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if x.height > 0 && len(lines) > x.height {
			t.Errorf("%s: %d lines", x.name, len(lines))
		}
		for _, l := range lines {
			if x.width > 0 && utf8.RuneCountInString(l) > x.width {
				t.Errorf("%s: %d columns: %s", x.name, utf8.RuneCountInString(l), l)
			}
		}
		file := "testdata/" + x.name
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || string(want) != got {
			t.Errorf("%s (%v):\n%s\nwant:\n%s", x.name, err, got, want)
		}
	}
}
