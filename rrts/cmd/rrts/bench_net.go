package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/netbench"
)

// benchLanes are the lanes by name, in their order.
var benchLanes = []string{"control", "commit", "request", "bulk"}

// netFlags are those of `rrts bench net`.
type netFlags struct {
	netbench.Config
	lane       string
	cut        string
	loss       []string
	serve      string
	serving    bool
	all        bool
	withParent bool
	mtu        int
}

func (c *cli) benchNetCommand() *cobra.Command {
	var f netFlags
	cmd := &cobra.Command{
		Use:   "net",
		Short: "the interconnect: messages per second, bulk, round trips; beside TCP, TLS and a bare echo",
		Long: `Measures the interconnect between two processes on two hosts, encrypted, over networks A and B: records
as fast as their lane takes them (stream, bulk), or one there and back at a time (pingpong). TCP, TCP
with TLS 1.3 and a bare packet socket take turns with it in the same run, unless a network is cut or
loses frames.

Alone it makes two hosts itself, in network namespaces joined by veth pairs (as root); for round trips
each has a processor of its own, if there are two. Between two machines, run this on the one

    rrts bench net --serve :7411 --nic-a enp2s0 --nic-b enp3s0

and this on the other, with an address by which TCP reaches the first:

    rrts bench net --peer 192.0.2.7:7411 --nic-a enp2s0 --nic-b enp3s0 --mode pingpong

A cut network is mended again. With --cuts this happens several times, and the longest gap in the 50 ms
around each cut stands beside that of as many windows of the same stream without one.

With --all every measurement runs, for --duration each, and one table shows them beside what they are
compared with and the bars: round trips, streams, bulk, each way of a cut, losses.

The keys are no secret: use networks that carry nothing else.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.serving = cmd.Flags().Changed("serve")
			if f.all {
				return c.benchNetAll(cmd, &f)
			}
			return c.benchNet(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Mode, "mode", netbench.ModePingPong, "stream, pingpong or bulk")
	flags.IntVar(&f.Size, "size", 0, "bytes of a record (default 128; bulk: 65536)")
	flags.StringVar(&f.lane, "lane", "", "control, commit, request or bulk (default commit; mode bulk: bulk)")
	flags.IntVar(&f.Rate, "rate", 0, "records a second of a stream (default: as fast as the lane takes them)")
	flags.DurationVar(&f.Duration, "duration", 10*time.Second, "length of the measurement")
	flags.StringVar(&f.cut, "cut", "", "cut a network at a time, such as A@2s; where: A@2s:sender, A@2s:receiver or A@2s:oneway")
	flags.IntVar(&f.Cuts, "cuts", 1, "how often --cut is done; the network is mended in between, and the measurement lasts as long")
	flags.StringSliceVar(&f.loss, "loss", nil, "share of a network's frames that is lost, such as A=5%; may be repeated")
	flags.StringVar(&f.TCP, "peer", "", "measure against another machine that serves, whose TCP address this is")
	flags.StringVar(&f.serve, "serve", "", "serve another machine's measurement, and TCP at this address; until interrupted")
	flags.StringVar(&f.NICs[fabric.A], "nic-a", "", "interface of network A, with --serve or --peer")
	flags.StringVar(&f.NICs[fabric.B], "nic-b", "", "interface of network B, with --serve or --peer")
	flags.StringVar(&f.Idle, "nic-idle", "", "an interface that carries nothing: taken down between cuts, it shows what that costs the machine itself")
	flags.IntVar(&f.mtu, "mtu", netbench.MTU, "bytes of the longest frame, of networks that it makes itself: 9000 for jumbo frames")
	flags.BoolVar(&f.all, "all", false, "every measurement, as one table")
	flags.BoolVar(&f.withParent, "with-parent", false, "serve until standard input ends")
	if err := flags.MarkHidden("with-parent"); err != nil {
		panic(err) // only if there is no such flag
	}
	return cmd
}

func (c *cli) benchNet(ctx context.Context, f *netFlags) error {
	if err := f.parse(); err != nil {
		return usageError{err}
	}
	switch {
	case f.serving:
		if f.withParent {
			ctx = untilStdinEnds(ctx)
		}
		return netbench.Serve(ctx, f.Host, f.serve)
	case f.TCP == "":
		return inLab(ctx, f.mtu, f.Mode == netbench.ModePingPong)
	}
	f.Out = c.out
	r, err := netbench.Measure(ctx, f.Config)
	if err != nil {
		return err
	}
	if c.json {
		err = c.out.Object(r)
	} else {
		err = c.out.Table(nil, r.Rows())
	}
	if err == nil && (r.Lost > 0 || r.Reordered > 0) {
		err = fmt.Errorf("%d records lost, %d out of order", r.Lost, r.Reordered)
	}
	return err
}

// benchNetAll is `rrts bench net --all`.
func (c *cli) benchNetAll(cmd *cobra.Command, f *netFlags) error {
	for _, name := range []string{"mode", "size", "lane", "rate", "cut", "cuts", "loss", "mtu", "peer", "serve", "nic-a", "nic-b"} {
		if cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--all and --%s exclude each other", name)}
		}
	}
	if f.Duration < netbench.MinSuite {
		return usageError{fmt.Errorf("--duration is %v, must be at least %v with --all", f.Duration, netbench.MinSuite)}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	lines, err := netbench.Suite(cmd.Context(), self, f.Duration, c.out)
	if err != nil {
		return err
	}
	if !c.json {
		return c.out.Table(netbench.Table(lines))
	}
	for _, l := range lines {
		if err := c.out.Object(l); err != nil {
			return err
		}
	}
	return nil
}

// parse checks the flags and fills in what they leave out.
func (f *netFlags) parse() error {
	nics := f.NICs[0] != "" && f.NICs[1] != ""
	switch {
	case f.serving && f.TCP != "":
		return errors.New("--serve and --peer exclude each other: one machine serves, the other measures")
	case (f.serving || f.TCP != "") && !nics:
		return errors.New("--serve and --peer need --nic-a and --nic-b")
	case !f.serving && f.TCP == "" && f.NICs != [2]string{}:
		return errors.New("--nic-a and --nic-b need --peer or --serve: without them both hosts are namespaces of this machine")
	case f.Rate < 0:
		return fmt.Errorf("--rate is %d, must not be negative", f.Rate)
	case f.mtu < session.MinMTU || f.mtu > link.MaxFrame:
		return fmt.Errorf("--mtu is %d, must be %d to %d", f.mtu, session.MinMTU, link.MaxFrame)
	case f.Duration < time.Second:
		return fmt.Errorf("--duration is %v, must be at least 1s", f.Duration)
	}
	lane, size := "commit", 128
	switch f.Mode {
	case netbench.ModePingPong, netbench.ModeStream:
	case netbench.ModeBulk:
		lane, size = "bulk", 64<<10
	default:
		return fmt.Errorf("--mode is %q, must be stream, pingpong or bulk", f.Mode)
	}
	if f.lane != "" {
		lane = f.lane
	}
	n := slices.Index(benchLanes, lane)
	if n < 0 {
		return fmt.Errorf("--lane is %q, must be one of %v", lane, benchLanes)
	}
	f.Lane = fabric.Lane(n)
	if f.Size == 0 {
		f.Size = size
	}
	if most := netbench.MaxSize(f.Lane); f.Size < netbench.MinSize || f.Size > most {
		return fmt.Errorf("--size is %d, must be %d to %d on the %s lane", f.Size, netbench.MinSize, most, lane)
	}
	if f.Cuts < 1 || f.Cuts > 1 && f.cut == "" {
		return fmt.Errorf("--cuts is %d: it says how often --cut is done, at least once", f.Cuts)
	}
	if f.cut != "" {
		cut, err := netbench.ParseCut(f.cut)
		if err != nil {
			return fmt.Errorf("--cut: %w", err)
		}
		if cut.At >= f.Duration {
			return fmt.Errorf("--cut at %v is not within the %v of --duration", cut.At, f.Duration)
		}
		f.Cut = &cut
	}
	for _, s := range f.loss {
		loss, err := netbench.ParseLoss(s)
		if err != nil {
			return fmt.Errorf("--loss: %w", err)
		}
		f.Loss = append(f.Loss, loss)
	}
	return nil
}

// untilStdinEnds is ctx, ended also by the end of standard input: by that of whoever
// holds its other end.
func untilStdinEnds(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return ctx
}

// inLab runs this very command again as the measuring side in a lab of its own, with
// networks of an MTU, whose hosts have a processor each if apart.
func inLab(ctx context.Context, mtu int, apart bool) error {
	lab, err := netbench.NewLab(mtu)
	if err != nil {
		return err
	}
	defer lab.Close()
	lab.Apart = apart
	self, err := os.Executable()
	if err != nil {
		return err
	}
	err = lab.Run(ctx, self, os.Args[1:])
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return errSilent{exit.ExitCode()}
	}
	return err
}
