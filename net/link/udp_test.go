package link_test

import (
	"net/netip"
	"strings"
	"testing"

	"virtualservicesinc.com/net/link"
)

func TestUDPConfig(t *testing.T) {
	at := netip.MustParseAddrPort
	v4, v6 := at("127.0.0.1:0"), at("[::1]:0")
	for _, test := range []struct {
		cfg  link.UDPConfig
		want string
	}{
		{link.UDPConfig{}, "Listen is no address"},
		{link.UDPConfig{Listen: at("[fe80::1%lo]:1")}, "zone"},
		{link.UDPConfig{Listen: v4, Peers: []netip.AddrPort{v4}}, "127.0.0.1:0 is not"},
		{link.UDPConfig{Listen: v6, Peers: []netip.AddrPort{at("127.0.0.1:7")}}, "127.0.0.1:7 is not"},
		{link.UDPConfig{Listen: v4, Peers: make([]netip.AddrPort, 257)}, "257 addresses of at most 256"},
		{link.UDPConfig{Listen: v4, MTU: -1}, "MTU -1"},
		{link.UDPConfig{Listen: v4, Buffer: -1}, "Buffer -1"},
	} {
		_, err := link.OpenUDP(test.cfg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.cfg, err, test.want)
		}
	}
}
