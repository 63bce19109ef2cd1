package router

import (
	"slices"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// FirstSite is the first number of the services of a site: what is below it is in
// every engine's registry, what is above is described by those who answer it.
const FirstSite = 1000

// maxSiteServices bounds the services of a site that an engine knows: those of as
// many Components as fit an engine, each of a few.
const maxSiteServices = 512

// LocalSite says that this SFU answers a service of the site, and whether it is ready.
// desc belongs to the router. It reports false if the service cannot be known: its
// number is RRTS's own, or there are too many.
func (r *Router) LocalSite(now time.Duration, desc *message.ServiceDescriptor, offered, ready bool, out *[]Output) bool {
	svc := r.learn(desc)
	if svc == nil {
		return false
	}
	in := svc.add(r.cfg.Self, nil)
	if in.offered == offered && in.ready == ready && in.desc == desc {
		return true
	}
	in.desc = desc
	in.offered, in.ready, in.draining = offered, ready, false
	svc.merge()
	r.announceAll(out)
	r.retry(now, svc, out)
	return true
}

// learn returns what is known of a service of the site, which it begins to know if
// need be; nil if that cannot be.
func (r *Router) learn(desc *message.ServiceDescriptor) *service {
	if s := r.services[desc.Number]; s != nil {
		if r.cfg.Registry.Service(desc.Number) != nil {
			return nil
		}
		return s
	}
	if desc.Number < FirstSite || r.cfg.Registry.Service(desc.Number) != nil || r.learnt >= maxSiteServices {
		return nil
	}
	r.learnt++
	return r.know(&message.ServiceDescriptor{Number: desc.Number, Name: desc.Name, Policy: desc.Policy})
}

// merge makes desc anew from what the instances say of themselves: who says something
// of a method first decides, this SFU's own before the others in the order of their
// numbers. While two versions of a Component run, that is all the methods of both. A
// method that nobody answers any more stays known, so that its place in desc, by which
// calls and latencies know it, does not change.
func (s *service) merge() {
	if !slices.ContainsFunc(s.instances, func(in *instance) bool { return in.desc != nil }) {
		return
	}
	merged := &message.ServiceDescriptor{Number: s.desc.Number, Name: s.desc.Name, Policy: s.desc.Policy,
		Methods: slices.Clone(s.desc.Methods)}
	said := make(map[uint16]bool)
	first := true
	for _, local := range []bool{true, false} {
		for _, in := range s.instances {
			if in.desc == nil || !in.offered || (in.peer == nil) != local {
				continue
			}
			if first {
				merged.Name, merged.Policy, first = in.desc.Name, in.desc.Policy, false
			}
			for _, m := range in.desc.Methods {
				if said[m.Number] {
					continue
				}
				said[m.Number] = true
				if at := slices.IndexFunc(merged.Methods, func(o message.MethodDescriptor) bool { return o.Number == m.Number }); at >= 0 {
					merged.Methods[at] = m
				} else {
					merged.Methods = append(merged.Methods, m)
				}
			}
		}
	}
	for i := range merged.Methods {
		if !first && !said[merged.Methods[i].Number] {
			merged.Methods[i].Clients = 0 // nobody grants it any more
		}
	}
	s.desc = merged
	for len(s.latency) < len(merged.Methods) {
		s.latency = append(s.latency, Histogram{})
	}
}

// answers reports whether in answers the method.
func (in *instance) answers(method uint16) bool {
	return in.desc == nil || in.desc.Method(method) != nil
}

// Service returns what is known of service n, or nil. It does not change any more.
func (r *Router) Service(n uint16) *message.ServiceDescriptor {
	if s := r.service(n); s != nil {
		return s.desc
	}
	return nil
}

// Describe returns what an announcement, or a child, says of a service of the site.
func Describe(d *message.ServiceDescriptor) *enginepb.ServiceDescription {
	out := &enginepb.ServiceDescription{Number: uint32(d.Number), Name: d.Name, Policy: uint32(d.Policy)}
	for _, m := range d.Methods {
		out.Methods = append(out.Methods, enginepb.MethodDescription{Number: uint32(m.Number), Name: m.Name, Lane: uint32(m.Lane),
			Idempotent: m.Idempotent, Notice: m.Notice, Sensitive: m.Sensitive, MaxBytes: m.MaxBytes,
			Request: m.Request, Reply: m.Reply, Clients: uint32(m.Clients)})
	}
	return out
}

// Described is the inverse of Describe. It returns nil for what is no description of a
// service of the site.
func Described(d *enginepb.ServiceDescription) *message.ServiceDescriptor {
	if d.Number < FirstSite || d.Number > 0xffff || d.Name == "" || d.Policy > uint32(message.PolicyNamed) {
		return nil
	}
	out := &message.ServiceDescriptor{Number: uint16(d.Number), Name: d.Name, Policy: message.Policy(d.Policy)}
	for i := range d.Methods {
		m := &d.Methods[i]
		if m.Number == 0 || m.Number > 0xffff || m.Name == "" || m.Lane >= message.Lanes || out.Method(uint16(m.Number)) != nil {
			return nil
		}
		out.Methods = append(out.Methods, message.MethodDescriptor{Number: uint16(m.Number), Name: m.Name, Lane: message.Lane(m.Lane),
			Idempotent: m.Idempotent, Notice: m.Notice, Sensitive: m.Sensitive, MaxBytes: m.MaxBytes,
			Request: m.Request, Reply: m.Reply, Clients: message.Roles(m.Clients)})
	}
	return out
}
