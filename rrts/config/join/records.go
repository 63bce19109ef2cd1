package join

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Offer is what the host says first.
type Offer struct {
	Software string `json:"software"` // the host's, for people
	Cluster  string `json:"cluster"`
	ID       string `json:"id"` // of the cluster
	SFU      string `json:"sfu"`
	Type     string `json:"type"`
	// Machine is where the SFU is to run; empty leaves the name to the guest.
	Machine string `json:"machine,omitempty"`
	// Gateways are host:port; where the type has a gateway and there are none the
	// guest gives its own.
	Gateways []string `json:"gateways,omitempty"`
	// Carrier is the SFU's, "ethernet" or "udp"; UDPA and UDPB are set with "udp"
	// where the host knows them.
	Carrier string `json:"carrier"`
	// Replaces is the number of the SFU whose place it takes, 0 for none: what a guest
	// has of that one it moves out of the way.
	Replaces uint16 `json:"replaces,omitempty"`
	UDPA     string `json:"udp_a,omitempty"`
	UDPB     string `json:"udp_b,omitempty"`
	// EtherTypes are the interconnect's, of network A and of B.
	EtherTypes [2]uint16 `json:"ethertypes"`
}

// Request is the guest's answer: what is its own.
type Request struct {
	Software string `json:"software"`
	Machine  string `json:"machine"`
	// NetworkA and NetworkB are the NICs that it found, for people.
	NetworkA string `json:"network_a,omitempty"`
	NetworkB string `json:"network_b,omitempty"`
	// Interconnect is the SFU's X25519 public key, Gateway the Ed25519 one of its
	// gateway's certificate, where the type has one.
	Interconnect []byte   `json:"interconnect"`
	Gateway      []byte   `json:"gateway,omitempty"`
	Gateways     []string `json:"gateways,omitempty"`
	UDPA         string   `json:"udp_a,omitempty"`
	UDPB         string   `json:"udp_b,omitempty"`
}

// Grant is what makes the guest a member.
type Grant struct {
	// Refused says why not, in one line; then the rest is empty.
	Refused string `json:"refused,omitempty"`
	// Cluster is cluster.toml with the guest in it, ClientKit client-kit.toml.
	Cluster   []byte `json:"cluster,omitempty"`
	ClientKit []byte `json:"client_kit,omitempty"`
	// Certificate is the gateway's, as PEM.
	Certificate []byte `json:"certificate,omitempty"`
	// PSK, Pepper and Token are 32 bytes each; the latter two where the type has a
	// gateway.
	PSK    []byte `json:"psk,omitempty"`
	Pepper []byte `json:"pepper,omitempty"`
	Token  []byte `json:"token,omitempty"`
}

// Done ends it: the guest has everything on disk, or says why not.
type Done struct {
	Failed string `json:"failed,omitempty"`
}

// parse reads a record strictly: a field that this version does not know is a fault.
func parse[T any](record []byte) (*T, error) {
	v := new(T)
	d := json.NewDecoder(bytes.NewReader(record))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return nil, fmt.Errorf("%w: %T: %v; are both machines on the same version of rrts?", ErrProtocol, *v, err)
	}
	return v, nil
}
