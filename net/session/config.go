package session

import (
	"errors"
	"fmt"
	"io"
	"time"

	"virtualservicesinc.com/net/wire"
)

// Network is one of the two interconnect networks.
type Network uint8

const (
	A Network = 0
	B Network = 1

	networks = 2
)

func (n Network) String() string {
	if n < networks {
		return string('A' + rune(n))
	}
	return fmt.Sprintf("network(%d)", uint8(n))
}

// Networks is a set of networks: bit n stands for Network n.
type Networks uint8

const (
	None Networks = 0
	OnA  Networks = 1 << A
	OnB  Networks = 1 << B
	Both Networks = OnA | OnB
)

// Has reports whether the set holds n.
func (s Networks) Has(n Network) bool { return s>>n&1 != 0 }

func (s Networks) String() string { return [...]string{"none", "A", "B", "A+B"}[s&Both] }

// Lane is one of the ordered streams of records; a lower lane goes first, and
// lanes 0 and 1 always leave on both networks.
type Lane = uint8

const (
	LaneControl Lane = 0 // votes, heartbeats
	LaneCommit  Lane = 1 // log appends
	LaneRequest Lane = 2 // requests and replies: on both networks while there is room
	LaneBulk    Lane = 3 // snapshots: striped over the networks

	lanes = wire.Lanes
)

// KeyPair is an X25519 key pair.
type KeyPair struct {
	Private, Public [32]byte
}

// Peer is what is known of another SFU before it is heard.
type Peer struct {
	SFU    uint16   // its number, 1–65535
	Public [32]byte // its X25519 public key
}

// Config describes one session. A zero field takes the default that its comment
// names, unless the comment says that it must be set.
type Config struct {
	// Local is this SFU's number. Must be set.
	Local uint16
	// Key is this SFU's static key pair. Must be set.
	Key KeyPair
	// Peer is the other side. Must be set, and its number must not be Local.
	Peer Peer
	// PSK is the cluster's pre-shared key. Must be set.
	PSK [32]byte
	// ClusterHash is the first 32 bits of a hash of the cluster's id; frames that
	// bear another one are not ours.
	ClusterHash uint32
	// Slot is the number by which the peer's frames name this session; the caller
	// keeps it unique among the sessions of its process. Must be set, 1–65535.
	Slot uint16
	// Incarnation numbers the lives of this SFU: higher at every start of the
	// process, and on its disk before it is handed in. Must be set.
	Incarnation uint64
	// Rand is the source of ephemeral keys and of the jitter of handshake retries.
	// Must be set; crypto/rand.Reader outside of tests.
	Rand io.Reader
	// NoAES says that this CPU has no AES instructions: ChaCha20-Poly1305 is
	// offered and taken instead of AES-256-GCM. One such side is enough.
	NoAES bool

	// MTU is the longest frame that each network's link carries, in bytes of our
	// frame; 0 means that there is no such network. At least one must be there,
	// each MinMTU–wire.MaxFrame. Above BaseMTU it is used only after a probe of
	// that length was answered.
	MTU [networks]int
	// Pacer is the queue of each network's NIC, which the sessions of a process share; nil
	// keeps no frame back.
	Pacer [networks]*Pacer
	// LaneBytes bounds each lane, in bytes: what Send holds until the peer has it,
	// what the peer may send before the caller has taken it, and twice the longest
	// record. The lower bound of both sides holds. Default DefaultLaneBytes; each
	// 64 KiB to MaxLaneBytes.
	LaneBytes [lanes]int

	// ProbeInterval is the time between two probes of a network. Default 25 ms.
	ProbeInterval time.Duration
	// ProbeMisses is how many probes in a row may stay unanswered before the
	// network is down. Default 4.
	ProbeMisses int
	// Suspect is the silence on all networks after which the peer is suspected.
	// Default 120 ms; more than ProbeInterval.
	Suspect time.Duration
	// Dead is the silence on all networks after which the peer is lost. Default
	// 1 s; more than Suspect.
	Dead time.Duration
	// HoldDown is how long a network that came back stays out of use for striping
	// after its first failure; it doubles with every failure up to HoldDownMax.
	// Default 1 s.
	HoldDown time.Duration
	// HoldDownMax is the longest hold-down. Default 30 s; not less than HoldDown.
	HoldDownMax time.Duration
	// RekeyAfter is the age at which a key is replaced. Default 120 s; more than
	// KeepPrevious.
	RekeyAfter time.Duration
	// RekeyFrames is the number of frames sealed under one key after which it is
	// replaced. Default 2²⁶.
	RekeyFrames uint64
	// KeepPrevious is how long a replaced key still opens frames. Default 5 s.
	KeepPrevious time.Duration
}

// Bounds and defaults, with their reasons.
const (
	// MinMTU is the shortest frame that a link must carry: Ethernet's smallest
	// standard MTU with IPv6 under it, so that UDP carriers fit too.
	MinMTU = 1200
	// BaseMTU is the frame length that is used without a probe.
	BaseMTU = 1500
	// MaxLaneBytes keeps a lane's window inside the 32 bits of the handshake and a
	// peer's memory inside what a cheap desktop has.
	MaxLaneBytes = 256 << 20
	// minLaneBytes lets a lane keep at least a few full frames in flight.
	minLaneBytes = 64 << 10
)

// DefaultLaneBytes bounds the lanes: control carries small records; commit and
// request hold some ten milliseconds of a 10 Gbit/s network; bulk holds two records
// of 16 MiB.
var DefaultLaneBytes = [lanes]int{256 << 10, 16 << 20, 16 << 20, 32<<20 + 64}

// fill sets the defaults.
func (c *Config) fill() {
	for i := range c.LaneBytes {
		if c.LaneBytes[i] == 0 {
			c.LaneBytes[i] = DefaultLaneBytes[i]
		}
	}
	duration := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	duration(&c.ProbeInterval, 25*time.Millisecond)
	duration(&c.Suspect, 120*time.Millisecond)
	duration(&c.Dead, time.Second)
	duration(&c.HoldDown, time.Second)
	duration(&c.HoldDownMax, 30*time.Second)
	duration(&c.RekeyAfter, 120*time.Second)
	duration(&c.KeepPrevious, 5*time.Second)
	if c.ProbeMisses == 0 {
		c.ProbeMisses = 4
	}
	if c.RekeyFrames == 0 {
		c.RekeyFrames = 1 << 26
	}
}

// validate reports every fault of a filled Config at once.
func (c *Config) validate() error {
	var faults []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("session: "+format, a...))
		}
	}
	check(c.Local != 0, "Local must be set")
	check(c.Peer.SFU != 0, "Peer.SFU must be set")
	check(c.Local != c.Peer.SFU, "Peer.SFU %d must not be Local", c.Peer.SFU)
	check(c.Key.Private != [32]byte{} && c.Key.Public != [32]byte{}, "Key must be set")
	check(c.Peer.Public != [32]byte{}, "Peer.Public must be set")
	pair, err := NewKeyPair(c.Key.Private)
	check(err == nil && pair == c.Key, "Key.Public must belong to Key.Private")
	check(c.Peer.Public != c.Key.Public, "Peer.Public must not be Key.Public")
	check(c.PSK != [32]byte{}, "PSK must be set")
	check(c.Slot != 0, "Slot must be set")
	check(c.Incarnation != 0, "Incarnation must be set")
	check(c.Rand != nil, "Rand must be set")
	check(c.MTU != [networks]int{}, "MTU must be set for at least one network")
	for n, mtu := range c.MTU {
		check(mtu == 0 || mtu >= MinMTU && mtu <= wire.MaxFrame, "MTU[%v] = %d must be 0 or %d–%d", Network(n), mtu, MinMTU, wire.MaxFrame)
	}
	for l, n := range c.LaneBytes {
		check(n >= minLaneBytes && n <= MaxLaneBytes, "LaneBytes[%d] = %d must be %d–%d", l, n, minLaneBytes, MaxLaneBytes)
	}
	check(c.ProbeInterval > 0, "ProbeInterval %v must be positive", c.ProbeInterval)
	check(c.ProbeMisses > 0, "ProbeMisses %d must be positive", c.ProbeMisses)
	check(c.Suspect > c.ProbeInterval, "Suspect %v must be more than ProbeInterval %v", c.Suspect, c.ProbeInterval)
	check(c.Dead > c.Suspect, "Dead %v must be more than Suspect %v", c.Dead, c.Suspect)
	check(c.HoldDown > 0, "HoldDown %v must be positive", c.HoldDown)
	check(c.HoldDownMax >= c.HoldDown, "HoldDownMax %v must not be less than HoldDown %v", c.HoldDownMax, c.HoldDown)
	check(c.KeepPrevious > 0, "KeepPrevious %v must be positive", c.KeepPrevious)
	check(c.RekeyAfter > c.KeepPrevious, "RekeyAfter %v must be more than KeepPrevious %v", c.RekeyAfter, c.KeepPrevious)
	check(c.RekeyFrames <= maxKeyFrames, "RekeyFrames %d must not be more than %d", c.RekeyFrames, maxKeyFrames)
	return errors.Join(faults...)
}
