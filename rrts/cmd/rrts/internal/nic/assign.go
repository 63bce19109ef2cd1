package nic

import (
	"fmt"
	"strings"
)

// Assign says which NIC is network A's and which is B's, of those that a survey
// announced with the ports 1, 2 and so on in the order of nics. An empty name means
// that there is none. Where no running machine was heard, the first two separate
// networks are A and B. The error says what is plugged wrongly.
func Assign(nics []string, source [16]byte, heard []Heard) (a, b string, err error) {
	same := sameNetwork(nics, source, heard)
	on := map[string]map[byte]bool{}
	known := false
	for _, h := range heard {
		if h.Beacon.Source == source || h.Beacon.Port != PortA && h.Beacon.Port != PortB {
			continue
		}
		if on[h.NIC] == nil {
			on[h.NIC] = map[byte]bool{}
		}
		on[h.NIC][h.Beacon.Port] = true
		known = true
	}
	var as, bs []string
	for _, n := range nics {
		switch {
		case on[n][PortA] && on[n][PortB]:
			return "", "", fmt.Errorf("nic: %s hears network A and network B: the two are joined somewhere; they need a switch each, and nothing between", n)
		case on[n][PortA]:
			as = append(as, n)
		case on[n][PortB]:
			bs = append(bs, n)
		}
	}
	switch {
	case len(as) > 1:
		return "", "", fmt.Errorf("nic: %s are all plugged into network A; plug one of them into network B", strings.Join(as, ", "))
	case len(bs) > 1:
		return "", "", fmt.Errorf("nic: %s are all plugged into network B; plug one of them into network A", strings.Join(bs, ", "))
	case known && len(as) == 0:
		return "", "", fmt.Errorf("nic: %s hears network B, and none hears network A; check the cable and the switch of network A", bs[0])
	case known:
		return as[0], strings.Join(bs, ""), nil
	}
	return firstTwo(nics, same)
}

// sameNetwork says of each NIC which others it heard itself on.
func sameNetwork(nics []string, source [16]byte, heard []Heard) map[string]string {
	same := map[string]string{}
	for _, h := range heard {
		if i := int(h.Beacon.Port) - 1; h.Beacon.Source == source && i >= 0 && i < len(nics) && nics[i] != h.NIC {
			same[nics[i]], same[h.NIC] = h.NIC, nics[i]
		}
	}
	return same
}

// firstTwo picks networks where nobody else is there to say which is which.
func firstTwo(nics []string, same map[string]string) (a, b string, err error) {
	switch len(nics) {
	case 0:
		return "", "", nil
	case 1:
		return nics[0], "", nil
	case 2:
		if other := same[nics[0]]; other != "" {
			return "", "", fmt.Errorf("nic: what leaves on %s arrives on %s: both are plugged into one network; plug them into two switches that nothing joins", nics[0], other)
		}
		return nics[0], nics[1], nil
	}
	return "", "", fmt.Errorf("nic: %d NICs are free (%s); name the two: --nic-a %s --nic-b %s", len(nics), strings.Join(nics, ", "), nics[0], nics[1])
}
