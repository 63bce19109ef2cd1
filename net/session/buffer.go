package session

const (
	// blockSize is the unit of stream memory: small enough that an idle lane costs
	// little, large enough that a block's bookkeeping is nothing beside its bytes.
	blockSize = 32 << 10
	// poolBlocks bounds the blocks that a session keeps for reuse: 1 MiB, what a
	// busy 10 Gbit/s network has under way in a millisecond.
	poolBlocks = 32
)

type block [blockSize]byte

// pool keeps blocks for reuse.
type pool struct{ free []*block }

func (p *pool) get() *block {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return new(block)
}

func (p *pool) put(b *block) {
	if len(p.free) < poolBlocks {
		p.free = append(p.free, b)
	}
}

// buffer holds a moving part of a byte stream in blocks. Blocks that nothing was
// written to do not exist.
type buffer struct {
	pool   *pool
	base   uint64   // stream position of blocks[0], a multiple of blockSize
	blocks []*block // nil: nothing written there
}

// write copies data to the stream position, which is not below what was released.
func (b *buffer) write(position uint64, data []byte) {
	for len(data) > 0 {
		i := int((position - b.base) / blockSize)
		for i >= len(b.blocks) {
			b.blocks = append(b.blocks, nil)
		}
		if b.blocks[i] == nil {
			b.blocks[i] = b.pool.get()
		}
		n := copy(b.blocks[i][position%blockSize:], data)
		data = data[n:]
		position += uint64(n)
	}
}

// peek returns bytes that were written at position, up to max and to the end of
// their block. They are valid until the next write or release.
func (b *buffer) peek(position uint64, max int) []byte {
	blk := b.blocks[(position-b.base)/blockSize]
	from := int(position % blockSize)
	return blk[from:min(from+max, blockSize)]
}

// release gives up everything below position.
func (b *buffer) release(position uint64) {
	n := int((position - b.base) / blockSize)
	if n == 0 {
		return
	}
	b.base += uint64(n) * blockSize
	n = min(n, len(b.blocks))
	for _, blk := range b.blocks[:n] {
		if blk != nil {
			b.pool.put(blk)
		}
	}
	rest := copy(b.blocks, b.blocks[n:])
	clear(b.blocks[rest:])
	b.blocks = b.blocks[:rest]
}

// reset begins a new stream.
func (b *buffer) reset() {
	b.release(b.base + uint64(len(b.blocks))*blockSize)
	b.base = 0
}
