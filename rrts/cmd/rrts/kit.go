package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/config/kit"
)

// kitFlags name a recovery kit and what opens it.
type kitFlags struct {
	file, passphraseFile string

	passphrase []byte // once it was asked for
}

func (k *kitFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.file, "kit", "", "the recovery kit; its passphrase is asked for, or read as a line of standard input")
	cmd.Flags().StringVar(&k.passphraseFile, "passphrase-file", "", "file whose first line is the kit's passphrase")
}

// open opens the kit.
func (k *kitFlags) open() (*genesis.Master, error) {
	data, err := os.ReadFile(k.file)
	if err != nil {
		return nil, err
	}
	if _, err := kit.Cluster(data); err != nil { // before anybody types
		return nil, fmt.Errorf("%s: %w", k.file, err)
	}
	if err := k.ask(); err != nil {
		return nil, err
	}
	m, err := kit.Open(data, k.passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.file, err)
	}
	return m, nil
}

// ask gets the passphrase, once.
func (k *kitFlags) ask() (err error) {
	switch {
	case k.passphrase != nil:
		return nil
	case k.passphraseFile != "":
		k.passphrase, err = readPassphrase(k.passphraseFile)
		return err
	}
	line, err := ask(bufio.NewReader(os.Stdin), "passphrase of the recovery kit: ")
	k.passphrase = []byte(line)
	return err
}

// openBackup opens a backup with the kit. close closes the file.
func (k *kitFlags) openBackup(path string) (r *backup.Reader, close func(), err error) {
	master, err := k.open()
	if err != nil {
		return nil, nil, err
	}
	return openBackup(path, master)
}

func openBackup(path string, master *genesis.Master) (r *backup.Reader, close func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	r, err = backup.NewReader(f, &backup.OpenKeys{
		Cluster: master.Cluster.ID, Private: master.Backup, Secret: config.BackupSecret(master.PSK),
	})
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, func() { f.Close() }, nil
}

// ended reports whether a reader came to its end.
func ended(err error) bool { return errors.Is(err, io.EOF) }
