// Package grow adds SFUs to a cluster that runs.
//
// Admission is the side of the machine with the master keys: it says what is offered
// and, on a request, makes the SFU a member and hands out what it needs. Guest is the
// side of the machine on which the SFU will run: it makes the private keys, finds the
// networks, and puts what it was granted on disk. Between two machines package join
// carries the records; on one machine they are handed over directly.
//
// The member is added before the grant leaves: a machine that fails afterwards leaves
// a learner behind that votes on nothing, and that rrts sfu remove takes away.
package grow

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/config/join"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Plan is the SFU that an operator asks for.
type Plan struct {
	SFU      string
	Type     config.Type
	Machine  string   // empty: the guest's own name
	Gateways []string // empty: the guest's own
	Carrier  config.Carrier
	UDPA     string
	UDPB     string
	NoVote   bool
	// Replaces is the number of the SFU whose place it takes; 0 for none.
	Replaces uint16
}

// Admission makes one SFU a member.
type Admission struct {
	Plan     Plan
	Software string
	Master   *genesis.Master
	Cluster  *config.Cluster // as it was before
	// Add asks the cluster; see service Members.
	Add  func(context.Context, *txnpb.AddMember) (*txnpb.MembersAnswer, error)
	Rand io.Reader
	Now  func() time.Time

	// After is the cluster with the new SFU in it, and Kit its client kit, once Admit
	// has granted.
	After *config.Cluster
	Kit   []byte
}

// Offer returns what the guest is told first.
func (a *Admission) Offer() join.Offer {
	ic := &a.Cluster.Interconnect
	return join.Offer{
		Software: a.Software, Cluster: a.Cluster.Name, ID: a.Cluster.ID.String(),
		SFU: a.Plan.SFU, Type: string(a.Plan.Type), Machine: a.Plan.Machine, Gateways: a.Plan.Gateways,
		Carrier: string(a.Plan.Carrier), UDPA: a.Plan.UDPA, UDPB: a.Plan.UDPB, Replaces: a.Plan.Replaces, EtherTypes: [2]uint16{ic.EtherTypeA, ic.EtherTypeB},
	}
}

// Admit makes the SFU of a request a member.
func (a *Admission) Admit(ctx context.Context, r *join.Request) (*join.Grant, error) {
	m, err := a.member(r)
	if err != nil {
		return nil, err
	}
	if m.Type == config.TypeWitness && !m.Voter && !a.Plan.NoVote {
		return nil, fmt.Errorf("an SFU of machine %s votes already, so a witness there could not: it belongs on a third machine, rrts node add MACHINE --type witness", m.Machine)
	}
	// A fault of the whole is found before the cluster is asked.
	if err := a.try(m); err != nil {
		return nil, err
	}
	record := members.Record(m)
	record.Number = 0
	answer, err := a.Add(ctx, &txnpb.AddMember{Member: &record, Replaces: uint32(a.Plan.Replaces)})
	if err != nil {
		return nil, fmt.Errorf("the cluster was asked to take %s: %w", m.Name, err)
	}
	if answer.Refused != "" {
		return nil, errors.New(answer.Refused)
	}
	if answer.Roster == nil {
		return nil, errors.New("the cluster answered without its roster")
	}
	if a.After, err = members.Cluster(a.Cluster, answer.Roster); err != nil {
		return nil, fmt.Errorf("the cluster's roster: %w", err)
	}
	self := a.After.Member(m.Name)
	if self == nil {
		return nil, fmt.Errorf("the cluster took %s, but does not list it", m.Name)
	}
	return a.grant(self, r)
}

// grant collects what the new member needs.
func (a *Admission) grant(self *config.Member, r *join.Request) (*join.Grant, error) {
	kit := a.Master.ClientKit()
	kit.Gateways = a.After.Gateways()
	a.Kit = kit.Marshal()
	g := &join.Grant{Cluster: a.After.Marshal(), ClientKit: a.Kit, PSK: a.Master.PSK[:]}
	if self.Type.Gateway() || self.Type.Effects() {
		g.Pepper = a.Master.Pepper[:]
	}
	if !self.Type.Gateway() {
		return g, nil
	}
	var err error
	if g.Certificate, err = a.Master.CA.Sign(self, ed25519.PublicKey(r.Gateway), a.Now(), a.Rand); err != nil {
		return nil, fmt.Errorf("the gateway's certificate: %w", err)
	}
	g.Token = a.Master.Token[:]
	return g, nil
}

// member makes a member of what was planned and what the guest says.
func (a *Admission) member(r *join.Request) (*config.Member, error) {
	m := &config.Member{
		Name: a.Plan.SFU, Type: a.Plan.Type, Machine: r.Machine, Carrier: a.Plan.Carrier, Gateways: r.Gateways,
		Voter: a.Plan.Type.Transactions() && !a.Plan.NoVote && a.votes(r.Machine),
	}
	if a.Plan.Machine != "" && r.Machine != a.Plan.Machine {
		return nil, fmt.Errorf("the line is for machine %s, this one is called %s", a.Plan.Machine, r.Machine)
	}
	if len(r.Interconnect) != len(m.PublicKey) {
		return nil, fmt.Errorf("its interconnect key has %d bytes, must be %d", len(r.Interconnect), len(m.PublicKey))
	}
	copy(m.PublicKey[:], r.Interconnect)
	if m.Type.Gateway() && len(r.Gateway) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("its gateway key has %d bytes, must be %d", len(r.Gateway), ed25519.PublicKeySize)
	}
	for _, u := range []struct {
		text string
		to   *netip.AddrPort
	}{{r.UDPA, &m.UDPA}, {r.UDPB, &m.UDPB}} {
		if u.text == "" {
			continue
		}
		var err error
		if *u.to, err = netip.ParseAddrPort(u.text); err != nil {
			return nil, fmt.Errorf("its UDP address %q is not IP:PORT", u.text)
		}
	}
	return m, nil
}

// votes reports whether an SFU of the machine may vote: at most one does.
func (a *Admission) votes(machine string) bool {
	return !slices.ContainsFunc(a.Cluster.SFUs, func(m config.Member) bool {
		return m.Machine == machine && m.Voter && m.Number != a.Plan.Replaces
	})
}

// try says why the cluster could not be one with m in it.
func (a *Admission) try(m *config.Member) error {
	with := *a.Cluster
	with.SFUs = slices.DeleteFunc(slices.Clone(a.Cluster.SFUs), func(o config.Member) bool { return o.Number == a.Plan.Replaces })
	tried := *m
	tried.Number = 65535 // the cluster gives the real one
	if len(with.SFUs) > 0 && with.SFUs[len(with.SFUs)-1].Number == tried.Number {
		return errors.New("the cluster has given all its numbers; make a new one of a backup")
	}
	with.SFUs = append(with.SFUs, tried)
	if err := with.Validate(); err != nil {
		return fmt.Errorf("with %s the cluster would be none: %w", m.Name, err)
	}
	return nil
}
