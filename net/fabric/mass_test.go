package fabric_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
)

// All SFUs of a cluster lose their power at once and come back at once: everybody finds
// everybody within two seconds, and each of them is told once.
func TestMassRestart(t *testing.T) {
	const count = 16
	s := newSimulation(t, 5)
	for incarnation := uint64(1); incarnation <= 3; incarnation++ {
		for sfu := uint16(1); sfu <= count; sfu++ {
			s.add(sfu, count, incarnation, fabric.A, fabric.B)
		}
		s.run(2 * time.Second)
		told := s.drain()
		for sfu := 1; sfu <= count; sfu++ {
			for peer := 1; peer <= count; peer++ {
				line := fmt.Sprintf("  %d: peer-up %d incarnation=%d\n", sfu, peer, incarnation)
				if n := strings.Count(told, line); sfu != peer && n != 1 {
					t.Errorf("life %d: SFU %d was told %d times that SFU %d is up", incarnation, sfu, n, peer)
				}
			}
		}
		if strings.Contains(told, "peer-lost") {
			t.Errorf("life %d: somebody was lost:\n%s", incarnation, told)
		}
		for sfu := uint16(1); sfu <= count; sfu++ {
			s.stop(sfu, false)
		}
		s.run(10 * time.Millisecond) // what is still on its way comes to nobody
	}
}
