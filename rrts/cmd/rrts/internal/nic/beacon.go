package nic

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// Beacon is a frame that says who sent it where: with it machines find out how
// their NICs are plugged before they share a cluster's keys.
//
//	 0       4         5      6              22                  54
//	+-------+---------+------+--------------+-------------------+
//	| RRTP  | version | port | source       | HMAC-SHA256       |
//	+-------+---------+------+--------------+-------------------+
//
// The HMAC is over what stands before it, under the key that both sides have: a
// beacon of somebody else on the wire counts for nothing. Behind it Ethernet may
// add padding. No running SFU takes a beacon for a frame: they filter by their
// cluster's hash, and open what they take.
type Beacon struct {
	// Port is the network that the sender plugged the NIC into, PortA or PortB, or
	// 1 and up: the sender's own count of NICs that it knows nothing of yet.
	Port byte
	// Source is random, one for each process that sends.
	Source [16]byte
}

// The ports of a machine that knows its networks.
const (
	PortA byte = 'A'
	PortB byte = 'B'
)

const (
	beaconMagic   = 0x52525450 // "RRTP"
	beaconVersion = 1
	beaconBytes   = 22 + sha256.Size
)

// Key authenticates beacons.
type Key [32]byte

// errBeacon is what a frame is refused with that is no beacon under the key.
var errBeacon = errors.New("nic: not a beacon of ours")

func (b Beacon) append(to []byte, key *Key) []byte {
	to = binary.BigEndian.AppendUint32(to, beaconMagic)
	to = append(to, beaconVersion, b.Port)
	to = append(to, b.Source[:]...)
	return append(to, beaconMAC(to, key)...)
}

func parseBeacon(frame []byte, key *Key) (b Beacon, err error) {
	if len(frame) < beaconBytes {
		return b, fmt.Errorf("%w: %d bytes, a beacon has %d", errBeacon, len(frame), beaconBytes)
	}
	if binary.BigEndian.Uint32(frame) != beaconMagic || frame[4] != beaconVersion {
		return b, fmt.Errorf("%w: it begins with %x", errBeacon, frame[:5])
	}
	if subtle.ConstantTimeCompare(frame[22:beaconBytes], beaconMAC(frame[:22], key)) != 1 {
		return b, fmt.Errorf("%w: it was made under another key", errBeacon)
	}
	b.Port = frame[5]
	copy(b.Source[:], frame[6:22])
	return b, nil
}

func beaconMAC(text []byte, key *Key) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write(text)
	return h.Sum(nil)
}
