package genesis

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
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

// Authority is the cluster's own certificate authority. Its keys are Ed25519: the
// same bytes come from the same randomness, and TLS 1.3 stacks know it.
type Authority struct {
	CertPEM []byte // what clients trust
	KeyPEM  []byte // secret

	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newAuthority(name string, now time.Time, random io.Reader) (*Authority, error) {
	_, key, err := newKey(random)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial(random)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{name}, CommonName: "RRTS cluster " + name},
		NotBefore:             now.Add(-backdate).UTC(),
		NotAfter:              now.AddDate(authorityYears, 0, 0).UTC(),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(random, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err := privatePEM(key)
	return &Authority{CertPEM: certificatePEM(der), KeyPEM: keyPEM, cert: cert, key: key}, err
}

// ParseAuthority reads what an Authority's CertPEM and KeyPEM hold.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("genesis: the certificate authority: %w", err)
	}
	key, ok := pair.PrivateKey.(ed25519.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("genesis: ca.crt and ca.key are not a certificate authority that rrts made")
	}
	return &Authority{CertPEM: certPEM, KeyPEM: keyPEM, cert: pair.Leaf, key: key}, nil
}

// Sign makes a certificate for the public key of a member's gateway: for the hosts
// at which clients reach it and for no others.
func (a *Authority) Sign(m *config.Member, public ed25519.PublicKey, now time.Time, random io.Reader) ([]byte, error) {
	serial, err := newSerial(random)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: a.cert.Subject.Organization, CommonName: m.Name},
		NotBefore:    now.Add(-backdate).UTC(),
		NotAfter:     now.AddDate(0, 0, gatewayDays).UTC(),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, address := range m.Gateways {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if ip := net.ParseIP(host); ip != nil {
			if !slices.ContainsFunc(template.IPAddresses, ip.Equal) {
				template.IPAddresses = append(template.IPAddresses, ip)
			}
		} else if !slices.Contains(template.DNSNames, host) {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(random, template, a.cert, public, a.key)
	if err != nil {
		return nil, err
	}
	return certificatePEM(der), nil
}

// NewGatewayKey makes the key of a gateway: its public part, which Sign takes, and
// the content of its file.
func NewGatewayKey(random io.Reader) (ed25519.PublicKey, []byte, error) {
	public, key, err := newKey(random)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := privatePEM(key)
	return public, keyPEM, err
}

// newKey draws its seed itself: ed25519.GenerateKey does not promise to make the
// same key of the same randomness.
func newKey(random io.Reader) (ed25519.PublicKey, ed25519.PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, nil, fmt.Errorf("no randomness: %w", err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	return key.Public().(ed25519.PublicKey), key, nil
}

func newSerial(random io.Reader) (*big.Int, error) {
	b := make([]byte, serialBytes)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("no randomness: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and never short
	return new(big.Int).SetBytes(b), nil
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
