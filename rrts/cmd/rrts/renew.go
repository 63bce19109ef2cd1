package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
)

func (c *cli) nodeRenewCommand() *cobra.Command {
	var old, out string
	cmd := &cobra.Command{
		Use:   "renew NAME",
		Short: "renew the certificate of an SFU's gateway",
		Long: `Signs a new certificate for the gateway of an SFU, for the key that it has and the names that the
configuration gives it. Run it where the master keys are. The certificate of an SFU of this machine is
put in its place, and the running SFU takes it up at once: no client notices.

A certificate is no secret. For an SFU of another machine copy its /etc/rrts/sfu/NAME.crt here, renew it,
copy it back, and run there: systemctl reload rrts@NAME. doctor says when it is time.

Own certificates in /etc/rrts/tls go before these; they are the owner's to renew.`,
		Example: "  rrts node renew alpha\n  rrts node renew bravo --old bravo.crt --new bravo-new.crt",
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (old == "") != (out == "") {
				return usageError{errors.New("--old and --new go together")}
			}
			return c.renew(cmd.Context(), args[0], old, out)
		},
	}
	cmd.Flags().StringVar(&old, "old", "", "the certificate of an SFU of another machine")
	cmd.Flags().StringVar(&out, "new", "", "where its new one goes")
	return cmd
}

func (c *cli) renew(ctx context.Context, name, old, out string) error {
	master, err := genesis.LoadMaster(filepath.Join(c.dir, "master"))
	if err != nil {
		return err
	}
	cluster, err := config.LoadCluster(c.dir)
	if err != nil {
		return err
	}
	m := cluster.Member(name)
	if m == nil || !m.Type.Gateway() {
		return usageError{fmt.Errorf("the cluster has no SFU %q with a gateway", name)}
	}
	in := cmp.Or(old, filepath.Join(c.dir, config.GatewayCert(name)))
	key, err := gatewayKeyOf(in, name, master)
	if err != nil {
		return err
	}
	cert, err := master.CA.Sign(m, key, time.Now(), rand.Reader)
	if err != nil {
		return err
	}
	file := genesis.File{Path: config.GatewayCert(name), Mode: 0o640, Data: cert}
	if out != "" {
		if err := genesis.WriteFile(out, file, 0); err != nil {
			return fmt.Errorf("%s: %w", out, err)
		}
	} else {
		if err := c.here().Renew(file); err != nil {
			return err
		}
		if c.dir == config.DefaultDir && systemdRuns() {
			if err := systemctl(ctx, "try-reload-or-restart", unitOf(name)); err != nil {
				return err
			}
		}
	}
	block, _ := pem.Decode(cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if c.json {
		return c.out.Object(map[string]any{"sfu": name, "not_after": leaf.NotAfter})
	}
	return c.out.Table(nil, [][]string{{fmt.Sprintf("the certificate of %s is good until %s", name, leaf.NotAfter.Format(time.DateOnly))}})
}

// gatewayKeyOf returns the key of a gateway's certificate, which the cluster's
// authority has signed once, however long ago.
func gatewayKeyOf(path, name string, master *genesis.Master) (ed25519.PublicKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the old certificate: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate as PEM", path)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	roots := master.ClientKit().Pool()
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: leaf.NotBefore.Add(time.Hour)}); err != nil {
		return nil, fmt.Errorf("%s was not signed by this cluster: %w", path, err)
	}
	key, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok || leaf.Subject.CommonName != name {
		return nil, fmt.Errorf("%s is the certificate of %q, not of the gateway of %s", path, leaf.Subject.CommonName, name)
	}
	return key, nil
}
