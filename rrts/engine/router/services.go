package router

import (
	"cmp"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// service is what is known of one service: who answers it, and who holds it.
type service struct {
	desc      *message.ServiceDescriptor
	instances []*instance // by SFU number
	parked    list        // calls that no instance can take now
	holder    uint16      // of PolicyLeader; 0 is nobody
	term      uint64
	latency   []Histogram // by index of the method in desc
}

// instance is one SFU's instance of one service.
type instance struct {
	svc         *service
	sfu         uint16
	peer        *peer                      // nil for this SFU's own
	desc        *message.ServiceDescriptor // of a service of the site: how it describes itself
	offered     bool                       // it answers the service at all
	ready       bool                       // by policy too, not only by name
	draining    bool                       // of this SFU's own: it finishes and takes nothing new
	outstanding int
	picked      uint64 // the choice that took it last
	calls       list   // in flight, in the order in which they were sent
}

// service returns what is known of service n, or nil if the registry does not
// know it.
func (r *Router) service(n uint16) *service {
	if s := r.services[n]; s != nil {
		return s
	}
	desc := r.cfg.Registry.Service(n)
	if desc == nil {
		return nil
	}
	return r.know(desc)
}

// know begins to know a service.
func (r *Router) know(desc *message.ServiceDescriptor) *service {
	n := desc.Number
	s := &service{desc: desc, latency: make([]Histogram, len(desc.Methods))}
	s.parked.kind = byPlace
	r.services[n] = s
	at, _ := slices.BinarySearchFunc(r.order, n, func(s *service, n uint16) int { return cmp.Compare(s.desc.Number, n) })
	r.order = slices.Insert(r.order, at, s)
	return s
}

// method returns the index of method n, or -1.
func (s *service) method(n uint16) int {
	for i := range s.desc.Methods {
		if s.desc.Methods[i].Number == n {
			return i
		}
	}
	return -1
}

func (s *service) instance(sfu uint16) *instance {
	at, found := s.find(sfu)
	if !found {
		return nil
	}
	return s.instances[at]
}

func (s *service) find(sfu uint16) (int, bool) {
	return slices.BinarySearchFunc(s.instances, sfu, func(in *instance, n uint16) int { return cmp.Compare(in.sfu, n) })
}

// add returns the instance in sfu, which it makes if need be.
func (s *service) add(sfu uint16, p *peer) *instance {
	at, found := s.find(sfu)
	if found {
		return s.instances[at]
	}
	in := &instance{svc: s, sfu: sfu, peer: p}
	in.calls.kind = byPlace
	s.instances = slices.Insert(s.instances, at, in)
	if p != nil {
		p.instances = append(p.instances, in)
	}
	return in
}

// reluctance orders instances before anything else does: a healthy one, one that
// may be gone, one that would rather not.
func (in *instance) reluctance() int {
	switch {
	case in.draining || in.peer != nil && in.peer.Draining:
		return 2
	case in.peer != nil && in.peer.Suspect:
		return 1
	}
	return 0
}

// pick chooses the instance for c, or nil.
func (r *Router) pick(c *Call) *instance {
	switch c.policy {
	case message.PolicyNamed:
		return r.named(c)
	case message.PolicyLeader:
		in := c.svc.instance(c.svc.holder)
		if in == nil || !in.ready || in == c.refused || !in.answers(c.method.Number) {
			return nil
		}
		return in
	}
	var best *instance
	for _, in := range c.svc.instances {
		if in.ready && in != c.refused && in.answers(c.method.Number) && (best == nil || r.better(c, in, best)) {
			best = in
		}
	}
	return best
}

// named returns the instance in c.Target. A peer is asked even if it did not
// announce the service yet: it knows better than we do.
func (r *Router) named(c *Call) *instance {
	if c.Target == r.cfg.Self {
		if in := c.svc.instance(c.Target); in != nil && in.offered {
			return in
		}
		return nil
	}
	p := r.peers[c.Target]
	if p == nil {
		return nil
	}
	return c.svc.add(c.Target, p)
}

// better reports whether c should rather go to a than to b. No two are equal: in
// the end the numbers of the SFUs decide.
func (r *Router) better(c *Call, a, b *instance) bool {
	if x, y := a.reluctance(), b.reluctance(); x != y {
		return x < y
	}
	if c.policy == message.PolicyKey {
		x, y := rendezvous(c.Key, a.sfu), rendezvous(c.Key, b.sfu)
		return x > y || x == y && a.sfu < b.sfu
	}
	if a.outstanding != b.outstanding {
		return a.outstanding < b.outstanding
	}
	if (a.peer == nil) != (b.peer == nil) {
		return a.peer == nil
	}
	if a.picked != b.picked {
		return a.picked < b.picked
	}
	return a.sfu < b.sfu
}

// rendezvous is the weight of an SFU for a key: that of highest weight takes it.
// When an SFU comes or goes, only its own keys move. The function is the same in
// every SFU and may never change while versions mix.
func rendezvous(key uint64, sfu uint16) uint64 {
	return mix(key ^ mix(uint64(sfu)))
}

// mix is the finalizer of SplitMix64: every bit of x moves half the bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Local says that this SFU answers service n (offered), and whether it is ready.
// A service that the registry does not know cannot be offered.
func (r *Router) Local(now time.Duration, n uint16, offered, ready bool, out *[]Output) {
	svc := r.service(n)
	if svc == nil {
		return
	}
	in := svc.add(r.cfg.Self, nil)
	if in.offered == offered && in.ready == ready {
		return
	}
	in.offered, in.ready, in.draining = offered, ready, false
	r.announceAll(out)
	r.retry(now, svc, out)
}

// LocalDraining says that this SFU's instance of service n takes nothing new by
// policy. Calls of ours go elsewhere if they can.
func (r *Router) LocalDraining(n uint16) {
	if svc := r.services[n]; svc != nil {
		if in := svc.instance(r.cfg.Self); in != nil {
			in.draining = true
		}
	}
}

// Hold says who holds service n, as this SFU's own Component knows it.
func (r *Router) Hold(now time.Duration, n, holder uint16, term uint64, out *[]Output) {
	if svc := r.service(n); svc != nil && svc.hold(holder, term) {
		r.announceAll(out)
		r.news(now, svc, out)
	}
}

// news puts to use that svc has another holder or one more instance: for calls that
// wait, and for those that a former holder may never answer.
func (r *Router) news(now time.Duration, svc *service, out *[]Output) {
	for _, in := range svc.instances {
		r.succeed(now, in, out)
	}
	r.retry(now, svc, out)
}

// succeed moves the calls that went to in as the holder of its service on to the
// holder of a higher term, when nothing is heard of in any more: it need not be
// given up first. One that is heard answers by itself, and calls that may not be
// executed twice wait for what becomes of it.
func (r *Router) succeed(now time.Duration, in *instance, out *[]Output) {
	if in.peer == nil || !in.peer.Suspect || in.svc.holder == 0 || in.svc.holder == in.sfu {
		return
	}
	for c := in.calls.head; c != nil; {
		next := c.links[byPlace].next
		if c.policy == message.PolicyLeader && c.method.Idempotent {
			r.displace(c)
			c.maybe = true
			r.place(now, c, out)
		}
		c = next
	}
}

// hold takes in that holder has the service in term, and reports whether that was
// news.
func (s *service) hold(holder uint16, term uint64) bool {
	if term < s.term || term == s.term && (s.holder != 0 || holder == 0) {
		return false
	}
	s.holder, s.term = holder, term
	return true
}

// LastOf returns the names of the services of which this SFU has the only
// instance that is ready and not about to stop, in the order of their numbers.
// Services that are asked by name only do not count: nobody can stand in for them.
func (r *Router) LastOf() []string {
	var names []string
	for _, s := range r.order {
		own := s.instance(r.cfg.Self)
		if own == nil || !own.ready || s.desc.Policy == message.PolicyNamed || s.desc.Policy == message.PolicyAll {
			continue
		}
		if !slices.ContainsFunc(s.instances, func(in *instance) bool { return in.peer != nil && in.ready && !in.peer.Draining }) {
			names = append(names, s.desc.Name)
		}
	}
	return names
}

// MethodLatency is how long calls of one method took, as their callers here saw it.
type MethodLatency struct {
	Service, Method string
	Histogram       Histogram
}

// Latencies returns the methods that were called, by numbers.
func (r *Router) Latencies() []MethodLatency {
	var all []MethodLatency
	for _, s := range r.order {
		for i, m := range s.desc.Methods {
			if s.latency[i].Count > 0 {
				all = append(all, MethodLatency{Service: s.desc.Name, Method: m.Name, Histogram: s.latency[i]})
			}
		}
	}
	return all
}
