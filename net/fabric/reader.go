package fabric

import (
	"virtualservicesinc.com/net/link"
)

// readerSets is how many sets of buffers a reader has: one that it receives into
// while the loop works on the other.
const readerSets = 2

// batch is what one Receive brought. The frames go home when they are done with.
type batch struct {
	port   Port
	frames []link.Frame
	home   chan<- []link.Frame
}

// read hands what arrives by one link to the loop, until the link is closed.
func (f *Fabric) read(port Port, l link.Link) {
	home := make(chan []link.Frame, readerSets)
	for range readerSets {
		frames := make([]link.Frame, link.BatchSize)
		for i := range frames {
			frames[i].Data = make([]byte, link.MaxFrame)
		}
		home <- frames
	}
	for {
		select {
		case frames := <-home:
			n, err := l.Receive(frames[:link.BatchSize])
			if err != nil {
				return // only ever because the link was closed
			}
			// There is room for all sets of all readers: this does not block.
			f.batches <- batch{port: port, frames: frames[:n], home: home}
		case <-f.ended:
			return
		}
	}
}
