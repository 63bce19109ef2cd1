package link

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
)

const (
	// EtherTypeA and EtherTypeB are the defaults of the two networks: the
	// numbers that IEEE 802 leaves for local experiments.
	EtherTypeA = 0x88B5
	EtherTypeB = 0x88B6
	// minEtherType is the least EtherType; smaller numbers are lengths.
	minEtherType = 0x0600
)

// PacketConfig describes a link over raw Ethernet.
type PacketConfig struct {
	// Interface names the NIC as the kernel does now. MAC names it by its
	// permanent address (its current one where the driver knows no permanent
	// one) and finds it again under any name. Exactly one must be given.
	Interface string
	MAC       net.HardwareAddr
	// EtherType is the network's own, at least 0x0600.
	EtherType uint16
	// Match keeps foreign frames out; the zero value takes all frames of the
	// EtherType.
	Match Match
	// Stray is the EtherType of the other network: what arrives here under it strays, and
	// comes out of Packet.Stray. 0: nobody listens for it.
	Stray uint16
	// Plain selects the plain carrier, one frame a system call, instead of the
	// batched one.
	Plain bool
	// Speed is what the NIC sends, in Mbit/s, whatever its driver says; 0: what that says.
	Speed int
	// Buffer is the size in bytes asked for each socket buffer; 0 means
	// DefaultBuffer.
	Buffer int
	// Namespace is the path of the network namespace that the NIC is in; empty
	// means the process's own. For labs and tests: several SFUs in one process.
	Namespace string
	// Log is told when the NIC goes and comes; nil is silent.
	Log *slog.Logger
}

func (c *PacketConfig) validate() error {
	var faults []error
	if (c.Interface == "") == (len(c.MAC) == 0) {
		faults = append(faults, errors.New("link: PacketConfig needs either Interface or MAC"))
	}
	if len(c.MAC) != 0 && len(c.MAC) != 6 {
		faults = append(faults, fmt.Errorf("link: PacketConfig.MAC %v has %d bytes instead of 6", c.MAC, len(c.MAC)))
	}
	if c.EtherType < minEtherType {
		faults = append(faults, fmt.Errorf("link: PacketConfig.EtherType %#04x is less than %#04x", c.EtherType, minEtherType))
	}
	if c.Stray != 0 && (c.Stray < minEtherType || c.Stray == c.EtherType) {
		faults = append(faults, fmt.Errorf("link: PacketConfig.Stray %#04x is less than %#04x, or this network's own", c.Stray, minEtherType))
	}
	if c.Match.Offset > MaxFrame-6 {
		faults = append(faults, fmt.Errorf("link: PacketConfig.Match.Offset %d is beyond a frame", c.Match.Offset))
	}
	if c.Speed < 0 {
		faults = append(faults, fmt.Errorf("link: PacketConfig.Speed %d is negative", c.Speed))
	}
	if c.Buffer < 0 {
		faults = append(faults, fmt.Errorf("link: PacketConfig.Buffer %d is negative", c.Buffer))
	}
	return errors.Join(faults...)
}

// name returns how the configuration names the NIC, for people.
func (c *PacketConfig) name() string {
	if c.Interface != "" {
		return c.Interface
	}
	return c.MAC.String()
}

// Packet is a link over raw Ethernet. It outlives its NIC: while there is none
// it is down, and when one with the configured name or address comes (back) it
// opens a new socket.
type Packet struct {
	cfg    PacketConfig
	filter []bpf.RawInstruction
	open   func(*net.Interface, uint16, []bpf.RawInstruction, int, *counters) (packetSocket, buffers, error)
	count  counters
	stray  *Packet // nil if nobody listens for what strays

	mu      sync.Mutex
	socket  packetSocket  // nil while there is none
	poller  *Poller       // waits for every socket; nil: nobody does
	arrived chan struct{} // closed when a socket is opened
	nic     nic           // what the kernel last said of our NIC
	granted buffers
	failing []packetSocket // given up, and to be closed by watch
	overrun uint64         // of the sockets that are gone
	why     string         // why the socket could not be opened
	done    bool

	changed chan struct{}
	broken  chan struct{} // a token: Receive dropped the socket
	closing chan struct{}
	joined  sync.WaitGroup
}

var _ Pollable = (*Packet)(nil)

// OpenPacket opens a link over raw Ethernet. A NIC that is missing is no error:
// it may come. What is one: a bad configuration, and a process that may not
// open packet sockets (CAP_NET_RAW).
func OpenPacket(cfg PacketConfig) (*Packet, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	filter, err := cfg.Match.filter()
	if err != nil {
		return nil, err
	}
	p := &Packet{
		cfg:     cfg,
		filter:  filter,
		open:    openFast,
		arrived: make(chan struct{}),
		changed: make(chan struct{}, 1),
		broken:  make(chan struct{}, 1),
		closing: make(chan struct{}),
	}
	if cfg.Plain {
		p.open = openPlain
	}
	if cfg.Stray != 0 {
		stray := cfg
		// There is nothing to be received until somebody makes a mistake with the cables.
		stray.EtherType, stray.Stray, stray.Plain, stray.Log = cfg.Stray, 0, true, nil
		if p.stray, err = OpenPacket(stray); err != nil {
			return nil, err
		}
	}
	if p.nic, err = p.look(); err != nil {
		return nil, errors.Join(err, p.closeStray())
	}
	if p.nic.index != 0 {
		err := p.reopen()
		if errors.Is(err, os.ErrPermission) {
			return nil, errors.Join(fmt.Errorf("link: packet socket on %s: %w (needs CAP_NET_RAW)", cfg.name(), err), p.closeStray())
		}
	}
	p.joined.Go(p.watch)
	return p, nil
}

// Stray returns the link by which frames of the other network arrive at this NIC, for
// Receive: cables are crossed, or the networks are joined somewhere. It is nil if
// PacketConfig.Stray is 0, and closed with p.
func (p *Packet) Stray() Link {
	if p.stray == nil {
		return nil
	}
	return p.stray
}

func (p *Packet) closeStray() error {
	if p.stray == nil {
		return nil
	}
	return p.stray.Close()
}

// current returns the socket, or a channel that is closed when there is one.
func (p *Packet) current() (packetSocket, int, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.socket, p.nic.mtu, p.arrived
}

func (p *Packet) Send(frames []Frame) (int, error) {
	s, mtu, _ := p.current()
	if s == nil {
		p.count.sendLost.Add(uint64(len(frames)))
		return 0, p.sendFault()
	}
	n, err := s.send(frames, mtu)
	if errors.Is(err, net.ErrClosed) {
		err = p.sendFault()
	}
	return n, err
}

// sendFault tells a closed link from one whose NIC is gone.
func (p *Packet) sendFault() error {
	select {
	case <-p.closing:
		return net.ErrClosed
	default:
		return ErrDown
	}
}

func (p *Packet) Receive(frames []Frame) (int, error) {
	for {
		s, _, arrived := p.current()
		if s == nil {
			select {
			case <-arrived:
			case <-p.closing:
				return 0, net.ErrClosed
			}
			continue
		}
		n, err := s.receive(frames)
		if err == nil {
			return n, nil
		}
		select {
		case <-p.closing:
			return 0, net.ErrClosed
		default:
		}
		if transient(err) {
			time.Sleep(errorPause)
			continue
		}
		p.failed(s, err)
	}
}

func (p *Packet) Poll(frames []Frame) (n int, more bool) {
	s, _, _ := p.current()
	q, ok := s.(polled)
	if !ok {
		return 0, false
	}
	n, more, err := q.poll(frames)
	if err != nil && !transient(err) {
		p.failed(s, err)
	}
	return n, more
}

func (p *Packet) attach(poller *Poller) (bool, error) {
	if p.cfg.Plain {
		return false, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.poller = poller
	return true, p.waitLocked()
}

// waitLocked lets the Poller wait for the socket, if there are both.
func (p *Packet) waitLocked() error {
	if s, ok := p.socket.(polled); ok && p.poller != nil {
		return s.waitWith(p.poller)
	}
	return nil
}

// failed gives up a socket that told an error; watch opens another one. It does not close
// it: the kernel takes some milliseconds to close a packet socket, and who polls this link
// polls the other network's too.
func (p *Packet) failed(s packetSocket, err error) {
	if !p.giveUp(s) {
		return
	}
	p.cfg.Log.Warn("packet socket failed", "interface", p.cfg.name(), "error", err)
	token(p.broken)
}

// giveUp notes that s is to be closed, if it is the current socket, and reports whether it
// was.
func (p *Packet) giveUp(s packetSocket) bool {
	p.mu.Lock()
	mine := s != nil && p.socket == s
	if mine {
		p.overrun += s.overrun()
		p.socket = nil
		p.granted = buffers{}
		p.failing = append(p.failing, s)
	}
	p.mu.Unlock()
	if mine {
		token(p.changed)
	}
	return mine
}

// closeFailing closes the sockets that were given up.
func (p *Packet) closeFailing() {
	p.mu.Lock()
	failing := p.failing
	p.failing = nil
	p.mu.Unlock()
	for _, s := range failing {
		s.close()
	}
}

// reopen opens a socket on the NIC as it is now.
func (p *Packet) reopen() error {
	p.mu.Lock()
	nic := p.nic
	p.mu.Unlock()
	var s packetSocket
	var granted buffers
	err := inNamespace(p.cfg.Namespace, func() (err error) {
		s, granted, err = p.open(nic.forSocket(), p.cfg.EtherType, p.filter, p.cfg.Buffer, &p.count)
		return err
	})
	p.mu.Lock()
	if err == nil {
		p.socket = s
		if err = p.waitLocked(); err != nil {
			p.socket = nil
			s.close()
		}
	}
	if err != nil {
		p.why = err.Error()
		p.mu.Unlock()
		token(p.changed)
		return err
	}
	p.granted, p.why = granted, ""
	close(p.arrived)
	p.arrived = make(chan struct{})
	p.mu.Unlock()
	token(p.changed)
	return nil
}

// token puts a token into a channel that holds one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *Packet) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		MTU:           p.nic.mtu,
		Speed:         cmp.Or(p.cfg.Speed, p.nic.speed),
		ReceiveBuffer: p.granted.receive,
		SendBuffer:    p.granted.send,
		Small:         p.granted.small,
	}
	if p.nic.index != 0 {
		s.Local = Ethernet(p.nic.mac)
	}
	switch {
	case p.done:
		s.Why = "closed"
	case p.nic.index == 0:
		s.Why = "no interface " + p.cfg.name()
	case !p.nic.up:
		s.Why = "interface is down"
	case !p.nic.carrier:
		s.Why = "no carrier"
	case p.socket == nil && p.why != "":
		s.Why = p.why
	case p.socket == nil:
		s.Why = "no socket"
	default:
		s.Up = true
	}
	return s
}

func (p *Packet) Changed() <-chan struct{} { return p.changed }

func (p *Packet) Counters() Counters {
	c := p.count.snapshot()
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Overrun = p.overrun
	if p.socket != nil {
		c.Overrun += p.socket.overrun()
	}
	return c
}

func (p *Packet) Close() error {
	p.mu.Lock()
	if p.done {
		p.mu.Unlock()
		p.joined.Wait()
		return nil
	}
	p.done = true
	p.mu.Unlock()
	close(p.closing)
	p.joined.Wait()
	s, _, _ := p.current()
	p.giveUp(s)
	p.closeFailing()
	return p.closeStray()
}
