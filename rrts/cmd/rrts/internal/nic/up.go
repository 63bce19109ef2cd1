package nic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"virtualservicesinc.com/rrts/config"
)

// Owner prepares the NICs of the interconnect for it alone. The zero value works on
// the machine as it is.
type Owner struct {
	// Root is put before /run and /proc, for tests; empty means the machine's own.
	Root string
	// Run runs the commands that find out whether a manager of NICs runs and tell it
	// to read its configuration again; nil means to really run them.
	Run func(ctx context.Context, command []string) error
}

// remark begins the files that Up writes.
const remark = "# The NICs of the RRTS interconnect, by rrts-net.service.\n"

// manager is a program that would give NICs addresses.
type manager struct {
	name   string
	unit   string
	file   string // where we say what is not its own; %s is the network
	text   func(config.NIC) string
	reload []string
}

var managers = []manager{
	{
		name: "NetworkManager", unit: "NetworkManager.service", file: "/run/NetworkManager/conf.d/80-rrts-%s.conf",
		text: func(n config.NIC) string {
			match := "interface-name:" + n.Name
			if n.MAC != nil {
				match = "mac:" + n.MAC.String()
			}
			return "[keyfile]\nunmanaged-devices+=" + match + "\n"
		},
		reload: []string{"nmcli", "general", "reload", "conf"},
	},
	{
		name: "systemd-networkd", unit: "systemd-networkd.service", file: "/run/systemd/network/05-rrts-%s.network",
		text: func(n config.NIC) string {
			match := "Name=" + n.Name
			if n.MAC != nil {
				match = "MACAddress=" + n.MAC.String()
			}
			return "[Match]\n" + match + "\n[Link]\nUnmanaged=yes\n"
		},
		reload: []string{"networkctl", "reload"},
	},
}

// network is one network of a machine's configuration.
type network struct {
	name string // "a" or "b"
	want config.NIC
}

// Up makes the NICs of a machine the interconnect's: no manager of NICs touches
// them, they have no IPv6, the MTU that is configured, and are up. It may be called
// again at any time. It returns the NICs that are ready. One that is not there, or
// that carries the machine's default route, is an error; the other one is prepared
// nevertheless.
func (o *Owner) Up(ctx context.Context, m *config.Machine) ([]NIC, error) {
	all, err := List()
	if err != nil {
		return nil, err
	}
	var errs []error
	var ready []NIC
	var ours []network
	for _, w := range []network{{"a", m.NetworkA}, {"b", m.NetworkB}} {
		if w.want.IsZero() {
			continue
		}
		n, err := Find(all, w.want)
		switch {
		case err != nil:
			ours = append(ours, w) // it may be plugged in later
		case n.routed:
			// Taking it would cut the machine off, and the operator with it.
			err = fmt.Errorf("nic: %v is left alone: %s; name the right one in machine.toml", n, n.Unfit)
		case len(ready) > 0 && ready[0].Index == n.Index:
			err = fmt.Errorf("nic: %v is network a's already; name another one in machine.toml", n)
		default:
			ours = append(ours, w)
			if n, err = o.prepare(n, w.want.MTU); err == nil {
				ready = append(ready, n)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", w.name, err))
		}
	}
	return ready, errors.Join(append(errs, o.disown(ctx, ours))...)
}

// disown tells the managers that run, and those that will, whose the NICs are.
func (o *Owner) disown(ctx context.Context, ours []network) error {
	run := o.Run
	if run == nil {
		run = execute
	}
	var errs []error
	for _, m := range managers {
		changed := false
		for _, w := range ours {
			path, text := o.Root+fmt.Sprintf(m.file, w.name), []byte(remark+m.text(w.want))
			if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
				continue
			}
			changed = true
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if err == nil {
				err = os.WriteFile(path, text, 0o644)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("nic: %w", err))
			}
		}
		// One that starts later reads the files by itself. Its directories below /run
		// say nothing: systemd makes networkd's at every boot.
		if !changed || run(ctx, []string{"systemctl", "is-active", "--quiet", m.unit}) != nil {
			continue
		}
		if err := run(ctx, m.reload); err != nil {
			errs = append(errs, fmt.Errorf("nic: %s was not told to leave the NICs alone: %w", m.name, err))
		}
	}
	return errors.Join(errs...)
}

func execute(ctx context.Context, command []string) error {
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// prepare sets one NIC up and returns it as it is then.
func (o *Owner) prepare(n NIC, mtu int) (NIC, error) {
	// On an isolated network IPv6 finds nobody, and its frames are only noise.
	sysctl := filepath.Join(o.Root+"/proc/sys/net/ipv6/conf", n.Name, "disable_ipv6")
	if err := os.WriteFile(sysctl, []byte("1\n"), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, fmt.Errorf("nic: IPv6 on %s: %w", n.Name, err)
	}
	l, err := netlink.LinkByIndex(n.Index)
	if err != nil {
		return n, fmt.Errorf("nic: %s: %w", n.Name, err)
	}
	if n.MTU != mtu {
		if err := netlink.LinkSetMTU(l, mtu); err != nil {
			return n, fmt.Errorf("nic: %s does not take an MTU of %d: %w; lower mtu in machine.toml", n.Name, mtu, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return n, fmt.Errorf("nic: raising %s: %w", n.Name, err)
	}
	if l, err = netlink.LinkByIndex(n.Index); err != nil {
		return n, fmt.Errorf("nic: %s: %w", n.Name, err)
	}
	return of(l), nil
}
