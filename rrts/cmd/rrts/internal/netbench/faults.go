package netbench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
)

// Where a network is cut.
const (
	CutSender   = "sender"   // the measuring side's interface goes down
	CutReceiver = "receiver" // the serving side's interface goes down
	CutOneWay   = "oneway"   // what the measuring side sends vanishes; nobody is told
)

// Cut is a network that is cut while a measurement runs.
type Cut struct {
	Network fabric.Network
	At      time.Duration // after the begin
	Where   string
}

// Loss is the share of a network's frames that vanish, in either direction.
type Loss struct {
	Network fabric.Network
	Share   float64 // 0 to 1
}

// ParseCut reads "A@2s" or "B@500ms:receiver".
func ParseCut(s string) (Cut, error) {
	spec, where, _ := strings.Cut(s, ":")
	name, at, ok := strings.Cut(spec, "@")
	n, err := parseNetwork(name)
	if err != nil || !ok {
		return Cut{}, fmt.Errorf("cut %q is not NETWORK@TIME, such as A@2s", s)
	}
	c := Cut{Network: n, Where: where}
	if c.At, err = time.ParseDuration(at); err != nil || c.At < 0 {
		return Cut{}, fmt.Errorf("cut %q: %q is no time after the begin, such as 2s", s, at)
	}
	switch c.Where {
	case "":
		c.Where = CutSender
	case CutSender, CutReceiver, CutOneWay:
	default:
		return Cut{}, fmt.Errorf("cut %q: %q must be %s, %s or %s", s, where, CutSender, CutReceiver, CutOneWay)
	}
	return c, nil
}

// ParseLoss reads "A=5%" or "B=0.05".
func ParseLoss(s string) (Loss, error) {
	name, share, ok := strings.Cut(s, "=")
	n, err := parseNetwork(name)
	if err != nil || !ok {
		return Loss{}, fmt.Errorf("loss %q is not NETWORK=SHARE, such as A=5%%", s)
	}
	number, percent := strings.CutSuffix(share, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return Loss{}, fmt.Errorf("loss %q: %q is not between 0%% and 100%%", s, share)
	}
	return Loss{Network: n, Share: v}, nil
}

func parseNetwork(s string) (fabric.Network, error) {
	switch s {
	case "A":
		return fabric.A, nil
	case "B":
		return fabric.B, nil
	}
	return 0, fmt.Errorf("network %q must be A or B", s)
}

// lossy is a link that loses arriving frames at will. The kernel has carried them all
// the way, so what is measured under loss includes the cost of the lost ones.
type lossy struct {
	*link.Packet
	share atomic.Uint64 // bits of the share that is lost
}

func (l *lossy) lose(share float64) { l.share.Store(math.Float64bits(share)) }

// Poll keeps those of the frames that are not lost. The fabric polls packet links; it
// never calls Receive.
func (l *lossy) Poll(frames []link.Frame) (n int, more bool) {
	n, more = l.Packet.Poll(frames)
	return l.sift(frames[:n]), more
}

// sift moves the frames that are kept to the front and returns their number.
func (l *lossy) sift(frames []link.Frame) (kept int) {
	share := math.Float64frombits(l.share.Load())
	if share == 0 {
		return len(frames)
	}
	for i := range frames {
		if rand.Float64() >= share {
			frames[kept], frames[i] = frames[i], frames[kept]
			kept++
		}
	}
	return kept
}

// setDown takes an interface of this host down or up.
func setDown(nic string, down bool) error {
	l, err := netlink.LinkByName(nic)
	if err != nil {
		return fmt.Errorf("netbench: interface %s: %w", nic, err)
	}
	if down {
		err = netlink.LinkSetDown(l)
	} else {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("netbench: interface %s: %w", nic, err)
	}
	return nil
}
