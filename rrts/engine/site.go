package engine

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// FirstSite is the first number of the services of a site.
const FirstSite = router.FirstSite

// maxSiteBytes bounds the descriptions of all services of the site that one SFU offers,
// in bytes: they travel in every announcement, which may have 64 KiB. It is some four
// hundred methods.
const maxSiteBytes = 40 << 10

// all returns the services that u answers.
func (u *unit) all() []*served {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.services)
}

// Offer implements Host.
func (in *instance) Offer(services []Service) error {
	u := in.unit
	e := u.engine
	e.sites.Lock()
	defer e.sites.Unlock()
	if in.dead.Load() {
		return errors.New("engine: Offer after the end of the Component's life")
	}
	offer, err := u.check(services)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	keep := func(x *served) bool {
		return !x.site || slices.ContainsFunc(offer, func(o *served) bool { return o.desc.Number == x.desc.Number })
	}
	for i, x := range offer { // latencies of what has not changed go on
		for _, before := range u.services {
			if before.bound == x.bound && reflect.DeepEqual(before.desc, x.desc) {
				offer[i] = before
			}
		}
	}
	w := e.begin()
	for _, x := range u.services {
		if !keep(x) {
			w.router.LocalSite(w.now, x.desc, false, false, &w.out)
		}
	}
	for _, x := range offer {
		if !w.router.LocalSite(w.now, x.desc, true, u.box.status().ready, &w.out) {
			err = errors.Join(err, fmt.Errorf("engine: %s (%d) cannot be offered: too many services of the site are known", x.desc.Name, x.desc.Number))
		}
	}
	w.end()
	e.serve(func(all map[uint16]service) {
		for _, x := range u.services {
			if !keep(x) {
				delete(all, x.desc.Number)
			}
		}
		for _, x := range offer {
			all[x.desc.Number] = service{unit: u, served: x}
		}
	})
	u.services = append(slices.DeleteFunc(slices.Clone(u.services), func(x *served) bool { return x.site }), offer...)
	return err
}

// check returns what services are to be served by u, or every reason why not.
func (u *unit) check(services []Service) ([]*served, error) {
	e := u.engine
	var faults []error
	fault := func(bad bool, format string, a ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("engine: "+format, a...))
		}
	}
	bytes := 0
	for _, o := range e.units {
		if o != u {
			for _, x := range o.all() {
				if x.site {
					bytes += router.Describe(x.desc).Size()
				}
			}
		}
	}
	var offer []*served
	seen := make(map[uint16]bool)
	for _, s := range services {
		d := s.Descriptor
		bytes += router.Describe(d).Size()
		other, taken := (*e.byService.Load())[d.Number]
		fault(d.Number < FirstSite, "%s has the number %d: those of a site begin at %d", d.Name, d.Number, FirstSite)
		fault(e.cfg.Registry.Service(d.Number) != nil, "%s has the number %d of %s", d.Name, d.Number, nameOf(e.cfg.Registry.Service(d.Number)))
		fault(taken && other.unit != u, "%s has the number %d, which another Component of this SFU answers", d.Name, d.Number)
		fault(seen[d.Number], "two services have the number %d", d.Number)
		seen[d.Number] = true
		x := newServed(s)
		x.site = true
		offer = append(offer, x)
	}
	fault(bytes > maxSiteBytes, "the descriptions of this SFU's services of the site take %d bytes, at most %d: shorten names, or spread the services over SFUs", bytes, maxSiteBytes)
	return offer, errors.Join(faults...)
}

func nameOf(d *message.ServiceDescriptor) string {
	if d == nil {
		return ""
	}
	return d.Name
}

// Service implements Host.
func (in *instance) Service(number uint16) *message.ServiceDescriptor {
	e := in.unit.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.router.Service(number)
}

// Describe and Described turn what routing knows of a service of the site into what a
// child says of it, and back; Described returns nil for what is no such description.
func Describe(d *message.ServiceDescriptor) *enginepb.ServiceDescription { return router.Describe(d) }
func Described(d *enginepb.ServiceDescription) *message.ServiceDescriptor {
	return router.Described(d)
}
