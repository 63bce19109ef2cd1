package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Limit says when an alarm is raised: when a value has been beyond Raise for Hold. It
// ends when the value is on the other side of Clear.
type Limit struct {
	Raise, Clear float64 // percent, seconds, °C or a number, as the key says
	Hold         time.Duration
}

// MachineAlarms are the limits of what concerns a whole machine.
type MachineAlarms struct {
	CPU         Limit // percent
	Memory      Limit // percent that is left
	DiskSpace   Limit // percent that is left
	DiskLatency Limit // seconds
	Temperature Limit // °C
	Clock       Limit // seconds
}

func (a *MachineAlarms) keys(k *keys) {
	key(k, "cpu", &a.CPU, otherwise(Limit{95, 80, 5 * time.Minute}), above(percent),
		"How busy all processors together are.")
	key(k, "memory", &a.Memory, otherwise(Limit{10, 15, time.Minute}), below(percent),
		"How much memory can be had without swapping.")
	key(k, "disk_space", &a.DiskSpace, otherwise(Limit{10, 12, time.Minute}), below(percent),
		"How much of a file system that holds an SFU's state is free.")
	key(k, "disk_latency", &a.DiskLatency, otherwise(Limit{0.1, 0.05, time.Minute}), above(span),
		"How long a write to such a disk takes, on the average.")
	key(k, "temperature", &a.Temperature, otherwise(Limit{90, 80, time.Minute}), above(celsius),
		"How hot the hottest sensors are.")
	key(k, "clock", &a.Clock, otherwise(Limit{0.25, 0.1, time.Minute}), above(span),
		"How far the machine's clock is from the middle of the machines' clocks.")
}

// SFUAlarms are the limits of what concerns one SFU.
type SFUAlarms struct {
	NetworkLoss   Limit // percent
	CommitLatency Limit // seconds
	Lag           Limit // log entries
}

func (a *SFUAlarms) keys(k *keys) {
	key(k, "network_loss", &a.NetworkLoss, otherwise(Limit{5, 1, 30 * time.Second}), above(percent),
		"How many of the frames to another SFU are lost, on one network.")
	key(k, "commit_latency", &a.CommitLatency, otherwise(Limit{0.25, 0.1, 30 * time.Second}), above(span),
		"How long the slowest hundredth of the transactions takes that this SFU orders.")
	key(k, "lag", &a.Lag, otherwise(Limit{1000, 100, 30 * time.Second}), above(count),
		"How many entries of the log this SFU is behind the leader.")
}

// unit is how the levels of a Limit are written.
type unit struct {
	low, high string // examples
	read      func(string) (float64, bool)
	show      func(float64) string
}

// suffixed is a number from 0 to most with a unit behind it.
func suffixed(suffix, low, high string, most float64) unit {
	return unit{
		low: low, high: high,
		read: func(s string) (float64, bool) {
			digits, ok := strings.CutSuffix(s, suffix)
			v, err := strconv.ParseFloat(digits, 64)
			return v, ok && err == nil && v >= 0 && v <= most
		},
		show: func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) + suffix },
	}
}

var (
	percent = suffixed("%", "10%", "15%", 100)
	celsius = suffixed("C", "80C", "90C", 200)
	count   = suffixed("", "100", "1000", 1e12)
	span    = unit{
		low: "50ms", high: "100ms",
		read: func(s string) (float64, bool) {
			d, err := parseDuration(s)
			return d.Seconds(), err == nil && d >= 0 && d <= maxHold
		},
		show: func(v float64) string { return showDuration(time.Duration(v * float64(time.Second))) },
	}
)

// maxHold bounds how long a condition may have to last: what is looked at after a day
// is no alarm.
const maxHold = 24 * time.Hour

// above is a limit that is exceeded, below one that is fallen short of.
func above(u unit) kind[Limit] { return limit(u, "above", "below") }
func below(u unit) kind[Limit] { return limit(u, "below", "above") }

var limitForm = regexp.MustCompile(`^(above|below) (\S+) for (\S+), until (above|below) (\S+)$`)

func limit(u unit, raise, clear string) kind[Limit] {
	show := func(l Limit) string {
		hold := showDuration(l.Hold)
		return fmt.Sprintf("%s %s for %s, until %s %s", raise, u.show(l.Raise), hold, clear, u.show(l.Clear))
	}
	first, second := u.high, u.low
	if raise == "below" {
		first, second = u.low, u.high
	}
	return quoted(fmt.Sprintf(`two levels and a time, in quotes, such as "%s %s for 1m, until %s %s"`, raise, first, clear, second),
		func(s string) (Limit, string) {
			m := limitForm.FindStringSubmatch(s)
			if m == nil || m[1] != raise || m[4] != clear {
				return Limit{}, "is " + strconv.Quote(s)
			}
			first, ok1 := u.read(m[2])
			second, ok2 := u.read(m[5])
			hold, err := parseDuration(m[3])
			switch {
			case !ok1:
				return Limit{}, "names the level " + strconv.Quote(m[2])
			case !ok2:
				return Limit{}, "names the level " + strconv.Quote(m[5])
			case err != nil || hold < 0 || hold > maxHold:
				return Limit{}, "names the time " + strconv.Quote(m[3])
			case raise == "above" && second > first, raise == "below" && second < first:
				return Limit{}, fmt.Sprintf("would end at %s, while it is raised %s %s", m[5], raise, m[2])
			}
			return Limit{first, second, hold}, ""
		}, show)
}

// MetricsUnix is the MetricsSettings.Listen that means a Unix socket beside the SFU's
// control socket.
const MetricsUnix = "unix"

// MetricsSettings says where the SFU's figures can be read.
type MetricsSettings struct {
	Listen string // MetricsUnix, HOST:PORT, or empty: nowhere
}

func (s *MetricsSettings) keys(k *keys) {
	key(k, "listen", &s.Listen, optional[string](`"127.0.0.1:7409"`), metricsAddress,
		`Where Prometheus reads the SFU's figures, at /metrics: "unix" for the socket metrics.sock beside the control socket, or an address of this machine. There is no login: who reaches the address reads them. Without it they are not offered.`)
}

// metricsAddress is an address of this machine: one that is named, not all.
var metricsAddress = quoted(`"unix", or an IP address of this machine and a port, in quotes, such as "127.0.0.1:7409"`,
	func(s string) (string, string) {
		if s == MetricsUnix {
			return s, ""
		}
		host, port, err := net.SplitHostPort(s)
		if err != nil || !goodPort(port, 1) {
			return "", "is " + strconv.Quote(s)
		}
		if a, err := netip.ParseAddr(host); err != nil || a.IsUnspecified() || a.IsMulticast() {
			return "", "is " + strconv.Quote(s)
		}
		return s, ""
	}, func(s string) string { return s })
