package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// shop is a service of the site in a version of so many methods.
func shop(methods int) *message.ServiceDescriptor {
	d := &message.ServiceDescriptor{Number: 2000, Name: "Shop", Policy: message.PolicyAny}
	for n := 1; n <= methods; n++ {
		d.Methods = append(d.Methods, message.MethodDescriptor{Number: uint16(n), Name: fmt.Sprint("M", n), Lane: message.LaneRequest,
			Idempotent: true, MaxBytes: 100 * uint32(methods), Clients: message.RoleSet(message.RoleClient)})
	}
	return d
}

// offering is a Component that offers services of the site when it starts.
func offering(sfu uint16, services ...*message.ServiceDescriptor) stub {
	s := answering(sfu, "shop", echo)
	s.services = nil
	s.start = func(s *stub) error {
		var all []Service
		for _, d := range services {
			all = append(all, Service{Descriptor: d})
		}
		return s.host.Offer(all)
	}
	return s
}

// TestSiteServices: what one SFU offers is known in every one. While two versions of a
// Component run, a method of the newer one is asked of those alone that have it.
func TestSiteServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := cluster(t, func(sfu uint16) []stub {
			switch sfu {
			case 1:
				return []stub{{name: "client"}}
			case 2:
				return []stub{offering(2, shop(1))}
			}
			return []stub{offering(3, shop(2))}
		})
		one := all[0]
		d := one.units[1].in.Service(2000)
		if d == nil || d.Name != "Shop" || len(d.Methods) != 2 || d.Methods[0].MaxBytes != 100 || !d.Methods[1].Clients.Has(message.RoleClient) {
			t.Fatalf("SFU 1 knows %+v", d)
		}
		seen := map[string]int{}
		for range 4 {
			r, _ := one.ask(2000, 1, 0, "hi")
			seen[string(r.Body)]++
		}
		for range 4 {
			r, _ := one.ask(2000, 2, 0, "new")
			one.expect(r, message.OK, "new from 3")
		}
		if seen["hi from 2"] != 2 || seen["hi from 3"] != 2 {
			t.Error(seen)
		}
		if r, _ := one.ask(2000, 2, 2, "new"); r.Code != message.NoMethod {
			t.Errorf("the older version answers %v", r)
		}
		if r, _ := one.ask(2000, 3, 0, "never"); r.Code != message.NoMethod {
			t.Errorf("a method that nobody has: %v", r)
		}

		// The older one is replaced in its place; what is not granted any more ends.
		newer := shop(3)
		newer.Methods[0].Clients = 0
		if err := all[1].units[1].in.Offer([]Service{{Descriptor: newer}}); err != nil {
			t.Fatal(err)
		}
		settle()
		r, _ := one.ask(2000, 3, 0, "newest")
		one.expect(r, message.OK, "newest from 2")
		if d = one.units[1].in.Service(2000); d.Method(1).Clients != 0 || d.Method(1).MaxBytes != 300 {
			t.Errorf("SFU 1 knows %+v", d)
		}

		// Withdrawn everywhere, calls wait until their deadline and find nobody.
		for _, f := range all[1:] {
			if err := f.units[1].in.Offer(nil); err != nil {
				t.Fatal(err)
			}
		}
		settle()
		if r, _ := one.ask(2000, 1, 0, "late"); r.Code != message.Unavailable {
			t.Errorf("%v", r)
		}
		if r, _ := one.ask(2000, 1, 2, "late"); r.Code != message.NoMethod {
			t.Errorf("%v", r)
		}
		endAll(all)
	})
}

// TestOfferRefuses: what may not be offered is named, and nothing has changed.
func TestOfferRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, []func() (Component, error){made(stub{name: "a", services: provides(echo)}), made(offering(1, shop(1))), made(stub{name: "c"})}).begin()
		with := func(change func(d *message.ServiceDescriptor)) []Service {
			d := shop(1)
			change(d)
			return []Service{{Descriptor: d}}
		}
		for want, services := range map[string][]Service{
			"begin at 1000":                 with(func(d *message.ServiceDescriptor) { d.Number = 999 }),
			"number 1000 of Echo":           with(func(d *message.ServiceDescriptor) { d.Number = echoService }),
			"another Component of this SFU": with(func(*message.ServiceDescriptor) {}),
			"two services have the number":  append(with(func(d *message.ServiceDescriptor) { d.Number = 2001 }), with(func(d *message.ServiceDescriptor) { d.Number = 2001 })...),
			"at most 40960: shorten names":  with(func(d *message.ServiceDescriptor) { d.Number, d.Name = 2001, strings.Repeat("x", maxSiteBytes) }),
		} {
			if err := f.units[2].in.Offer(services); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", want, err)
			}
		}
		if d := f.units[2].in.Service(2001); d != nil {
			t.Errorf("%+v", d)
		}
		if s := f.Status().Components; !slices.ContainsFunc(s, func(c enginepb.ComponentStatus) bool { return c.Name == "shop" && c.MailboxBound == DefaultMailbox }) {
			t.Errorf("%+v", s)
		}
		f.end(nil)
	})
}

// TestApart: nobody waits for a Component that was added apart, and its failure is its
// own.
func TestApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, []func() (Component, error){made(stub{name: "a"})})
		if err := f.AddApart(made(stub{name: "b", unready: true, start: func(s *stub) error {
			s.host.Go("fails", func(context.Context) { s.host.Fail("no licence") })
			return nil
		}})); err != nil {
			t.Fatal(err)
		}
		f.begin()
		if err := f.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := f.alarms.take(); len(got) == 0 || got[0] != "warning component-failed@b: no licence" {
			t.Errorf("%q", got)
		}
		if f.state("a") != "ready" {
			t.Error(f.state("a"))
		}
		f.end(nil)
	})
}

// TestRestartOfSite: an operator starts a Component of the site anew, and no other.
func TestRestartOfSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var life diary
		f := newFixture(t, []func() (Component, error){made(stub{name: "a"})})
		broken := true
		if err := f.AddApart(made(stub{name: "b", life: &life, start: func(s *stub) error {
			if broken && s.life1 > 1 {
				return errTest
			}
			return nil
		}})); err != nil {
			t.Fatal(err)
		}
		f.begin()
		restart := func(name string, role message.Role) Reply {
			p := &pending{wait: make(chan Reply, 1)}
			f.call(p, &Call{Service: enginepb.EngineService, Method: enginepb.EngineRestartMethod, Target: 1, Role: role,
				Body: message.Marshal(&enginepb.RestartRequest{Component: name})})
			return <-p.wait
		}
		for name, want := range map[string]message.Code{"a": message.NotFound, "c": message.NotFound} {
			if r := restart(name, message.RoleOperator); r.Code != want {
				t.Errorf("%s: %v", name, r)
			}
		}
		if r := restart("b", message.RoleAuditor); r.Code != message.Denied {
			t.Error(r)
		}
		life.take()
		if r := restart("b", message.RoleOperator); r.Code != message.OK {
			t.Error(r)
		}
		time.Sleep(20 * time.Second) // its rests are long by now
		synctest.Wait()
		if s := f.Status().Components[1]; s.State != "failed" || s.Failure != "restart: start: test" || !s.Site {
			t.Errorf("%+v", s)
		}
		broken = false
		if r := restart("b", message.RoleOperator); r.Code != message.OK {
			t.Error(r)
		}
		synctest.Wait()
		if s := f.state("b"); s != "ready" {
			t.Errorf("%s: a restart does not end the rest", s)
		}
		f.end(nil)
	})
}
