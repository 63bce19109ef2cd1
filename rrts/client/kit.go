package client

import (
	"bufio"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxKit bounds a kit's file, in bytes: 512 gateways and a few certificates are
// well below.
const maxKit = 1 << 20

// ErrKit is what every fault in a kit's content is, for errors.Is.
var ErrKit = errors.New("client: not a client kit")

// Kit is client-kit.toml, which `rrts init` writes: what a client needs to find
// the gateways of a cluster and to know that they are its gateways. Nothing in it
// is secret.
type Kit struct {
	Cluster   string
	ClusterID [16]byte
	Gateways  []string
	RootCAs   *x509.CertPool
	LoginKey  ed25519.PublicKey // nil in kits of before there was one
}

// Config returns a Config with what the kit holds.
func (k *Kit) Config() Config {
	return Config{Gateways: k.Gateways, RootCAs: k.RootCAs, ClusterID: k.ClusterID, LoginKey: k.LoginKey}
}

// ReadKit reads a client-kit.toml. It knows the few forms of TOML that the file
// has, so that the SDK needs no TOML library: a line holds a comment, or a key and
//
//	"text"                one line, without escapes
//	["text", "text"]      on one line
//	'''                   and then lines up to one that ends in '''
//
// Keys that it does not know are passed over: a later version may add some.
func ReadKit(path string) (*Kit, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("client: %w: name the client-kit.toml that rrts init wrote", err)
	}
	defer f.Close()
	k, err := parseKit(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v; restore the file that rrts init wrote", ErrKit, path, err)
	}
	return k, nil
}

func parseKit(r io.Reader) (*Kit, error) {
	k := &Kit{}
	ca := ""
	lines := bufio.NewScanner(io.LimitReader(r, maxKit))
	lines.Buffer(nil, maxKit)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("line %d: not a key and a value", n)
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		at := n
		if value == "'''" {
			var text strings.Builder
			for closed := false; !closed; n++ {
				if !lines.Scan() {
					return nil, fmt.Errorf("line %d: %s: no end", at, key)
				}
				piece, rest, found := strings.Cut(lines.Text(), "'''")
				if closed = found; found && strings.TrimSpace(rest) != "" {
					return nil, fmt.Errorf("line %d: %s: more after the end", n+1, key)
				}
				text.WriteString(piece)
				text.WriteByte('\n')
			}
			value = text.String()
		}
		var err error
		switch key {
		case "cluster":
			k.Cluster, err = kitString(value)
		case "cluster_id":
			k.ClusterID, err = kitID(value)
		case "gateways":
			k.Gateways, err = kitList(value)
		case "login_key":
			k.LoginKey, err = kitKey(value)
		case "ca":
			ca = value
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %v", at, key, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	switch {
	case len(k.Gateways) == 0:
		return nil, errors.New("gateways is missing")
	case k.ClusterID == [16]byte{}:
		return nil, errors.New("cluster_id is missing")
	}
	k.RootCAs = x509.NewCertPool()
	if !k.RootCAs.AppendCertsFromPEM([]byte(ca)) {
		return nil, errors.New("ca holds no certificate")
	}
	return k, nil
}

func kitString(v string) (string, error) {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' || strings.ContainsAny(v[1:len(v)-1], `"\`) {
		return "", errors.New(`not one line of text in "quotes"`)
	}
	return v[1 : len(v)-1], nil
}

func kitID(v string) (id [16]byte, err error) {
	s, err := kitString(v)
	if err != nil {
		return id, err
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, errors.New("not 32 hexadecimal digits")
	}
	return [16]byte(b), nil
}

func kitKey(v string) (ed25519.PublicKey, error) {
	s, err := kitString(v)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, errors.New("not 32 bytes as base64")
	}
	return b, nil
}

func kitList(v string) ([]string, error) {
	if len(v) < 2 || v[0] != '[' || v[len(v)-1] != ']' {
		return nil, errors.New(`not a list ["…", "…"] on one line`)
	}
	var list []string
	for _, e := range strings.Split(v[1:len(v)-1], ",") {
		e = strings.TrimSpace(e)
		if e == "" {
			continue
		}
		s, err := kitString(e)
		if err != nil {
			return nil, err
		}
		if len(list) == MaxGateways {
			return nil, fmt.Errorf("more than %d", MaxGateways)
		}
		list = append(list, s)
	}
	return list, nil
}
