// Package doctor examines a machine that runs SFUs, or shall run them: what an SFU
// relies on and cannot see to itself.
//
// Each check measures, and says what it measured, what that means and what to do.
// Checks change nothing that stays: the disk's writes a file and removes it again, the
// networks' sends some frames. Fix does what findings ask for and needs no decision.
// The machine is handed in as a Patient, so that each verdict is a test.
package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/nic"
	"virtualservicesinc.com/rrts/config"
)

// Verdict is what a finding means.
type Verdict string

const (
	OK   Verdict = "ok"
	Warn Verdict = "warn" // it works, and less well than it should
	Fail Verdict = "fail" // something does not work, or will not when it matters
)

// Finding is one line of an examination.
type Finding struct {
	Check    string  `json:"check"`
	Verdict  Verdict `json:"verdict"`
	Measured string  `json:"measured"`
	Cure     string  `json:"cure,omitempty"`
	// Fixable says that Fix does the cure.
	Fixable bool `json:"fixable,omitempty"`

	remedy *remedy
}

// Patient is a machine.
type Patient struct {
	Dir  string // of the configuration
	Root string // before /proc, /sys, /run, /dev, /usr and /etc; empty means the machine's own
	Now  time.Time

	NICs    func() ([]nic.NIC, error)
	Survey  func(context.Context, *nic.Survey) ([]nic.Heard, error)
	Resolve func(context.Context, string) ([]net.IP, error)
	Clock   func() (Clock, error)
	// Clocks asks an SFU of this machine for the others' clocks; nil, or no error and
	// nothing, where there is none to ask.
	Clocks func(context.Context) ([]PeerClock, error)
	Fsync  func(dir string) (Disk, error)
	// Unit returns properties of a systemd unit; nil where systemd does not run.
	Unit func(ctx context.Context, unit string, properties ...string) (map[string]string, error)

	// Run runs a command and Renew renews the certificate of an SFU's gateway, for Fix.
	Run   func(ctx context.Context, command ...string) error
	Renew func(ctx context.Context, sfu string) error
}

// Disk is what writing cost.
type Disk struct {
	Median, Worst time.Duration // of a write of 4 KiB and its fdatasync
	Free, Size    uint64        // bytes, for others than root
	Memory        bool          // it is a file system in memory
}

// New returns this machine.
func New(dir string) *Patient {
	p := &Patient{
		Dir: dir, Now: time.Now(), NICs: nic.List,
		Survey: func(ctx context.Context, s *nic.Survey) ([]nic.Heard, error) { return s.Run(ctx) },
		Resolve: func(ctx context.Context, host string) ([]net.IP, error) {
			return net.DefaultResolver.LookupIP(ctx, "ip", host)
		},
		Clock: kernelClock, Fsync: measureDisk, Run: run,
	}
	if info, err := os.Stat("/run/systemd/system"); err == nil && info.IsDir() {
		p.Unit = showUnit
	}
	return p
}

// examination collects findings.
type examination struct {
	*Patient
	cluster  *config.Cluster
	machine  *config.Machine
	sfus     []*config.Config
	findings []Finding
}

func (e *examination) add(v Verdict, check, cure, measured string, args ...any) {
	if v == OK {
		cure = ""
	}
	e.findings = append(e.findings, Finding{Check: check, Verdict: v, Measured: fmt.Sprintf(measured, args...), Cure: cure})
}

// fix says how Fix cures the finding that was added last.
func (e *examination) fix(r remedy) {
	f := &e.findings[len(e.findings)-1]
	f.Fixable, f.remedy = true, &r
}

// Examine runs every check. Without a configuration it examines what does not need
// one: the machine may be on its way into a cluster.
func (p *Patient) Examine(ctx context.Context) []Finding {
	e := &examination{Patient: p}
	e.configuration()
	e.networks(ctx)
	e.names(ctx)
	e.clock(ctx)
	e.peerClocks(ctx)
	e.disks()
	e.backups(ctx)
	e.mail(ctx)
	e.relays(ctx)
	e.secrets()
	e.components()
	e.buffers()
	e.sleep()
	e.watchdog(ctx)
	e.units(ctx)
	return e.findings
}

// Worst returns the gravest verdict of findings.
func Worst(findings []Finding) Verdict {
	worst := OK
	for _, f := range findings {
		if f.Verdict == Fail || f.Verdict == Warn && worst == OK {
			worst = f.Verdict
		}
	}
	return worst
}

// configuration reads what there is.
func (e *examination) configuration() {
	if _, err := os.Stat(filepath.Join(e.Dir, "cluster.toml")); os.IsNotExist(err) {
		e.add(Warn, "configuration", "make a cluster with rrts init, or join one with rrts node join", "there is none in %s", e.Dir)
		return
	}
	var err error
	if e.cluster, err = config.LoadCluster(e.Dir); err != nil {
		e.add(Fail, "configuration", "correct the file", "%s", oneLine(err))
		return
	}
	if e.machine, err = config.LoadMachine(filepath.Join(e.Dir, "machine.toml")); err != nil {
		e.add(Fail, "configuration", "correct the file", "%s", oneLine(err))
		return
	}
	names, err := config.LocalSFUs(e.Dir)
	if err != nil {
		e.add(Fail, "configuration", "correct the file", "%s", oneLine(err))
		return
	}
	for _, name := range names {
		c, err := config.Load(e.Dir, name)
		if err != nil {
			e.add(Fail, "configuration", "correct the file", "%s", oneLine(err))
			continue
		}
		e.sfus = append(e.sfus, c)
	}
	if len(names) == 0 {
		e.add(Warn, "configuration", "add one with rrts sfu add", "cluster %s, machine %s, which has no SFU", e.cluster.Name, e.machine.Name)
		return
	}
	e.add(OK, "configuration", "", "cluster %s, machine %s, SFUs %s", e.cluster.Name, e.machine.Name, strings.Join(names, ", "))
}

// names holds that clients reach the gateways by the names that they are given.
func (e *examination) names(ctx context.Context) {
	if e.cluster == nil {
		return
	}
	seen := map[string]bool{}
	for _, m := range e.cluster.SFUs {
		for _, g := range m.Gateways {
			host, _, err := net.SplitHostPort(g)
			if err != nil || seen[host] {
				continue
			}
			seen[host] = true
			e.name(ctx, m.Name, host)
		}
	}
}

// resolveTime bounds the look-up of one name.
const resolveTime = 5 * time.Second

func (e *examination) name(ctx context.Context, sfu, host string) {
	check := "name " + host
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	ips, err := e.Resolve(ctx, host)
	switch {
	case err != nil:
		e.add(Fail, check, "put the name into your DNS, or into /etc/hosts on every machine and client", "gateway of %s: it does not resolve: %v", sfu, err)
	case len(ips) > 0 && ips[0].IsLoopback() && net.ParseIP(host) == nil && host != "localhost":
		e.add(Warn, check, "in /etc/hosts give it the machine's address on the clients' network instead", "gateway of %s: it is %v here, which no other machine reaches", sfu, ips[0])
	default:
		e.add(OK, check, "", "gateway of %s: %v", sfu, ips)
	}
}

// alone reports whether no SFU runs on another machine.
func (e *examination) alone() bool {
	if e.cluster == nil {
		return true
	}
	for _, m := range e.cluster.SFUs {
		if m.Machine != e.cluster.SFUs[0].Machine {
			return false
		}
	}
	return true
}

// buffers holds the limits of packaging/sysctl.d.
func (e *examination) buffers() {
	for _, s := range []struct {
		name  string
		least int
	}{{"net/core/rmem_max", 4 << 20}, {"net/core/wmem_max", 4 << 20}, {"net/unix/max_dgram_qlen", 512}} {
		var value int
		text, err := e.read("/proc/sys/" + s.name)
		if err == nil {
			_, err = fmt.Sscan(text, &value)
		}
		check := "sysctl " + strings.ReplaceAll(s.name, "/", ".")
		switch {
		case err != nil:
			// A namespace of its own, as a container's, does not show the machine's limit.
			e.add(Warn, check, "look on the host", "it cannot be read: %v", err)
		case value < s.least:
			e.add(Warn, check, "run: systemctl restart systemd-sysctl; if it stays, a file in /etc/sysctl.d lowers it", "%d, below %d: bursts are lost", value, s.least)
			e.fix(command("/usr/lib/systemd/systemd-sysctl", "--prefix="+s.name))
		default:
			e.add(OK, check, "", "%d", value)
		}
	}
}

// sleep holds that the machine does not go to sleep under its SFUs.
func (e *examination) sleep() {
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system"} {
		if to, err := os.Readlink(e.Root + dir + "/sleep.target"); err == nil && to == "/dev/null" {
			e.add(OK, "sleep", "", "sleep.target is masked")
			return
		}
		if _, err := os.Stat(e.Root + dir + "/sleep.target.d/rrts.conf"); err == nil {
			e.add(OK, "sleep", "", "refused while an SFU runs")
			return
		}
	}
	e.add(Warn, "sleep", "run: systemctl mask sleep.target; or install the package rrts, which refuses it while an SFU runs", "nothing keeps this machine from going to sleep")
}

func (e *examination) read(path string) (string, error) {
	b, err := fs.ReadFile(os.DirFS(filepath.Join("/", e.Root)), strings.TrimPrefix(path, "/"))
	return strings.TrimSpace(string(b)), err
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
