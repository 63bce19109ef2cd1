package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/config/kit"
)

// newKitFlags say where a recovery kit goes and what seals it.
type newKitFlags struct {
	file, passphraseFile string
}

func (k *newKitFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.file, "kit", "", "file of the recovery kit (default CLUSTER-recovery-kit.txt)")
	cmd.Flags().StringVar(&k.passphraseFile, "passphrase-file", "", "file whose first line is the kit's passphrase (default: it is asked for, twice)")
}

// seal makes the kit; nil where nobody can be asked for a passphrase.
func (k *newKitFlags) seal(m *genesis.Master, c *cli) ([]byte, error) {
	if k.passphraseFile == "" && !c.atTerminal() {
		return nil, nil
	}
	if k.file == "" {
		k.file = m.Cluster.Name + "-recovery-kit.txt"
	}
	if err := genesis.Absent(k.file); err != nil {
		return nil, fmt.Errorf("the recovery kit: %s exists; name another file with --kit", k.file)
	}
	passphrase, err := k.passphrase()
	if err != nil {
		return nil, err
	}
	c.out.Progress("sealing the recovery kit")
	defer c.out.Progress("")
	return kit.Seal(m, passphrase, rand.Reader)
}

func (k *newKitFlags) passphrase() ([]byte, error) {
	if k.passphraseFile != "" {
		return readPassphrase(k.passphraseFile)
	}
	in := bufio.NewReader(os.Stdin)
	fmt.Fprintf(os.Stderr, "The recovery kit opens the cluster's backups and rebuilds it. Choose a passphrase of at least %d characters.\n", kit.MinPassphrase)
	for {
		first, err := ask(in, "passphrase: ")
		if err != nil {
			return nil, err
		}
		if len(first) < kit.MinPassphrase {
			fmt.Fprintf(os.Stderr, "It has %d characters.\n", len(first))
			continue
		}
		again, err := ask(in, "once more: ")
		if err != nil {
			return nil, err
		}
		if first == again {
			return []byte(first), nil
		}
		fmt.Fprintln(os.Stderr, "The two differ.")
	}
}

// readPassphrase returns the first line of a file.
func readPassphrase(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

func (c *cli) kitCommand() *cobra.Command {
	k := &newKitFlags{}
	cmd := &cobra.Command{
		Use:   "kit FILE",
		Short: "seal the master keys into a recovery kit",
		Long: `Seals the cluster's master keys under a passphrase, where they are: on the machine on which the cluster
was made. A cluster may have several kits; each opens all of its backups and rebuilds it. A kit stays
good while the cluster grows.`,
		Example: "  rrts kit /media/usb/shop-recovery-kit.txt",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name the kit's file: rrts kit FILE")}
			}
			k.file = args[0]
			m, err := genesis.LoadMaster(filepath.Join(c.dir, "master"))
			if err != nil {
				return err
			}
			sealed, err := k.seal(m, c)
			if err != nil {
				return err
			}
			if sealed == nil {
				return usageError{errors.New("no terminal to ask for the passphrase: name its file with --passphrase-file")}
			}
			if err := genesis.WriteFile(k.file, genesis.File{Mode: 0o600, Data: sealed}, 0); err != nil {
				return fmt.Errorf("the recovery kit: %w", err)
			}
			if c.json {
				return c.out.Object(map[string]any{"cluster": m.Cluster.Name, "id": m.Cluster.ID.String(), "kit": k.file})
			}
			return c.out.Table(nil, [][]string{{"recovery kit", k.file + ": keep it away from the machines, and the passphrase away from it"}})
		},
	}
	cmd.Flags().StringVar(&k.passphraseFile, "passphrase-file", "", "file whose first line is the passphrase (default: it is asked for, twice)")
	cmd.AddCommand(c.kitOpenCommand())
	return cmd
}

func (c *cli) kitOpenCommand() *cobra.Command {
	k := &kitFlags{}
	cmd := &cobra.Command{
		Use:   "open FILE",
		Short: "put the master keys of a recovery kit on this machine",
		Long: `Puts the master keys on this machine of the cluster: for when the machine that had them is lost. From
then on SFUs are added, replaced and removed here, and certificates renewed. The lost machine must not
come back with them: two places that hold the keys are two that can lose them.

For a cluster of which no machine is left see rrts restore.`,
		Example: "  rrts kit open /media/usb/shop-recovery-kit.txt",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name the kit's file: rrts kit open FILE")}
			}
			k.file = args[0]
			return c.openKit(k)
		},
	}
	cmd.Flags().StringVar(&k.passphraseFile, "passphrase-file", "", "file whose first line is the passphrase (default: it is asked for, or read as a line of standard input)")
	return cmd
}

func (c *cli) openKit(k *kitFlags) error {
	dir := filepath.Join(c.dir, "master")
	if genesis.Absent(dir) != nil {
		return fmt.Errorf("this machine has master keys in %s already; if they are another cluster's, move them away", dir)
	}
	cluster, err := config.LoadCluster(c.dir)
	if err != nil {
		return err
	}
	m, err := k.open()
	if err != nil {
		return err
	}
	if m.Cluster.ID != cluster.ID {
		return fmt.Errorf("%s is of cluster %s, %s, and this machine is in %s, %s: find this one's kit", k.file, m.Cluster.Name, m.Cluster.ID, cluster.Name, cluster.ID)
	}
	if err := (&genesis.Material{Master: m}).WriteMaster(dir); err != nil {
		return err
	}
	if c.json {
		return c.out.Object(map[string]any{"cluster": cluster.Name, "id": cluster.ID.String(), "master": dir})
	}
	return c.out.Table(nil, [][]string{{"the master keys of " + cluster.Name + " are in " + dir}})
}
