package child_test

import (
	"testing"

	"virtualservicesinc.com/rrts/engine"
)

// BenchmarkCall is the way to a child and back: one call after the other, and 64 at once.
func BenchmarkCall(b *testing.B) {
	for name, flying := range map[string]int{"one": 1, "many": 64} {
		b.Run(name, func(b *testing.B) {
			s := newStage(b, "echo").present()
			body := []byte("a request of thirty-two bytes...")
			slots := make(chan struct{}, flying)
			b.ReportAllocs()
			for b.Loop() {
				slots <- struct{}{}
				s.host.Call(engine.Call{Service: echoService, Method: 1, Body: body, Done: func(r engine.Reply) {
					if r.Err() != nil {
						b.Error(r.Err())
					}
					<-slots
				}})
			}
			for range flying {
				slots <- struct{}{}
			}
		})
	}
}
