package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"virtualservicesinc.com/comps/connector"
	"virtualservicesinc.com/comps/txn"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// farewell is how long a member that was removed is still reached: it hears that it
	// was, and stops by itself.
	farewell = 2 * time.Second
	// rosterRetry is how often what a roster wants is tried again: a Connector that is
	// being made anew takes it in a moment.
	rosterRetry = time.Second
)

// errRemoved says that this SFU is not in the cluster any more, errOverruled that a forced
// recovery went on without it.
var (
	errRemoved   = errors.New("it was removed from the cluster")
	errOverruled = errors.New("it was overruled by a forced recovery")
)

// startRoster returns the cluster by the newest list of SFUs that is known here: that
// of cluster.toml, or of the state directory. The error says that the state is of
// another SFU, or of one that was removed.
func startRoster(cfg *config.Config) (*config.Cluster, error) {
	kept, err := cfg.Cluster.StateRoster(cfg.SFU.StateDir)
	if errors.Is(err, config.ErrRosterRotten) {
		slog.Warn("the list of SFUs is damaged: this SFU starts from cluster.toml and hears the newest from the others", "err", err)
		return cfg.Cluster, nil
	}
	if err != nil || kept == nil {
		return cfg.Cluster, err
	}
	name, dir := cfg.Self.Name, cfg.SFU.StateDir
	m := kept.Member(name)
	switch {
	case m != nil && m.Number != cfg.Self.Number:
		return nil, fmt.Errorf("%s holds the state of SFU %s when it had number %d, by cluster.toml it has %d: "+
			"move the old state away, a new identity begins with an empty one", dir, name, m.Number, cfg.Self.Number)
	case !kept.Newer(cfg.Cluster):
		kept = cfg.Cluster
	case m == nil:
		return nil, removed(cfg.Self, kept.Roster)
	case m.PublicKey != cfg.Self.PublicKey:
		return nil, fmt.Errorf("SFU %s has another public key in cluster.toml than the cluster knows it by: restore the file, "+
			"or give the SFU a new identity with `rrts sfu replace %s`", name, name)
	}
	if m := kept.Member(name); m.Overruled {
		return nil, fmt.Errorf("SFU %s, number %d: %w; it takes no part any more; bring it back under a new identity: `rrts sfu replace %s`",
			name, m.Number, errOverruled, name)
	}
	return kept, nil
}

func removed(m *config.Member, version uint64) error {
	return fmt.Errorf("SFU %s, number %d, is not in the cluster by roster %d: %w; to bring it back under a new identity: "+
		"`rrts sfu remove %s --files` here, and `rrts sfu add %s --machine %s` where the master keys are",
		m.Name, m.Number, version, errRemoved, m.Name, m.Name, m.Machine)
}

// keeper keeps the newest roster of which this SFU hears: on the disk, and in what
// reaches the other SFUs. An SFU that is not in it stops.
type keeper struct {
	cfg     *config.Config // as the SFU started; its Cluster is the newest of then
	log     *slog.Logger
	now     func() time.Duration
	removed chan error // capacity 1: why this SFU must stop
	greet   func(ctx context.Context, address string) (*gatewaypb.HelloReply, error)

	wake chan struct{} // capacity 1

	unsaved *config.Cluster // of run: a start must not go by it yet; nil as a rule

	mu      sync.Mutex
	newest  *txnpb.Roster
	own     *txnpb.Roster            // that this SFU's replica has applied; nil where there is none
	saidOut map[uint32]bool          // the SFUs that announced one without this SFU
	peers   []config.Peer            // of newest, and those that have left a moment ago
	left    map[uint16]time.Duration // until when these are reached
	replica *txn.Component           // the one that was made last; nil where there is none
	conn    *connector.Connector     // likewise
	udp     [2]udpLink               // its links over UDP
	applied bool                     // conn and udp have peers
	fault   string                   // why they do not, as it was told
}

func newKeeper(cfg *config.Config, log *slog.Logger, now func() time.Duration) *keeper {
	return &keeper{
		cfg: cfg, log: log, now: now, removed: make(chan error, 1), wake: make(chan struct{}, 1),
		newest: members.Roster(cfg.Cluster), peers: cfg.Peers(), left: map[uint16]time.Duration{}, saidOut: map[uint32]bool{},
		greet: func(ctx context.Context, address string) (*gatewaypb.HelloReply, error) {
			return greet(ctx, cfg.Dir, address)
		},
	}
}

// offer takes a roster that is applied here, if it is newer. It does not block.
func (k *keeper) offer(r *txnpb.Roster) {
	k.mu.Lock()
	k.own = r
	k.poke()
	k.mu.Unlock()
	k.take(r)
}

func (k *keeper) take(r *txnpb.Roster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if roster.Newer(r, k.newest) {
		k.newest = r
		k.poke()
	}
}

// announced takes a roster that another SFU has announced, likewise. Only others can say
// that this SFU is out: whoever announces can do without it, come what may; before that
// the others may need it once more. What is announced in an epoch that is over counts
// for nothing.
func (k *keeper) announced(from uint16, epoch uint32, r *txnpb.Roster) {
	if epoch < k.epoch() {
		return
	}
	k.mu.Lock()
	if !roster.Listed(r, uint32(k.cfg.Self.Number)) {
		k.saidOut[uint32(from)] = true
	}
	replica := k.replica
	k.mu.Unlock()
	if replica != nil {
		replica.Heard(r)
	}
	k.take(r)
	k.poke()
}

// released reports whether those who say that this SFU is out are enough: of its replica's
// group most voters, which may need it otherwise.
func (k *keeper) released(r *txnpb.Roster) bool {
	k.mu.Lock()
	replica, outBy := k.replica, maps.Clone(k.saidOut)
	k.mu.Unlock()
	if replica == nil {
		return len(outBy) > 0
	}
	return replica.Released(r, outBy)
}

// neededLocked reports whether this SFU's own replica still counts on a member that has
// left: until it has applied that, it asks for that one's vote.
func (k *keeper) neededLocked(number uint16) bool {
	return k.own != nil && slices.ContainsFunc(k.own.Members, func(m txnpb.Member) bool { return m.Number == uint32(number) })
}

func (k *keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// connector notes the Connector that was made last, which has the peers of now.
func (k *keeper) setConnector(c *connector.Connector) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn, k.applied = c, false
	k.poke() // there may be other peers by the time that it runs
}

// setReplica notes the transaction Component that was made last.
func (k *keeper) setReplica(c *txn.Component) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.replica = c
}

// epoch is that of the newest roster.
func (k *keeper) epoch() uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(k.cfg.Cluster.Epoch, roster.EpochOf(k.newest))
}

// setUDP notes the links of that Connector.
func (k *keeper) setUDP(network fabric.Network, l udpLink) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.udp[network] = l
}

// gateways are the addresses of all gateways of the cluster.
func (k *keeper) gateways() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []string
	for i := range k.newest.Members {
		if m := &k.newest.Members[i]; !m.Leaving && !m.Overruled {
			all = append(all, m.Gateways...)
		}
	}
	return all
}

// numbers are those of all SFUs of the roster, also of one that is leaving: it is in
// until it is out. And the roster's version.
func (k *keeper) numbers() (all []uint32, version uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.newest.Members {
		all = append(all, k.newest.Members[i].Number)
	}
	return all, k.newest.Version
}

// fabricPeers are the other SFUs as the interconnect wants them.
func (k *keeper) fabricPeers() []fabric.Peer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fabricPeers(k.cfg.Self, k.peers)
}

func fabricPeers(self *config.Member, peers []config.Peer) []fabric.Peer {
	via := map[config.Path]fabric.Via{config.PathEthernet: fabric.ViaNetworks, config.PathUnix: fabric.ViaMachine, config.PathUDP: fabric.ViaUDP}
	out := make([]fabric.Peer, len(peers))
	for i, p := range peers {
		out[i] = fabric.Peer{
			SFU: p.Number, Public: p.PublicKey, Via: via[p.Via],
			OnlyA: p.Via == config.PathUDP && !self.UDPB.IsValid() && !p.UDPB.IsValid(),
			// A network that fails between a witness and another costs the cluster no more
			// than the witness, and that it can spare.
			Spare: self.Type == config.TypeWitness || p.Type == config.TypeWitness,
		}
	}
	return out
}

// run takes up what is offered until ctx ends.
func (k *keeper) run(ctx context.Context) {
	kept := members.Roster(k.cfg.Cluster)
	retry := time.NewTimer(timer.Next(rosterRetry))
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-retry.C:
			retry.Reset(timer.Next(rosterRetry))
		}
		k.mu.Lock()
		newest := k.newest
		k.mu.Unlock()
		if roster.Newer(newest, kept) {
			taken, out := k.keep(newest)
			if out {
				return
			}
			if taken {
				kept = newest
			}
		} else if k.unsaved != nil {
			k.save(k.unsaved, newest)
		}
		k.reach()
	}
}

// keep makes a roster that of the next start, and notes whom it lists. It reports
// whether it has taken it, and whether this SFU is out.
func (k *keeper) keep(r *txnpb.Roster) (taken, out bool) {
	c, err := members.Cluster(k.cfg.Cluster, r)
	if err != nil {
		k.log.Error("a roster that this software does not understand: install the newer one on this SFU", "version", r.Version, "err", err)
		return true, false
	}
	self, overruled, peers := false, false, []config.Peer(nil)
	for i := range r.Members {
		m, err := members.Member(&r.Members[i])
		if err != nil {
			continue // it is leaving: the others were checked
		}
		if m.Number == k.cfg.Self.Number {
			self = m.PublicKey == k.cfg.Self.PublicKey
			overruled = m.Overruled
		} else {
			peers = append(peers, config.Peer{Member: m, Via: config.Via(k.cfg.Self, &m)})
		}
	}
	if !self && !k.released(r) {
		return false, false // others will say so
	}
	if self && overruled {
		if err := keepForced(k.cfg.SFU.StateDir, r); err != nil {
			k.log.Error("by whom this SFU was overruled could not be kept", "err", err)
		}
	}
	k.save(c, r)
	if self && overruled {
		k.removed <- fmt.Errorf("%w: %s", errOverruled, txn.OverruledText(r, uint32(k.cfg.Self.Number)))
		return true, true
	}
	if !self {
		k.removed <- removed(k.cfg.Self, r.Version)
		return true, true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.farewellLocked(peers)
	return true, false
}

// save writes a roster into the state directory. While somebody leaves the group may
// need it, and where this SFU's replica has not applied that it has left: a start goes by the
// roster of before.
func (k *keeper) save(c *config.Cluster, r *txnpb.Roster) {
	k.unsaved = nil
	if slices.ContainsFunc(r.Members, func(m txnpb.Member) bool { return m.Leaving }) {
		k.log.Info("an SFU is leaving the cluster", "version", r.Version)
		return
	}
	if k.countsOnOthers(r) {
		k.unsaved = c
		return
	}
	path := filepath.Join(k.cfg.SFU.StateDir, config.RosterFile)
	if err := genesis.WriteFile(path, genesis.File{Path: config.RosterFile, Mode: 0o600, Data: c.MarshalRoster()}, 0); err != nil {
		k.log.Error("the roster could not be kept; the next start begins with an older one", "err", err)
		return
	}
	k.log.Info("the roster", "version", r.Version, "epoch", c.Epoch, "sfus", len(c.SFUs))
}

// countsOnOthers reports whether this SFU's replica counts on a member that is not in a
// roster, and stays here itself.
func (k *keeper) countsOnOthers(r *txnpb.Roster) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.own != nil && roster.Listed(r, uint32(k.cfg.Self.Number)) && slices.ContainsFunc(k.own.Members, func(m txnpb.Member) bool {
		return !m.Overruled && !slices.ContainsFunc(r.Members, func(o txnpb.Member) bool { return o.Number == m.Number })
	})
}

// farewellLocked replaces the peers; those that have left are reached a little longer.
func (k *keeper) farewellLocked(peers []config.Peer) {
	there := map[uint16]bool{}
	for _, p := range peers {
		there[p.Number] = true
	}
	for _, p := range k.peers {
		if !there[p.Number] {
			if k.left[p.Number] == 0 {
				k.left[p.Number] = k.now() + farewell
			}
			peers = append(peers, p)
		}
	}
	k.peers, k.applied = peers, false
}

// reach makes the Connector and its links have the peers of now.
func (k *keeper) reach() {
	k.mu.Lock()
	kept := k.peers[:0:0]
	for _, p := range k.peers {
		if until := k.left[p.Number]; until != 0 && until <= k.now() && !k.neededLocked(p.Number) {
			delete(k.left, p.Number)
			k.applied = false
			continue
		}
		kept = append(kept, p)
	}
	k.peers = kept
	conn, udp, applied := k.conn, k.udp, k.applied
	k.mu.Unlock()
	if applied || conn == nil {
		return
	}
	var faults []error
	for network, l := range udp {
		if l != nil {
			faults = append(faults, l.SetPeers(udpPeers(kept, fabric.Network(network))))
		}
	}
	faults = append(faults, conn.SetPeers(fabricPeers(k.cfg.Self, kept)))
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := errors.Join(faults...); errors.Is(err, connector.ErrStopped) {
		return // it starts with those of its Config, and is asked again
	} else if err != nil {
		if k.fault != err.Error() {
			k.fault = err.Error()
			k.log.Warn("the interconnect does not take the SFUs of the roster; where a network is missing, name its NIC in machine.toml and restart this SFU", "err", err)
		}
		return
	}
	k.fault, k.applied = "", k.conn == conn && k.udp == udp
}

// udpPeers are the addresses of the peers that UDP reaches on a network.
func udpPeers(peers []config.Peer, network fabric.Network) []netip.AddrPort {
	var all []netip.AddrPort
	for _, p := range peers {
		if addr := udpAddress(&p.Member, network); addr.IsValid() && p.Via == config.PathUDP {
			all = append(all, addr)
		}
	}
	return all
}

// udpAddress is where an SFU receives UDP on a network; invalid where it is answered
// where it sends from.
func udpAddress(m *config.Member, network fabric.Network) netip.AddrPort {
	if network == fabric.A {
		return m.UDPA
	}
	return m.UDPB
}
