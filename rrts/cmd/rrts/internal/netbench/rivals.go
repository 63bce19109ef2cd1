package netbench

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"time"

	"virtualservicesinc.com/net/fabric"
)

// What a TCP connection is for; its first byte.
const (
	tcpEcho = 'e' // every byte comes back
	tcpSink = 's' // messages, each behind its length (4 bytes), are counted until the end of the stream
	tlsSink = 't' // the same inside TLS 1.3
)

// rivalBuffer is the buffer of a sink's reader and of its writer in bytes: what makes
// TCP cheap for small messages.
const rivalBuffer = 64 << 10

// rivals is what the serving side answers beside the interconnect.
type rivals struct {
	listener net.Listener // nil if there is no address
	bare     *bare
	running  sync.WaitGroup
}

// serveRivals begins to answer; close ends it. Without an address there is no TCP.
func serveRivals(h Host, address string) (*rivals, error) {
	r := &rivals{}
	var err error
	if r.bare, err = openBare(h); err != nil {
		return nil, err
	}
	r.running.Go(func() { r.bare.run(r.bare.send) })
	if address == "" {
		return r, nil
	}
	certificate, err := selfSigned()
	if err == nil {
		r.listener, err = net.Listen("tcp", address)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netbench: %w", err), r.close())
	}
	r.running.Go(func() {
		for {
			c, err := r.listener.Accept()
			if err != nil {
				return // it was closed
			}
			go answerTCP(c, certificate)
		}
	})
	return r, nil
}

func (r *rivals) close() error {
	var err error
	if r.listener != nil {
		err = r.listener.Close()
	}
	err = errors.Join(err, r.bare.close())
	r.running.Wait()
	return err
}

// answerTCP serves one connection. A fault of it is seen at the other end.
func answerTCP(c net.Conn, certificate tls.Certificate) {
	defer c.Close()
	var kind [1]byte
	if _, err := io.ReadFull(c, kind[:]); err != nil {
		return
	}
	switch kind[0] {
	case tcpEcho:
		buf := make([]byte, rivalBuffer)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	case tlsSink:
		c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13})
		defer c.Close()
		fallthrough
	case tcpSink:
		c.Write(binary.BigEndian.AppendUint64(nil, sink(c)))
	}
}

// sink counts messages until the end of the stream.
func sink(c io.Reader) (count uint64) {
	in := bufio.NewReaderSize(c, rivalBuffer)
	message := make([]byte, MaxSize(fabric.LaneBulk))
	var head [4]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return count
		}
		n := binary.BigEndian.Uint32(head[:])
		if int(n) > len(message) {
			return count
		}
		if _, err := io.ReadFull(in, message[:n]); err != nil {
			return count
		}
		count++
	}
}

// selfSigned makes a certificate that nobody checks.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// dial opens a TCP connection for a purpose.
func dial(address string, kind byte) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address, answerWithin) // Go sets TCP_NODELAY
	if err != nil {
		return nil, fmt.Errorf("netbench: %w", err)
	}
	if _, err := c.Write([]byte{kind}); err != nil {
		c.Close()
		return nil, fmt.Errorf("netbench: %w", err)
	}
	if kind == tlsSink {
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}), nil
	}
	return c, nil
}

// streamTCP sends messages for a while and returns how many arrived.
func streamTCP(address string, kind byte, size int, d time.Duration) (speed, error) {
	c, err := dial(address, kind)
	if err != nil {
		return speed{}, err
	}
	defer c.Close()
	out := bufio.NewWriterSize(c, rivalBuffer)
	message := binary.BigEndian.AppendUint32(nil, uint32(size))
	message = append(message, make([]byte, size)...)
	began := time.Now()
	for i := 0; i%clockEvery != 0 || time.Since(began) < d; i++ {
		if _, err := out.Write(message); err != nil {
			return speed{}, fmt.Errorf("netbench: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return speed{}, fmt.Errorf("netbench: %w", err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return speed{}, fmt.Errorf("netbench: %w", err)
	}
	var count [8]byte
	if _, err := io.ReadFull(c, count[:]); err != nil {
		return speed{}, fmt.Errorf("netbench: the other side of TCP: %w", err)
	}
	return speed{count: binary.BigEndian.Uint64(count[:]), size: size, took: time.Since(began)}, nil
}
