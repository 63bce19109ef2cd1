package connector

import "virtualservicesinc.com/net/fabric"

const (
	// chunkSize is what small records share: one that a Component keeps keeps no more
	// than this of others alive.
	chunkSize = 2048
	// smallRecord is the longest record that shares.
	smallRecord = 512
)

// parcel copies records out of the fabric's buffers, which are valid only for the
// time of a call, into memory that passes to the engine for good.
type parcel struct {
	records [][]byte
	chunk   []byte // what is left of the newest
}

// copy returns copies of the records. The slice is valid until the next copy.
func (p *parcel) copy(batch []fabric.Record) [][]byte {
	clear(p.records)
	p.records = p.records[:0]
	for i := range batch {
		p.records = append(p.records, p.one(batch[i].Data))
	}
	return p.records
}

func (p *parcel) one(data []byte) []byte {
	n := len(data)
	if n > smallRecord {
		return append(make([]byte, 0, n), data...)
	}
	if len(p.chunk) < n {
		p.chunk = make([]byte, chunkSize)
	}
	dst := p.chunk[:n:n]
	p.chunk = p.chunk[n:]
	copy(dst, data)
	return dst
}
