package drill

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/statedir"
)

// OpenStore opens the store of an SFU that does not run, with the keys of its
// configuration directory. state is its state directory, or a copy: opening writes
// to it. The caller closes the store.
func OpenStore(configDir, sfu, state string) (store.Store, error) {
	s, err := openStore(configDir, sfu, state)
	if err != nil {
		return nil, fmt.Errorf("drill: the store of %s: %w", sfu, err)
	}
	return s, nil
}

func openStore(configDir, sfu, state string) (store.Store, error) {
	cfg, err := config.Load(configDir, sfu)
	if err != nil {
		return nil, err
	}
	secrets, err := cfg.Secrets("")
	if err != nil {
		return nil, err
	}
	keys, err := statedir.LoadKeys(state, secrets.Store)
	if err != nil {
		return nil, err
	}
	return store.Open(statedir.Store(state, vfs.Default, keys))
}
