package netbench

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/wire"
)

// pingTCP measures round trips over one TCP connection with TCP_NODELAY.
func pingTCP(address string, size int, d time.Duration, h *histogram) error {
	c, err := dial(address, tcpEcho)
	if err != nil {
		return err
	}
	defer c.Close()
	message := make([]byte, size)
	began := time.Now()
	for i := 0; time.Since(began) < d; i++ {
		at := time.Now()
		if _, err := c.Write(message); err != nil {
			return fmt.Errorf("netbench: %w", err)
		}
		if _, err := io.ReadFull(c, message); err != nil {
			return fmt.Errorf("netbench: %w", err)
		}
		if i >= warmUp {
			h.add(time.Since(at))
		}
	}
	return nil
}

// bareRetry is how long a frame of the bare echo is waited for: frames may be lost.
const bareRetry = 20 * time.Millisecond

// pingBare measures round trips of a bare frame between packet sockets on network A:
// what the machine and its Ethernet allow. A record longer than a frame is cut to one.
func pingBare(host Host, size int, d time.Duration, h *histogram) error {
	l, err := openBare(host)
	if err != nil {
		return err
	}
	came := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for frames := newFrames(); ; {
			if _, err := l.Receive(frames); err != nil {
				return
			}
			token(came)
		}
	}()
	defer func() {
		l.Close()
		<-ended
	}()
	out := []link.Frame{{Addr: link.Broadcast, Data: make([]byte, min(max(size, wire.HeaderSize), l.Status().MTU))}}
	binary.BigEndian.PutUint32(out[0].Data[wire.ClusterOffset:], bareHash)
	began := time.Now()
	for i := 0; time.Since(began) < d; i++ {
		at := time.Now()
		l.Send(out)
		select {
		case <-came:
			if i >= warmUp {
				h.add(time.Since(at))
			}
		case <-time.After(bareRetry):
		}
	}
	return nil
}
