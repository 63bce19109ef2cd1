package config

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The files of one SFU's secrets, under keys/NAME in the configuration directory.
// A key is 32 bytes as one line of base64, with a check sum; that of the gateway's certificate is PEM.
const (
	FileInterconnect = "interconnect.key" // every SFU: its X25519 private key
	FilePSK          = "psk.key"          // every SFU: the cluster's pre-shared key
	FileStore        = "store.key"        // type all, core, witness: seals journal and store
	FilePepper       = "pepper.key"       // type all, edge with a login service, data: login names are hashed under it, and addresses sealed
	FileToken        = "token.key"        // type all, edge: seals session tokens
	FileGatewayKey   = "gateway.key"      // type all, edge
	// FileRelayPassword is what the relay of mails that transactions owe asks for, on one
	// line, where sfu/NAME.toml names a user for it. An operator writes it.
	FileRelayPassword = "relay.password"
	// FileMailPassword is what the mail server asks for, on one line, where machine.toml
	// names a user for it. An operator writes it.
	FileMailPassword = "mail.password"
)

// GatewayCert returns where the certificate chain of an SFU's gateway is, leaf first,
// in the configuration directory. It is no secret: a running SFU reads a renewed one.
func GatewayCert(name string) string { return "sfu/" + name + ".crt" }

// CredentialPrefix is the credential id under which rrts@.service loads the
// directory keys/NAME: systemd names each credential PREFIX_FILE.
const CredentialPrefix = "rrts"

// maxSecretBytes bounds a secret: a certificate chain is a few kilobytes.
const maxSecretBytes = 1 << 20

// Key is a secret of 32 bytes. It never prints itself.
type Key [32]byte

// Format hides the key from every verb of package fmt.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalText hides the key from loggers and encoders.
func (Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

const hidden = "(hidden)"

// MarshalKey returns the content of a key's file: one line, base64, and the CRC-32C of
// that in hexadecimal. Most changes of a key are a key again, only another one: a file
// that has rotted must not be one.
func MarshalKey(k Key) []byte {
	text := base64.StdEncoding.EncodeToString(k[:])
	return fmt.Appendf(nil, "%s %s\n", text, sumOf([]byte(text)))
}

// sumOf is the CRC-32C of a text, as it stands in files.
func sumOf(text []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
}

// ParseKey reads the content of a key's file. Files of before there was a check sum
// have none.
func ParseKey(data []byte) (Key, error) {
	words := strings.Fields(string(data))
	if len(words) < 1 || len(words) > 2 {
		return Key{}, errNoKey
	}
	b, err := base64.StdEncoding.Strict().DecodeString(words[0])
	if err != nil || len(b) != len(Key{}) || Key(b) == (Key{}) {
		return Key{}, errNoKey
	}
	if len(words) == 2 && words[1] != sumOf([]byte(words[0])) {
		return Key{}, errors.New("has changed: key and check sum do not belong together")
	}
	return Key(b), nil
}

var errNoKey = errors.New("is not a key: 44 characters of base64 and their check sum on one line")

// Secrets is what one SFU must keep to itself. Which of them it has depends on its
// type; the others are zero.
type Secrets struct {
	Interconnect Key
	PSK          Key
	Store        Key
	Pepper       Key
	Token        Key
	Certificate  *tls.Certificate // nil without a gateway
	Relay        string           // the password for the relay of mails; "" without one
}

// Format hides the secrets from every verb of package fmt.
func (Secrets) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalText hides the secrets from loggers and encoders.
func (Secrets) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// SecretFiles returns the files of the secrets that SFUs of a type have.
func SecretFiles(t Type) []string {
	files := []string{FileInterconnect, FilePSK}
	if t.Transactions() {
		files = append(files, FileStore)
	}
	if t.Gateway() || t.Effects() {
		files = append(files, FilePepper)
	}
	if t.Gateway() {
		files = append(files, FileToken, FileGatewayKey)
	}
	return files
}

// Secrets reads the SFU's secrets: each from the directory credentials if it is
// there (systemd's $CREDENTIALS_DIRECTORY; empty means none), otherwise from
// keys/NAME. A file that others than its owner and group can read is refused.
func (c *Config) Secrets(credentials string) (*Secrets, error) {
	r := c.secretReader(credentials)
	s := &Secrets{
		Interconnect: r.key(FileInterconnect),
		PSK:          r.key(FilePSK),
	}
	if c.Self.Type.Transactions() {
		s.Store = r.key(FileStore)
	}
	if c.Self.Type.Gateway() {
		if !c.SFU.Login.Elsewhere {
			s.Pepper = r.key(FilePepper)
		}
		s.Token = r.key(FileToken)
		s.Certificate = r.certificate(c.Dir, c.Self.Name)
	}
	if c.SFU != nil && c.Self.Type.Effects() && c.SFU.Mail.Relay != "" {
		s.Pepper = r.key(FilePepper)
		if c.SFU.Mail.User != "" {
			s.Relay = r.password(FileRelayPassword)
		}
	}
	if len(r.faults) == 0 {
		r.match(s.Interconnect, c)
	}
	if err := r.faults.err(); err != nil {
		return nil, err
	}
	return s, nil
}

// Certificate reads the gateway's certificate alone, for one that was renewed. The
// owner's own, tls/NAME.crt and tls/NAME.key, goes before ours, sfu/NAME.crt and the
// secret gateway.key.
func (c *Config) Certificate(credentials string) (*tls.Certificate, error) {
	r := c.secretReader(credentials)
	cert := r.certificate(c.Dir, c.Self.Name)
	return cert, r.faults.err()
}

// MailPassword reads what the mail server asks for. systemd hands over the one that was
// there when the SFU started.
func (c *Config) MailPassword(credentials string) (string, error) {
	r := c.secretReader(credentials)
	data, path := r.file(FileMailPassword)
	password := strings.TrimRight(string(data), "\r\n")
	if data != nil && (password == "" || strings.ContainsAny(password, "\r\n")) {
		r.faults.add(Fault{File: path, Problem: "is not one line", Cure: "write the password alone into it"})
	}
	for i := range r.faults {
		r.faults[i].Cure = "write the password into it as one line, chmod 640, chgrp rrts, then restart the SFU"
	}
	return password, r.faults.err()
}

func (c *Config) secretReader(credentials string) *secretReader {
	return &secretReader{credentials: credentials, keys: filepath.Join(c.Dir, "keys", c.Self.Name)}
}

type secretReader struct {
	credentials string
	keys        string
	faults      faults
}

// match holds the private key against the public one that the others know.
func (r *secretReader) match(private Key, c *Config) {
	public, err := PublicOf(private)
	if err != nil || public != c.Self.PublicKey {
		r.faults.add(Fault{File: filepath.Join(r.keys, FileInterconnect), Problem: fmt.Sprintf("is not the key of SFU %s, whose public key in cluster.toml is %s", c.Self.Name, c.Self.PublicKey),
			Cure: "restore the key that rrts wrote when it made the SFU"})
	}
}

func (r *secretReader) key(name string) Key {
	data, path := r.file(name)
	if data == nil {
		return Key{}
	}
	k, err := ParseKey(data)
	if err != nil {
		r.faults.add(Fault{File: path, Problem: err.Error(), Cure: "restore it"})
	}
	return k
}

// password reads a secret that is a line of text.
func (r *secretReader) password(name string) string {
	data, path := r.file(name)
	if data == nil {
		return ""
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" || strings.ContainsAny(text, "\r\n\x00") {
		r.faults.add(Fault{File: path, Problem: "is not one line of text", Cure: "write the password alone into it"})
	}
	return text
}

func (r *secretReader) certificate(dir, name string) *tls.Certificate {
	path := filepath.Join(dir, "tls", name+".crt")
	_, err := os.Stat(path)
	var certKey []byte
	if err == nil {
		certKey = r.open(filepath.Join(dir, "tls", name+".key"))
	} else {
		path = filepath.Join(dir, GatewayCert(name))
		certKey, _ = r.file(FileGatewayKey)
	}
	cert := r.open(path)
	if cert == nil || certKey == nil {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, certKey)
	if err != nil {
		r.faults.add(Fault{File: path, Problem: strings.TrimPrefix(err.Error(), "tls: "), Cure: "restore certificate and key together"})
		return nil
	}
	return &pair
}

// file reads a secret by its name and says where it was.
func (r *secretReader) file(name string) ([]byte, string) {
	if r.credentials != "" {
		path := filepath.Join(r.credentials, CredentialPrefix+"_"+name)
		data, err := os.ReadFile(path)
		if err == nil {
			return data, path
		}
		if !errors.Is(err, os.ErrNotExist) {
			r.faults.add(openFault(path, err, "see LoadCredential in rrts@.service"))
			return nil, path
		}
	}
	path := filepath.Join(r.keys, name)
	return r.open(path), path
}

// open reads a secret's file; nil means that it was faulted.
func (r *secretReader) open(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		fault := openFault(path, err, "restore it from the machine where the cluster was made")
		if errors.Is(err, os.ErrPermission) {
			fault.Cure = "start the SFU with systemctl, which hands it its secrets"
			if r.credentials != "" {
				// systemd reads as root, and did not find it.
				fault.Problem, fault.Cure = "file is missing", "restore it from the machine where the cluster was made, then restart the SFU"
			}
		}
		r.faults.add(fault)
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		r.faults.add(Fault{File: path, Problem: "is not a file", Cure: "restore it"})
		return nil
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		r.faults.add(Fault{File: path, Problem: fmt.Sprintf("mode %#o lets every user of this machine at a secret", mode), Cure: "run: chmod o= " + path})
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil || len(data) > maxSecretBytes {
		r.faults.add(Fault{File: path, Problem: fmt.Sprintf("cannot be read, or is longer than the limit of %d bytes", maxSecretBytes), Cure: "restore it"})
		return nil
	}
	if len(data) == 0 {
		r.faults.add(Fault{File: path, Problem: "is empty", Cure: "restore it"})
		return nil
	}
	return data
}

// BackupSecret is what proves that a backup was written by an SFU of the cluster whose
// pre-shared key this is.
func BackupSecret(psk Key) Key {
	k, err := hkdf.Key(sha256.New, psk[:], nil, "rrts backup", len(Key{}))
	if err != nil {
		panic(err) // only of a longer key
	}
	return Key(k)
}

// LoginSigner is the key with which login services sign their schemas: they alone have
// the pepper. Its public half stands in client-kit.toml.
func LoginSigner(pepper Key) ed25519.PrivateKey {
	seed, err := hkdf.Key(sha256.New, pepper[:], nil, "rrts login schema signer", ed25519.SeedSize)
	if err != nil {
		panic(err) // only of a longer key
	}
	return ed25519.NewKeyFromSeed(seed)
}

// PublicOf returns the public key of an SFU's private interconnect key.
func PublicOf(private Key) (PublicKey, error) {
	k, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return PublicKey{}, fmt.Errorf("config: X25519 key: %w", err)
	}
	return PublicKey(k.PublicKey().Bytes()), nil
}
