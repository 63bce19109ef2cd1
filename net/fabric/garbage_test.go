package fabric_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/wire"
)

// garbage returns frames for SFU 1 that must be dropped, each for another reason.
func garbage(t testing.TB) [][]byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	frame := func(h wire.Header) []byte {
		b := noise(h.Length)
		h.Put(b)
		return b
	}
	return [][]byte{
		noise(1),
		noise(1000),
		frame(wire.Header{Type: wire.TypeData, Length: 200, Cluster: clusterHash + 1, SFU: 1, Slot: 1}),
		frame(wire.Header{Type: wire.TypeData, Length: 200, Cluster: clusterHash, SFU: 9, Slot: 1}),
		frame(wire.Header{Type: wire.TypeData, Length: 200, Cluster: clusterHash, SFU: 1, Slot: 999}),
		frame(wire.Header{Type: wire.TypeData, Length: 200, Cluster: clusterHash, SFU: 1, Slot: 1, Number: 1 << 20, Phase: 0}),
		frame(wire.Header{Type: wire.TypeData, Length: 200, Cluster: clusterHash, SFU: 1, Slot: 1, Number: 1 << 20, Phase: 1}),
		frame(wire.Header{Type: wire.TypeResponse, Length: wire.ResponseSize, Cluster: clusterHash, SFU: 1, Slot: 1}),
		frame(wire.Header{Type: wire.TypeInitiation, Length: wire.InitiationSize, Cluster: clusterHash, SFU: 1}),
	}
}

// total is the number of frames that were dropped, for any reason.
func total(st fabric.Stats) uint64 {
	d := st.Dropped
	n := d.Malformed + d.OtherCluster + d.OtherSFU + d.NoSession + d.Initiation + d.Copy + d.RateLimited
	for _, p := range st.Peers {
		n += p.FramesRefused + p.FramesForged + p.FramesReplayed + p.FramesMalformed
	}
	return n
}

// moving is a link that can be exchanged for another one, as a NIC is.
type moving struct {
	mu sync.Mutex
	link.Link
}

func (m *moving) now() link.Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Link
}

// move goes on with another link.
func (m *moving) move(to link.Link) {
	m.mu.Lock()
	old := m.Link
	m.Link = to
	m.mu.Unlock()
	old.Close()
}

func (m *moving) Send(frames []link.Frame) (int, error) { return m.now().Send(frames) }
func (m *moving) Close() error                          { return m.now().Close() }

func (m *moving) Receive(frames []link.Frame) (int, error) {
	for {
		l := m.now()
		n, err := l.Receive(frames)
		if err == nil || l == m.now() {
			return n, err
		}
	}
}
