package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Digest identifies what a state holds: SHA-256 over the rows of accounts, history,
// transactions, users and rights, each as
//
//	0  4  length of the key, little-endian
//	4  4  length of the value
//	8     key without the group's number, value
//
// in key order. Stores that applied the same entries have the same one. Where in the
// log the state stands and who the members are is no part of it: a backup that was
// restored in another cluster has the digest of the state that it was taken from.
func Digest(s Snapshot) ([sha256.Size]byte, error) {
	h := sha256.New()
	var head [8]byte
	for row, err := range s.Rows() {
		if err != nil {
			return [sha256.Size]byte{}, err
		}
		if len(row.Key) < prefixLen {
			return [sha256.Size]byte{}, fmt.Errorf("%w: key %x", ErrCorrupt, row.Key)
		}
		key := row.Key[prefixLen-1:]
		if !hashed(table(key[0])) {
			continue
		}
		binary.LittleEndian.PutUint32(head[:4], uint32(len(key)))
		binary.LittleEndian.PutUint32(head[4:], uint32(len(row.Value)))
		h.Write(head[:])
		h.Write(key)
		h.Write(row.Value)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
