package genesis

import (
	"crypto/ed25519"
	"io"

	"virtualservicesinc.com/rrts/config"
)

// Newborn is what a new SFU makes for itself, on its own machine: private keys that
// never leave it.
type Newborn struct {
	Interconnect config.Key
	Public       config.PublicKey // of Interconnect
	Store        config.Key
	GatewayKey   []byte            // PEM
	Gateway      ed25519.PublicKey // of GatewayKey
}

// NewNewborn draws the keys.
func NewNewborn(random io.Reader) (*Newborn, error) {
	n := &Newborn{}
	for _, k := range []*config.Key{&n.Interconnect, &n.Store} {
		if _, err := io.ReadFull(random, k[:]); err != nil {
			return nil, err
		}
	}
	var err error
	if n.Public, err = config.PublicOf(n.Interconnect); err != nil {
		return nil, err
	}
	n.Gateway, n.GatewayKey, err = NewGatewayKey(random)
	return n, err
}

// Welcome is what the cluster gives a new SFU.
type Welcome struct {
	Cluster     *config.Cluster // with the SFU in it
	Kit         []byte          // client-kit.toml
	Certificate []byte          // of the SFU's gateway, as PEM; nil where its type has none
	PSK         config.Key
	Pepper      config.Key // zero where the type has neither gateway nor effects
	Token       config.Key // zero where it has no gateway
}

// SFUFiles returns what the SFU adds to the configuration of its machine.
func (n *Newborn) SFUFiles(w *Welcome, self *config.Member, settings *config.SFU) []File {
	files := []File{{"sfu/" + self.Name + ".toml", modeConfig, settings.Marshal(self)}}
	if self.Type.Gateway() {
		files = append(files, File{config.GatewayCert(self.Name), modeConfig, w.Certificate})
	}
	secrets := map[string][]byte{
		config.FileInterconnect: config.MarshalKey(n.Interconnect),
		config.FileStore:        config.MarshalKey(n.Store),
		config.FilePSK:          config.MarshalKey(w.PSK),
		config.FilePepper:       config.MarshalKey(w.Pepper),
		config.FileToken:        config.MarshalKey(w.Token),
		config.FileGatewayKey:   n.GatewayKey,
	}
	for _, name := range config.SecretFiles(self.Type) {
		files = append(files, File{"keys/" + self.Name + "/" + name, modeSecret, secrets[name]})
	}
	return files
}

// MachineFiles returns what every machine's configuration holds besides its SFUs.
// cluster.toml comes last: where it is, all is.
func (w *Welcome) MachineFiles(m *config.Machine) []File {
	return append([]File{{"machine.toml", modeConfig, m.Marshal()}}, w.SharedFiles()...)
}

// SharedFiles returns those that are the same on every machine.
func (w *Welcome) SharedFiles() []File {
	return []File{{"client-kit.toml", modeConfig, w.Kit}, {"cluster.toml", modeConfig, w.Cluster.Marshal()}}
}
