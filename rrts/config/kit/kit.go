// Package kit makes and opens the recovery kit: the master keys of a cluster,
// sealed under a passphrase.
//
// With the kit and the passphrase a cluster is built again on bare machines and
// its backups are opened; without them a backup is worth nothing. The kit need not
// be made again when the cluster grows: who is in the cluster stands in every
// backup, and what opens a backup (Master.Backup) stays the same.
//
//	data, err := kit.Seal(master, passphrase, rand.Reader)
//	master, err := kit.Open(data, passphrase)
//
// The kit is text, so that it survives mail, a USB stick and paper:
//
//	-----BEGIN RRTS RECOVERY KIT-----
//	Argon2id: memory=262144 passes=3 lanes=4     KiB; fixed by Seal, bounded by Open
//	Cluster: shop 7c9e…                          name and id, for people
//	Salt: …                                      16 bytes, base64
//	Version: 1
//
//	…                                            base64 of ChaCha20-Poly1305's output
//	-----END RRTS RECOVERY KIT-----
//
// The key is Argon2id(passphrase, salt, 32 bytes). It seals one message only, so
// its nonce is zero. The headers, one "Name: value\n" each in the order above, are
// authenticated with it. Inside is a JSON object: the name of each of
// genesis.MasterFiles and its content as base64.
package kit

import (
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"virtualservicesinc.com/rrts/config/genesis"
)

const (
	// MinPassphrase is the shortest passphrase, in bytes: at the price of Argon2id
	// below, twelve characters that nobody else would choose are out of reach.
	MinPassphrase = 12
	// MaxBytes bounds a kit: some twenty kilobytes for the largest cluster.
	MaxBytes = 4 << 20

	blockType = "RRTS RECOVERY KIT"
	version   = "1"
	saltBytes = 16
)

// price is what one guess at the passphrase costs.
type price struct {
	memory, passes uint32 // memory in KiB
	lanes          uint8
}

var (
	// usual is 256 MiB and about a second on a cheap desktop: a kit is opened once
	// in its life.
	usual = price{memory: 256 << 10, passes: 3, lanes: 4}
	// most is what Open pays, because a stranger may have written the headers.
	most = price{memory: 1 << 20, passes: 16, lanes: 16}
)

func (p price) String() string {
	return fmt.Sprintf("memory=%d passes=%d lanes=%d", p.memory, p.passes, p.lanes)
}

const (
	headerArgon2  = "Argon2id"
	headerCluster = "Cluster"
	headerSalt    = "Salt"
	headerVersion = "Version"
)

var (
	// ErrKit is what a file that is no whole kit is refused with.
	ErrKit = errors.New("kit: not a recovery kit")
	// ErrPassphrase is what a kit says that does not open.
	ErrPassphrase = errors.New("kit: the passphrase is wrong, or the kit was changed")
)

// Seal makes a kit. It takes about a second and 256 MiB.
func Seal(m *genesis.Master, passphrase []byte, random io.Reader) ([]byte, error) {
	return seal(m, passphrase, random, usual)
}

func seal(m *genesis.Master, passphrase []byte, random io.Reader, p price) ([]byte, error) {
	if len(passphrase) < MinPassphrase {
		return nil, fmt.Errorf("kit: the passphrase has %d characters; choose one of at least %d", len(passphrase), MinPassphrase)
	}
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(random, salt); err != nil {
		return nil, fmt.Errorf("kit: no randomness: %w", err)
	}
	files := map[string][]byte{}
	for _, f := range m.Files() {
		files[f.Path] = f.Data
	}
	plain, err := json.Marshal(files)
	if err != nil {
		return nil, fmt.Errorf("kit: %w", err)
	}
	block := &pem.Block{Type: blockType, Headers: map[string]string{
		headerArgon2:  p.String(),
		headerCluster: m.Cluster.Name + " " + m.Cluster.ID.String(),
		headerSalt:    base64.StdEncoding.EncodeToString(salt),
		headerVersion: version,
	}}
	aead, err := p.aead(passphrase, salt)
	if err != nil {
		return nil, fmt.Errorf("kit: %w", err)
	}
	block.Bytes = aead.Seal(nil, make([]byte, chacha20poly1305.NonceSize), plain, headers(block))
	return pem.EncodeToMemory(block), nil
}

// Open opens a kit. The error wraps ErrKit when data is no kit, ErrPassphrase when
// the passphrase does not open it.
func Open(data, passphrase []byte) (*genesis.Master, error) {
	block, err := parse(data)
	if err != nil {
		return nil, err
	}
	p, salt, err := parsePrice(block)
	if err != nil {
		return nil, err
	}
	aead, err := p.aead(passphrase, salt)
	if err != nil {
		return nil, fmt.Errorf("kit: %w", err)
	}
	plain, err := aead.Open(nil, make([]byte, chacha20poly1305.NonceSize), block.Bytes, headers(block))
	if err != nil {
		return nil, ErrPassphrase
	}
	var files map[string][]byte
	if err := json.Unmarshal(plain, &files); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKit, err)
	}
	return genesis.ParseMaster(files)
}

// Cluster returns the name and the id of the cluster that a kit is for. Nothing
// proves them before the kit is open.
func Cluster(data []byte) (string, error) {
	block, err := parse(data)
	if err != nil {
		return "", err
	}
	return block.Headers[headerCluster], nil
}

func parse(data []byte) (*pem.Block, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%w: longer than the limit of %d bytes", ErrKit, MaxBytes)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != blockType {
		return nil, fmt.Errorf("%w: it begins with -----BEGIN %s----- and ends with its END line", ErrKit, blockType)
	}
	if v := block.Headers[headerVersion]; v != version {
		return nil, fmt.Errorf("%w that this program understands: version %q, it knows %s; use the rrts that made it or a newer one", ErrKit, v, version)
	}
	return block, nil
}

func (p price) aead(passphrase, salt []byte) (cipher.AEAD, error) {
	return chacha20poly1305.New(argon2.IDKey(passphrase, salt, p.passes, p.memory, p.lanes, chacha20poly1305.KeySize))
}

func parsePrice(block *pem.Block) (p price, salt []byte, err error) {
	var memory, passes, lanes uint32
	text := block.Headers[headerArgon2]
	if _, err := fmt.Sscanf(text, "memory=%d passes=%d lanes=%d", &memory, &passes, &lanes); err != nil {
		return p, nil, fmt.Errorf("%w: its header %s is %q", ErrKit, headerArgon2, text)
	}
	if memory < 8 || memory > most.memory || passes < 1 || passes > most.passes || lanes < 1 || lanes > uint32(most.lanes) {
		return p, nil, fmt.Errorf("%w: its header %s is %q, beyond %v", ErrKit, headerArgon2, text, most)
	}
	salt, err = base64.StdEncoding.DecodeString(block.Headers[headerSalt])
	if err != nil || len(salt) != saltBytes {
		return p, nil, fmt.Errorf("%w: its header %s is not %d bytes as base64", ErrKit, headerSalt, saltBytes)
	}
	return price{memory: memory, passes: passes, lanes: uint8(lanes)}, salt, nil
}

// headers is what is authenticated beside the sealed part.
func headers(block *pem.Block) []byte {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(block.Headers)) {
		fmt.Fprintf(&b, "%s: %s\n", name, block.Headers[name])
	}
	return []byte(b.String())
}
