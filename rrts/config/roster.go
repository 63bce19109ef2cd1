package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// RosterFile is the name, in an SFU's state directory, of the newest list of SFUs
// that it knows.
const RosterFile = "roster.toml"

const rosterComment = `The newest list of the cluster's SFUs that this SFU was told of. It writes this file itself and starts from it,
unless cluster.toml has a newer one. Without this file it starts from cluster.toml.`

func (c *Cluster) rosterKeys(k *keys) {
	key(k, "cluster_id", &c.ID, must[ID]("remove the file: the SFU writes it again"), clusterID,
		"The cluster.")
	key(k, "version", &c.Roster, must[uint64]("remove the file: the SFU writes it again"), integer[uint64](0, 1<<62),
		"The version of the list.")
	key(k, "epoch", &c.Epoch, otherwise[uint32](1), integer[uint32](1, 1<<31),
		"The epoch of the transactions with it. The list of a higher epoch is the newer one.")
	k.sections("sfu", "The SFUs, one [[sfu]] each.", len(c.SFUs),
		func(n int) { c.SFUs = make([]Member, n) },
		func(i int, k *keys) { c.SFUs[i].keys(k, c.Interconnect.Carrier) })
}

// ErrRosterRotten says that a roster.toml is not what the SFU wrote. It can do without.
var ErrRosterRotten = errors.New("has changed since the SFU wrote it: text and check sum do not belong together")

// rosterCheck begins the last line of roster.toml, the CRC-32C of those before in
// hexadecimal: nobody but the SFU writes the file, and a name or a key that has rotted is
// another one.
const rosterCheck = "# crc32c "

// MarshalRoster returns roster.toml: the cluster's SFUs and the version of the list.
func (c *Cluster) MarshalRoster() []byte {
	text := writeFile(rosterComment, c.rosterKeys)
	return fmt.Appendf(text, "%s%s\n", rosterCheck, sumOf(text))
}

// rosterRots reports whether a roster.toml has a check sum, and another one than it
// should. Files of before there was one have none.
func rosterRots(data []byte) bool {
	at := bytes.LastIndex(data, []byte(rosterCheck))
	return at >= 0 && string(data[at+len(rosterCheck):]) != sumOf(data[:at])+"\n"
}

// ParseRoster returns the cluster with the SFUs of a roster.toml in the place of its
// own. The name stands in faults.
func (c *Cluster) ParseRoster(name string, data []byte) (*Cluster, error) {
	d, fs := parseDocument(name, data)
	if d == nil {
		return nil, fs.err()
	}
	out := *c
	readFile(d, out.rosterKeys)
	out.Epoch = max(out.Epoch, c.Epoch)
	if out.ID != c.ID && !d.hasFault("cluster_id") {
		d.fault("cluster_id", "is "+out.ID.String()+", not this cluster's "+c.ID.String(), "this state is of an SFU of another cluster: move it away")
	}
	out.relate(d)
	return &out, d.faults.err()
}

// Newer reports whether c has a newer list of SFUs than another state of the same cluster.
func (c *Cluster) Newer(than *Cluster) bool {
	if c.Epoch != than.Epoch {
		return c.Epoch > than.Epoch
	}
	return c.Roster > than.Roster
}

// StateRoster returns the cluster with the list of SFUs in the roster.toml of a state
// directory, older or newer; nil when there is none. The error wraps ErrRosterRotten
// when the file is not what was written.
func (c *Cluster) StateRoster(stateDir string) (*Cluster, error) {
	path := filepath.Join(stateDir, RosterFile)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, &Error{faults{openFault(path, err, "")}}
	}
	if d, _ := parseDocument(path, data); d == nil || rosterRots(data) {
		return nil, fmt.Errorf("config: %s %w", path, ErrRosterRotten)
	}
	return c.ParseRoster(path, data)
}
