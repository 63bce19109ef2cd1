package config

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// kind is one kind of value: how it is read from TOML and written again.
type kind[T any] struct {
	form string                // completes the cure "write …"
	read func(any) (T, string) // the problem completes "key …: …"; empty means none
	show func(T) string        // as a TOML value
}

// describe names a TOML value in a fault.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case int64:
		return fmt.Sprintf("the number %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprintf("%v", v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// quoted makes a kind of what is written as text in quotes.
func quoted[T any](form string, parse func(string) (T, string), show func(T) string) kind[T] {
	return kind[T]{
		form: form,
		read: func(v any) (T, string) {
			s, ok := v.(string)
			if !ok {
				var zero T
				return zero, "is " + describe(v)
			}
			return parse(s)
		},
		show: func(v T) string { return quote(show(v)) },
	}
}

// quote writes text as a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func matching(form string, re *regexp.Regexp) kind[string] {
	return quoted(form, func(s string) (string, string) {
		if !re.MatchString(s) {
			return "", "is " + strconv.Quote(s)
		}
		return s, ""
	}, func(s string) string { return s })
}

var (
	// An SFU's name is part of a unit's name, of paths and of socket addresses,
	// which are 108 bytes at most.
	sfuName     = matching(`1 to 32 letters a-z, digits and "-", in quotes, such as "alpha"`, regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`))
	machineName = matching(`1 to 63 letters a-z, digits, "-" and ".", in quotes, such as "pc1"`, regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`))
	clusterName = matching(`1 to 63 letters a-z, digits and "-", in quotes, such as "shop"`, regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`))
	nicName     = matching(`the name of a network interface, at most 15 characters, such as "enp3s0"`, regexp.MustCompile(`^[^\s/:]{1,15}$`))
)

// line is a line of text.
var line = matching("a line of text in quotes, at most 200 characters", regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,200}$`))

// absolute is the path of a directory, in its shortest form.
var absolute = quoted(`an absolute path in quotes, without "." or ".." in it and "/" at its end`,
	func(s string) (string, string) {
		if !filepath.IsAbs(s) || filepath.Clean(s) != s || s == "/" || strings.ContainsRune(s, 0) {
			return "", "is " + strconv.Quote(s)
		}
		return s, ""
	}, func(s string) string { return s })

// oneOf is text out of a list.
func oneOf[T ~string](words ...T) kind[T] {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = strconv.Quote(string(w))
	}
	return quoted("one of "+strings.Join(list, ", "), func(s string) (T, string) {
		for _, w := range words {
			if string(w) == s {
				return w, ""
			}
		}
		return "", "is " + strconv.Quote(s)
	}, func(v T) string { return string(v) })
}

var boolean = kind[bool]{
	form: "true or false, without quotes",
	read: func(v any) (bool, string) {
		b, ok := v.(bool)
		if !ok {
			return false, "is " + describe(v)
		}
		return b, ""
	},
	show: func(v bool) string { return strconv.FormatBool(v) },
}

type integers interface {
	~int | ~int64 | ~uint16 | ~uint32 | ~uint64
}

// integer is a whole number from low to high.
func integer[T integers](low, high T) kind[T] {
	return number(low, high, "%d")
}

// etherType is an EtherType: above the lengths of IEEE 802.3.
var etherType = number[uint16](0x0600, 0xffff, "0x%04X")

func number[T integers](low, high T, format string) kind[T] {
	return kind[T]{
		form: fmt.Sprintf("a number from "+format+" to "+format+", without quotes", low, high),
		read: func(v any) (T, string) {
			n, ok := v.(int64)
			if !ok {
				return 0, "is " + describe(v)
			}
			if n < int64(low) || n > int64(high) {
				return 0, fmt.Sprintf("is "+format+", outside its bounds", n)
			}
			return T(n), ""
		},
		show: func(v T) string { return fmt.Sprintf(format, v) },
	}
}

// duration is a time span from low to high.
func duration(low, high time.Duration) kind[time.Duration] {
	return quoted(fmt.Sprintf("a time from %q to %q, in quotes, with its unit: ms, s, m, h or d", showDuration(low), showDuration(high)),
		func(s string) (time.Duration, string) {
			v, err := parseDuration(s)
			if err != nil {
				return 0, "is " + strconv.Quote(s) + ", not a time"
			}
			if v < low || v > high {
				return 0, "is " + strconv.Quote(s) + ", outside its bounds"
			}
			return v, ""
		}, showDuration)
}

func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16) // 65,535 days fit a Duration
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

// showDuration writes a time in its largest whole unit.
func showDuration(v time.Duration) string {
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if v%u.size == 0 && v != 0 {
			return fmt.Sprintf("%d%s", v/u.size, u.name)
		}
	}
	return v.String()
}

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// size is a number of bytes from low to high.
func size(low, high int64) kind[int64] {
	return quoted(fmt.Sprintf("a size from %q to %q, in quotes, with its unit: KiB, MiB or GiB", showSize(low), showSize(high)),
		func(s string) (int64, string) {
			v, ok := parseSize(s)
			if !ok {
				return 0, "is " + strconv.Quote(s) + ", not a size"
			}
			if v < low || v > high {
				return 0, "is " + strconv.Quote(s) + ", outside its bounds"
			}
			return v, ""
		}, showSize)
}

func parseSize(s string) (int64, bool) {
	for unit, bytes := range map[string]int64{"KiB": kib, "MiB": mib, "GiB": gib} {
		if digits, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32) // 2³² GiB fit an int64
			return int64(n) * bytes, err == nil
		}
	}
	return 0, false
}

func showSize(v int64) string {
	switch {
	case v%gib == 0 && v != 0:
		return fmt.Sprintf("%dGiB", v/gib)
	case v%mib == 0 && v != 0:
		return fmt.Sprintf("%dMiB", v/mib)
	}
	return fmt.Sprintf("%dKiB", v/kib)
}

// list is a list of 1 to limit values of a kind.
func list[T any](of kind[T], limit int) kind[[]T] {
	return kind[[]T]{
		form: fmt.Sprintf("a list of 1 to %d, each %s", limit, of.form),
		read: func(v any) ([]T, string) {
			l, ok := v.([]any)
			if !ok {
				return nil, "is " + describe(v)
			}
			if len(l) < 1 || len(l) > limit {
				return nil, fmt.Sprintf("has %d values", len(l))
			}
			out := make([]T, len(l))
			for i, e := range l {
				value, problem := of.read(e)
				if problem != "" {
					return nil, fmt.Sprintf("value %d %s", i+1, problem)
				}
				out[i] = value
			}
			return out, ""
		},
		show: func(v []T) string {
			s := make([]string, len(v))
			for i, e := range v {
				s[i] = of.show(e)
			}
			return "[" + strings.Join(s, ", ") + "]"
		},
	}
}

// udpAddress is an IP address and port that a peer can send to.
var udpAddress = quoted(`an IP address and a port, in quotes, such as "192.168.7.1:7401"`,
	func(s string) (netip.AddrPort, string) {
		a, err := netip.ParseAddrPort(s)
		if err != nil || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
			return netip.AddrPort{}, "is " + strconv.Quote(s)
		}
		return a, ""
	},
	func(a netip.AddrPort) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	})

// gatewayAddress is a host and port that clients dial, mailServer one that takes mail.
var (
	gatewayAddress = hostPort("pc1.example:7400")
	mailServer     = hostPort("mail.example.com:587")
)

func hostPort(example string) kind[string] {
	return quoted("a host and a port, in quotes, such as "+strconv.Quote(example),
		func(s string) (string, string) {
			host, port, err := net.SplitHostPort(s)
			if err != nil || !goodPort(port, 1) || !goodHost(host) {
				return "", "is " + strconv.Quote(s)
			}
			return s, ""
		}, func(s string) string { return s })
}

// mailAddress is an address without a name before it.
var mailAddress = quoted(`a mail address, in quotes, such as "anna@example.com"`,
	func(s string) (string, string) {
		a, err := mail.ParseAddress(s)
		if err != nil || a.Address != s || len(s) > 254 {
			return "", "is " + strconv.Quote(s)
		}
		return s, ""
	}, func(s string) string { return s })

// mailUser is what a mail server calls who logs in.
var mailUser = matching(`1 to 254 characters without spaces, in quotes, such as "rrts@example.com"`, regexp.MustCompile(`^[^\s[:cntrl:]]{1,254}$`))

// listenAddress is a host, or none for all addresses, and a port.
var listenAddress = quoted(`an address to listen on, in quotes, such as ":7400" or "192.168.1.5:7400"`,
	func(s string) (string, string) {
		host, port, err := net.SplitHostPort(s)
		if err != nil || !goodPort(port, 0) || host != "" && !goodHost(host) {
			return "", "is " + strconv.Quote(s)
		}
		return s, ""
	}, func(s string) string { return s })

func goodPort(s string, low uint64) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n >= low
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?)*\.?$`)

func goodHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return !a.IsUnspecified()
	}
	return len(s) <= 253 && hostName.MatchString(s)
}

// ID is the 128-bit identity of a cluster.
type ID [16]byte

// String returns 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

var clusterID = quoted("the 32 hexadecimal digits that rrts init wrote, in quotes",
	func(s string) (ID, string) {
		b, err := hex.DecodeString(s)
		if err != nil || len(b) != len(ID{}) {
			return ID{}, "is " + strconv.Quote(s)
		}
		if ID(b) == (ID{}) {
			return ID{}, "is zero"
		}
		return ID(b), ""
	}, ID.String)

// PublicKey is the X25519 public key by which an SFU is known on the interconnect.
type PublicKey [32]byte

// String returns the key in base64.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

var publicKey = quoted("the public key that rrts init wrote, 44 characters of base64 in quotes",
	func(s string) (PublicKey, string) {
		b, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil || len(b) != len(PublicKey{}) || PublicKey(b) == (PublicKey{}) {
			return PublicKey{}, "is " + strconv.Quote(s)
		}
		return PublicKey(b), ""
	}, PublicKey.String)

var hardwareAddress = quoted(`a MAC address in quotes, such as "00:25:90:ab:cd:01"`,
	func(s string) (net.HardwareAddr, string) {
		a, err := net.ParseMAC(s)
		if err != nil || len(a) != 6 || a[0]&1 != 0 {
			return nil, "is " + strconv.Quote(s)
		}
		return a, ""
	}, net.HardwareAddr.String)

var logLevel = quoted(`one of "debug", "info", "warn", "error"`,
	func(s string) (slog.Level, string) {
		for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			if s == showLevel(l) {
				return l, ""
			}
		}
		return 0, "is " + strconv.Quote(s)
	}, showLevel)

func showLevel(l slog.Level) string { return strings.ToLower(l.String()) }
