package members

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func shop(t *testing.T) *config.Cluster {
	t.Helper()
	m, err := genesis.Create(genesis.Spec{Name: "shop", SFUs: []genesis.SFU{
		{Name: "alpha", Gateways: []string{"pc1.example:7400"}, UDPA: netip.MustParseAddrPort("192.168.7.1:7401")},
		{Name: "bravo", Number: 4, Gateways: []string{"pc2.example:7400"}, UDPA: netip.MustParseAddrPort("192.168.7.2:7401"), UDPB: netip.MustParseAddrPort("192.168.8.2:7401")},
		{Name: "wit", Number: 9, Type: config.TypeWitness, Carrier: config.UDP, UDPA: netip.MustParseAddrPort("192.168.7.9:7401")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return m.Cluster
}

func TestThereAndBack(t *testing.T) {
	c := shop(t)
	r := Roster(c)
	if r.LastNumber != 9 || len(r.Members) != 3 {
		t.Fatalf("%+v", r)
	}
	r.Version = 7
	back, err := Cluster(c, r)
	if err != nil {
		t.Fatal(err)
	}
	c.Roster = 7
	equal := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(c, back, equal); diff != "" {
		t.Error(diff)
	}
	r.Members[1].Leaving = true
	back, err = Cluster(c, r)
	if err != nil || len(back.SFUs) != 2 || back.SFUs[1].Name != "wit" {
		t.Errorf("with one that leaves: %+v, %v", back, err)
	}
}

func TestRefuses(t *testing.T) {
	for _, tt := range []struct {
		change func(m *txnpb.Member)
		want   string
	}{
		{func(m *txnpb.Member) { m.Number = 70000 }, "number 70000"},
		{func(m *txnpb.Member) { m.PublicKey = m.PublicKey[:31] }, "31 bytes"},
		{func(m *txnpb.Member) { m.UdpA = "nowhere" }, "nowhere"},
		{func(m *txnpb.Member) { m.Name = "alpha" }, "own name"},
		{func(m *txnpb.Member) { m.Name = "../x" }, "name"},
		{func(m *txnpb.Member) { m.Gateways = nil }, "gateways"},
		{func(m *txnpb.Member) { m.Machine = "alpha" }, "voter"},
	} {
		c := shop(t)
		r := Roster(c)
		tt.change(&r.Members[1])
		if _, err := Cluster(c, r); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}
