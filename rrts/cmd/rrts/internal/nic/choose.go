package nic

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"virtualservicesinc.com/rrts/config"
)

const (
	// carrierPatience is for a NIC that was just raised: auto-negotiation takes up to
	// three seconds.
	carrierPatience = 4 * time.Second
	// surveyTime is long against the interval of announcements.
	surveyTime = 1500 * time.Millisecond
)

// Choice is the NICs that a machine gives to the interconnect.
type Choice struct {
	A, B config.NIC // zero where there is none
	// Note says what was found, for people.
	Note []string
}

// Choose finds the NICs of networks A and B: among the free ones that have a
// carrier, by beacons under the key, or those that are named. Names may be MAC
// addresses. It raises free NICs for it, which needs root.
func Choose(ctx context.Context, key Key, etherTypes [2]uint16, nameA, nameB string) (*Choice, error) {
	all, err := List()
	if err != nil {
		return nil, err
	}
	c := &Choice{}
	var candidates []NIC
	if nameA == "" {
		if candidates, err = c.free(all); err != nil || len(candidates) == 0 {
			return c, err
		}
	} else {
		for _, name := range []string{nameA, nameB} {
			if name == "" {
				continue
			}
			want, err := Parse(name)
			if err != nil {
				return nil, err
			}
			n, err := Find(all, want)
			if err != nil {
				return nil, err
			}
			if n.Unfit != "" {
				return nil, fmt.Errorf("nic: %v cannot be the interconnect's: %s", n, n.Unfit)
			}
			candidates = append(candidates, n)
		}
	}
	if candidates, err = Raise(candidates, carrierPatience); err != nil {
		return nil, fmt.Errorf("%w; run this as root", err)
	}
	a, b, err := c.survey(ctx, key, etherTypes, candidates, nameA != "")
	if err != nil {
		return nil, err
	}
	for _, n := range candidates {
		switch n.Name {
		case a:
			c.A = config.NIC{MAC: n.MAC}
			c.Note = append(c.Note, "network A: "+n.String())
		case b:
			c.B = config.NIC{MAC: n.MAC}
			c.Note = append(c.Note, "network B: "+n.String())
		}
	}
	return c, nil
}

// free returns the NICs that nobody uses and that have a carrier.
func (c *Choice) free(all []NIC) ([]NIC, error) {
	fit := Fit(all)
	if len(fit) == 0 {
		c.Note = append(c.Note, "no NIC is free for the interconnect")
		return nil, nil
	}
	raised, err := Raise(fit, carrierPatience)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w; run this as root, or name the NICs: --nic-a %s", err, fit[0].Name)
	}
	if err != nil {
		return nil, err
	}
	var plugged []NIC
	for _, n := range raised {
		if n.Carrier {
			plugged = append(plugged, n)
			continue
		}
		c.Note = append(c.Note, n.String()+" has no carrier: its cable is out")
	}
	return plugged, nil
}

// survey asks the wires. Where the operator named the NICs, what is heard may only
// contradict him.
func (c *Choice) survey(ctx context.Context, key Key, etherTypes [2]uint16, candidates []NIC, named bool) (a, b string, err error) {
	s := &Survey{EtherTypes: etherTypes, Key: key}
	if _, err := rand.Read(s.Source[:]); err != nil {
		return "", "", fmt.Errorf("nic: no randomness: %w", err)
	}
	for i, n := range candidates {
		s.NICs = append(s.NICs, n.Name)
		s.Ports = append(s.Ports, byte(i+1))
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	heard, err := s.Run(ctx)
	if err != nil {
		return "", "", err
	}
	a, b, err = Assign(s.NICs, s.Source, heard)
	if err != nil || !named {
		return a, b, err
	}
	if a != s.NICs[0] {
		return "", "", fmt.Errorf("nic: network A is plugged into %s, not %s; change the cables or the names", a, s.NICs[0])
	}
	if len(s.NICs) > 1 {
		b = s.NICs[1] // it may be silent: the other machine has one network only
	}
	return a, b, nil
}

// Announce tells who listens under the key which network is which, until ctx ends. A
// machine without networks has nothing to say.
func Announce(ctx context.Context, key Key, etherTypes [2]uint16, m *config.Machine) error {
	all, err := List()
	if err != nil {
		return err
	}
	s := &Survey{EtherTypes: etherTypes, Key: key}
	if _, err := rand.Read(s.Source[:]); err != nil {
		return fmt.Errorf("nic: no randomness: %w", err)
	}
	for _, n := range []struct {
		want config.NIC
		port byte
	}{{m.NetworkA, PortA}, {m.NetworkB, PortB}} {
		if n.want.IsZero() {
			continue
		}
		found, err := Find(all, n.want)
		if err != nil {
			return err
		}
		s.NICs, s.Ports = append(s.NICs, found.Name), append(s.Ports, n.port)
	}
	if len(s.NICs) == 0 {
		return nil
	}
	_, err = s.Run(ctx)
	return err
}
