package genesis

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"virtualservicesinc.com/rrts/config"
)

// The files of a Master.
const (
	fileCACert  = "ca.crt"
	fileCAKey   = "ca.key"
	filePSK     = "psk.key"
	filePepper  = "pepper.key"
	fileToken   = "token.key"
	fileBackup  = "backup.key"
	fileCluster = "cluster.toml"
)

// MasterFiles names the files of a Master, in the order in which Files returns them.
var MasterFiles = []string{fileCACert, fileCAKey, filePSK, filePepper, fileToken, fileBackup, fileCluster}

// maxMasterBytes bounds a file of a Master: cluster.toml is the longest.
const maxMasterBytes = 1 << 20

// Master is the secrets of a whole cluster: with it further SFUs are made, gateway
// certificates signed and backups opened. It lies in the directory master of the
// machine where the cluster was made, and sealed in the recovery kit.
type Master struct {
	// Cluster is the cluster as it was made. Who is in it now, the running cluster
	// and its backups know better.
	Cluster *config.Cluster
	PSK     config.Key // of the interconnect
	Pepper  config.Key // login names are hashed under it
	Token   config.Key // seals session tokens
	Backup  config.Key // X25519 private key: opens what was sealed to Cluster.BackupKey
	CA      *Authority
}

// Files returns the master as files.
func (m *Master) Files() []File {
	return []File{
		{fileCACert, modeConfig, m.CA.CertPEM},
		{fileCAKey, modeSecret, m.CA.KeyPEM},
		{filePSK, modeSecret, config.MarshalKey(m.PSK)},
		{filePepper, modeSecret, config.MarshalKey(m.Pepper)},
		{fileToken, modeSecret, config.MarshalKey(m.Token)},
		{fileBackup, modeSecret, config.MarshalKey(m.Backup)},
		{fileCluster, modeConfig, m.Cluster.Marshal()},
	}
}

// ClientKit returns what clients need to find the gateways of m.Cluster.
func (m *Master) ClientKit() *config.ClientKit {
	return &config.ClientKit{Cluster: m.Cluster.Name, ID: m.Cluster.ID, Gateways: m.Cluster.Gateways(), CA: string(m.CA.CertPEM),
		LoginKey: config.PublicKey(config.LoginSigner(m.Pepper).Public().(ed25519.PublicKey))}
}

// ParseMaster reads a master from its files, by their names.
func ParseMaster(files map[string][]byte) (*Master, error) {
	for _, name := range MasterFiles {
		if len(files[name]) == 0 {
			return nil, fmt.Errorf("genesis: the master keys have no %s; restore it", name)
		}
	}
	m := &Master{}
	for name, k := range map[string]*config.Key{filePSK: &m.PSK, filePepper: &m.Pepper, fileToken: &m.Token, fileBackup: &m.Backup} {
		var err error
		if *k, err = config.ParseKey(files[name]); err != nil {
			return nil, fmt.Errorf("genesis: %s %w; restore it", name, err)
		}
	}
	var err error
	if m.CA, err = ParseAuthority(files[fileCACert], files[fileCAKey]); err != nil {
		return nil, err
	}
	if m.Cluster, err = config.ParseCluster(fileCluster, files[fileCluster]); err != nil {
		return nil, err
	}
	if public, err := config.PublicOf(m.Backup); err != nil || public != m.Cluster.BackupKey {
		return nil, fmt.Errorf("genesis: %s does not belong to backup_key in %s; restore both from the same cluster", fileBackup, fileCluster)
	}
	return m, nil
}

// LoadMaster reads a master from its directory.
func LoadMaster(dir string) (*Master, error) {
	files := map[string][]byte{}
	for _, name := range MasterFiles {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("genesis: %s is missing; run this where the cluster was made, or bring the directory master here", path)
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("genesis: %s: permission denied; run this as root", path)
		case err != nil:
			return nil, fmt.Errorf("genesis: %w", err)
		case info.Size() > maxMasterBytes:
			return nil, fmt.Errorf("genesis: %s is longer than the limit of %d bytes; restore it", path, maxMasterBytes)
		}
		if files[name], err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("genesis: %w", err)
		}
	}
	return ParseMaster(files)
}
