package session

import (
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/net/wire"
)

func TestConfigDefaults(t *testing.T) {
	w := newWorld(t, 61, nil)
	c := w.node[0].session.cfg
	if c.ProbeInterval != 25*time.Millisecond || c.ProbeMisses != 4 || c.Suspect != 120*time.Millisecond || c.Dead != time.Second ||
		c.HoldDown != time.Second || c.HoldDownMax != 30*time.Second || c.RekeyAfter != 120*time.Second || c.RekeyFrames != 1<<26 ||
		c.KeepPrevious != 5*time.Second || c.LaneBytes != DefaultLaneBytes {
		t.Errorf("defaults: %+v", c)
	}
}

// TestConfigFaults: every fault is reported, all at once, with its name.
func TestConfigFaults(t *testing.T) {
	good := newWorld(t, 62, nil).node[0].cfg
	tests := []struct {
		change func(c *Config)
		want   string
	}{
		{func(c *Config) { c.Local = 0 }, "Local must be set"},
		{func(c *Config) { c.Peer.SFU = 0 }, "Peer.SFU must be set"},
		{func(c *Config) { c.Peer.SFU = c.Local }, "must not be Local"},
		{func(c *Config) { c.Key = KeyPair{} }, "Key must be set"},
		{func(c *Config) { c.Key.Public[3]++ }, "Key.Public must belong to Key.Private"},
		{func(c *Config) { c.Peer.Public = [32]byte{} }, "Peer.Public must be set"},
		{func(c *Config) { c.Peer.Public = c.Key.Public }, "Peer.Public must not be Key.Public"},
		{func(c *Config) { c.PSK = [32]byte{} }, "PSK must be set"},
		{func(c *Config) { c.Slot = 0 }, "Slot must be set"},
		{func(c *Config) { c.Incarnation = 0 }, "Incarnation must be set"},
		{func(c *Config) { c.Rand = nil }, "Rand must be set"},
		{func(c *Config) { c.MTU = [networks]int{} }, "at least one network"},
		{func(c *Config) { c.MTU[B] = MinMTU - 1 }, "MTU[B] = 1199"},
		{func(c *Config) { c.MTU[A] = wire.MaxFrame + 1 }, "MTU[A] = 9217"},
		{func(c *Config) { c.LaneBytes[2] = minLaneBytes - 1 }, "LaneBytes[2] = 65535"},
		{func(c *Config) { c.LaneBytes[1] = MaxLaneBytes + 1 }, "LaneBytes[1]"},
		{func(c *Config) { c.ProbeInterval = -1 }, "ProbeInterval"},
		{func(c *Config) { c.ProbeMisses = -1 }, "ProbeMisses"},
		{func(c *Config) { c.Suspect = 25 * time.Millisecond }, "Suspect 25ms must be more than ProbeInterval 25ms"},
		{func(c *Config) { c.Dead = 100 * time.Millisecond }, "Dead 100ms must be more than Suspect 120ms"},
		{func(c *Config) { c.HoldDown = -1 }, "HoldDown"},
		{func(c *Config) { c.HoldDownMax = time.Millisecond }, "HoldDownMax 1ms must not be less than HoldDown 1s"},
		{func(c *Config) { c.KeepPrevious = -1 }, "KeepPrevious"},
		{func(c *Config) { c.RekeyAfter = time.Second }, "RekeyAfter 1s must be more than KeepPrevious 5s"},
		{func(c *Config) { c.RekeyFrames = maxKeyFrames + 1 }, "RekeyFrames"},
	}
	bad := good
	for _, test := range tests {
		c := good
		test.change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "session: ") {
			t.Errorf("want %q, got %v", test.want, err)
		}
	}
	bad.Rand, bad.Slot, bad.PSK = nil, 0, [32]byte{}
	if _, err := New(bad); err == nil || strings.Count(err.Error(), "must be set") != 3 {
		t.Errorf("three faults: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{A.String(), "A"}, {B.String(), "B"}, {Network(5).String(), "network(5)"},
		{Both.String(), "A+B"}, {OnB.String(), "B"}, {None.String(), "none"},
		{CrossWired.String(), "cross-wired"}, {EventKind(99).String(), "event(99)"},
		{Protocol.String(), "protocol"}, {Reason(99).String(), "reason(99)"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}
