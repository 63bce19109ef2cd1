package config

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
)

// ClientKit is client-kit.toml: what a client needs to find the gateways of a
// cluster and to know that they are its gateways. Nothing in it is secret.
type ClientKit struct {
	Cluster  string
	ID       ID
	Gateways []string // host:port
	CA       string   // certificates as PEM
	// LoginKey is the Ed25519 key by which login schemas are signed; zero in kits of before
	// there were any.
	LoginKey PublicKey
}

const kitComment = `Give this file to the clients of the cluster. Nothing in it is secret.`

func (c *ClientKit) keys(k *keys) {
	key(k, "cluster", &c.Cluster, must[string]("restore the file that rrts init wrote"), clusterName,
		"The cluster.")
	key(k, "cluster_id", &c.ID, must[ID]("restore the file that rrts init wrote"), clusterID, "")
	key(k, "gateways", &c.Gateways, must[[]string]("restore the file that rrts init wrote"), list(gatewayAddress, MaxSFUs*MaxGateways),
		"Its gateways. A client uses any of them and moves when one goes away.")
	key(k, "ca", &c.CA, must[string]("restore the file that rrts init wrote"), certificates,
		"The certificate authority that signed the gateways' certificates.")
	key(k, "login_key", &c.LoginKey, optional[PublicKey](`"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`), publicKey,
		"Login services sign with this key what names and passwords are sealed to. Without it a client trusts every gateway with them.")
}

// Pool returns the certificate authority as a TLS configuration wants it.
func (c *ClientKit) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(c.CA))
	return pool
}

// Signer returns the login key as clients want it: nil in a kit without one.
func (c *ClientKit) Signer() ed25519.PublicKey {
	if c.LoginKey == (PublicKey{}) {
		return nil
	}
	return c.LoginKey[:]
}

// Marshal returns client-kit.toml.
func (c *ClientKit) Marshal() []byte { return writeFile(kitComment, c.keys) }

// LoadClientKit reads a client kit. An empty path means the one in DefaultDir.
func LoadClientKit(path string) (*ClientKit, error) {
	if path == "" {
		path = filepath.Join(DefaultDir, "client-kit.toml")
	}
	d, fs := readDocument(path, "name the client-kit.toml that rrts init wrote")
	if d == nil {
		return nil, fs.err()
	}
	return decodeClientKit(d)
}

// ParseClientKit reads a client kit. The name stands in faults.
func ParseClientKit(name string, data []byte) (*ClientKit, error) {
	d, fs := parseDocument(name, data)
	if d == nil {
		return nil, fs.err()
	}
	return decodeClientKit(d)
}

func decodeClientKit(d *document) (*ClientKit, error) {
	c := &ClientKit{}
	readFile(d, c.keys)
	if err := d.faults.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// certificates is a list of certificates as PEM.
var certificates = kind[string]{
	form: "the certificates that rrts init wrote, as PEM in ''' quotes",
	read: func(v any) (string, string) {
		s, ok := v.(string)
		if !ok {
			return "", "is " + describe(v)
		}
		rest := []byte(s)
		for n := 0; ; n++ {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				if n == 0 {
					return "", "holds no certificate"
				}
				return s, ""
			}
			if len(block.Headers) > 0 {
				return "", "holds PEM headers"
			}
			if _, err := x509.ParseCertificate(block.Bytes); err != nil || block.Type != "CERTIFICATE" {
				return "", "holds what is not a certificate"
			}
		}
	},
	show: func(v string) string {
		// Only what PEM says is written: text around it could end the quotes.
		var b strings.Builder
		for rest := []byte(v); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				return "'''\n" + b.String() + "'''"
			}
			pem.Encode(&b, &pem.Block{Type: block.Type, Bytes: block.Bytes})
		}
	},
}
