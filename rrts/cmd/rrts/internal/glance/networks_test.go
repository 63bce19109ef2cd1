package glance

import (
	"testing"

	"virtualservicesinc.com/rrts/schema/monitorpb"
)

func TestNetworksUp(t *testing.T) {
	on := func(peer uint32, name string, up bool) monitorpb.NetworkStatus {
		return monitorpb.NetworkStatus{Peer: peer, Network: name, Up: up}
	}
	for _, c := range []struct {
		all  []monitorpb.NetworkStatus
		want string
	}{
		{nil, "A+B"}, // alone
		{[]monitorpb.NetworkStatus{on(2, "A", true), on(2, "B", true), on(3, "udp_a", true)}, "A+B+udp_a"},
		{[]monitorpb.NetworkStatus{on(2, "A", true), on(2, "B", true), on(3, "A", false), on(3, "B", true)}, "B"},
		{[]monitorpb.NetworkStatus{on(2, "udp_a", true), on(3, "udp_a", true)}, "udp_a"},  // a witness
		{[]monitorpb.NetworkStatus{on(2, "udp_a", true), on(3, "udp_a", false)}, "udp_a"}, // a peer that is silent everywhere
		{[]monitorpb.NetworkStatus{on(2, "udp_a", false)}, ""},
		{[]monitorpb.NetworkStatus{on(2, "machine", true)}, "machine"},
	} {
		var s SFU
		if s.takeNetworks(c.all); s.NetworksUp != c.want {
			t.Errorf("%v: %q, want %q", c.all, s.NetworksUp, c.want)
		}
	}
}
