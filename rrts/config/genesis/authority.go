package genesis

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/config"
)

const (
	// The authority outlives the machines: clients hold its certificate.
	authorityYears = 20
	// Gateway certificates are renewed well before.
	gatewayDays = 825
	// Certificates begin earlier than now, for machines whose clock is behind.
	backdate = 24 * time.Hour
	// RFC 5280 allows serial numbers of 20 bytes; 16 random ones never meet.
	serialBytes = 16
)

// authority is the cluster's own certificate authority. Its keys are Ed25519: the
// same bytes come from the same randomness, and TLS 1.3 stacks know it.
type authority struct {
	cert    *x509.Certificate
	key     ed25519.PrivateKey
	certPEM []byte
	keyPEM  []byte
}

func (g *genesis) newAuthority() (*authority, error) {
	key := g.newKey()
	template := &x509.Certificate{
		SerialNumber:          g.serial(),
		Subject:               pkix.Name{Organization: []string{g.spec.Name}, CommonName: "RRTS cluster " + g.spec.Name},
		NotBefore:             g.spec.Now.Add(-backdate).UTC(),
		NotAfter:              g.spec.Now.AddDate(authorityYears, 0, 0).UTC(),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	if g.err != nil {
		return nil, g.err
	}
	der, err := x509.CreateCertificate(g.spec.Rand, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err := privatePEM(key)
	return &authority{cert: cert, key: key, certPEM: certificatePEM(der), keyPEM: keyPEM}, err
}

// certificate signs a certificate for a gateway: for the hosts at which clients
// reach it and for no others.
func (g *genesis) certificate(a *authority, c *config.Cluster, m *config.Member) (certPEM, keyPEM []byte, err error) {
	key := g.newKey()
	template := &x509.Certificate{
		SerialNumber: g.serial(),
		Subject:      pkix.Name{Organization: []string{c.Name}, CommonName: m.Name},
		NotBefore:    g.spec.Now.Add(-backdate).UTC(),
		NotAfter:     g.spec.Now.AddDate(0, 0, gatewayDays).UTC(),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, address := range m.Gateways {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, nil, err
		}
		if ip := net.ParseIP(host); ip != nil {
			if !slices.ContainsFunc(template.IPAddresses, ip.Equal) {
				template.IPAddresses = append(template.IPAddresses, ip)
			}
		} else if !slices.Contains(template.DNSNames, host) {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if g.err != nil {
		return nil, nil, g.err
	}
	der, err := x509.CreateCertificate(g.spec.Rand, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = privatePEM(key)
	return certificatePEM(der), keyPEM, err
}

func (g *genesis) newKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	g.draw(seed)
	return ed25519.NewKeyFromSeed(seed)
}

func (g *genesis) serial() *big.Int {
	b := make([]byte, serialBytes)
	g.draw(b)
	b[0] = b[0]&0x7f | 0x40 // positive, and never short
	return new(big.Int).SetBytes(b)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func privatePEM(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
