package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/gateway"
	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/login"
	"virtualservicesinc.com/comps/mail"
	"virtualservicesinc.com/comps/monitor"
	"virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/comps/txn"
	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/marker"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/comps/txn/store/patientfs"
	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/quarantine"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/journal/directfs"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/token"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/mailpb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/statedir"
	"virtualservicesinc.com/sysd"
)

// group is the number of the one transaction group.
const group = 1

// sfu is one assembled SFU.
type sfu struct {
	name    string
	engine  *engine.Engine
	clock   func() time.Duration
	sockets *sysd.Sockets
	release func() error // of the state directory's lock
	reload  func() error // takes up what may change while it runs: the gateway's certificate
	ready   atomic.Bool  // systemd has been told READY
	keeper  *keeper
	// overruled writes down what only this SFU has, when the engine has ended.
	overruled func() error
	turn      *turn
}

// assembler holds what the parts of an SFU have in common.
type assembler struct {
	cfg         *config.Config
	log         *slog.Logger
	secrets     *config.Secrets
	certificate atomic.Pointer[tls.Certificate] // the gateway's; a reload changes it
	credentials string
	sockets     *sysd.Sockets
	engine      *engine.Engine
	networks    newest
	book        *monitor.Book
	turn        *turn
	clock       func() time.Duration
	seed        *config.Cluster // cluster.toml; cfg.Cluster may have a newer list of SFUs
	keeper      *keeper
}

// assemble makes an engine with the Components of the SFU's type.
func assemble(cfg *config.Config, log *slog.Logger) (*sfu, error) {
	a := &assembler{cfg: cfg, log: log, credentials: sysd.CredentialsDirectory()}
	var err error
	if a.secrets, err = cfg.Secrets(a.credentials); err != nil {
		return nil, err
	}
	a.certificate.Store(a.secrets.Certificate)
	if err := os.MkdirAll(cfg.SFU.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("the state directory: %w", err)
	}
	release, err := lockState(cfg.SFU.StateDir, cfg.Self.Name)
	if err != nil {
		return nil, err
	}
	if err := a.adoptRoster(); errors.Is(err, errOverruled) {
		return nil, errors.Join(err, a.reportOverruled(), release())
	} else if err != nil {
		return nil, errors.Join(err, release())
	}
	incarnation, err := fabric.NextIncarnation(filepath.Join(cfg.SFU.StateDir, "incarnation"))
	if err != nil {
		return nil, errors.Join(err, release())
	}
	a.sockets = sysd.InheritSockets()
	registry, err := message.NewRegistry(&enginepb.Schema, &txnpb.Schema, &loginpb.Schema, &gatewaypb.Schema, &monitorpb.Schema, &mailpb.Schema, &datasourcepb.Schema, &paymentpb.Schema)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	held, err := quarantine.NewDir(filepath.Join(cfg.SFU.StateDir, "quarantine"), a.quarantineKey(), rand.Reader)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	a.openBook()
	a.turn = newTurn(cfg)
	a.engine, err = engine.New(engine.Config{
		SFU: cfg.Self.Number, Name: cfg.Self.Name, Type: string(cfg.Self.Type), Software: version,
		Incarnation: incarnation, Registry: registry, Log: log, Clock: a.clock, Quarantine: held,
		Permit: permit, OnAlarm: a.book.Note,
	})
	if err != nil {
		return nil, errors.Join(err, release())
	}
	if err := a.addComponents(); err != nil {
		return nil, errors.Join(err, release())
	}
	return &sfu{name: cfg.Self.Name, engine: a.engine, clock: a.clock, sockets: a.sockets, release: release, reload: a.reload, keeper: a.keeper, turn: a.turn, overruled: a.reportOverruled}, nil
}

// adoptRoster makes the newest list of SFUs that is known here the cluster's.
func (a *assembler) adoptRoster() error {
	c, err := startRoster(a.cfg)
	if err != nil {
		return err
	}
	a.seed, a.cfg.Cluster, a.cfg.Self = a.cfg.Cluster, c, c.Member(a.cfg.Self.Name)
	origin := time.Now()
	a.clock = func() time.Duration { return time.Since(origin) }
	a.keeper = newKeeper(a.cfg, a.log, a.clock)
	return nil
}

// reload reads the gateway's certificate again. If it cannot be used the old one
// stays.
func (a *assembler) reload() error {
	if !a.cfg.Self.Type.Gateway() {
		return nil
	}
	cert, err := a.cfg.Certificate(a.credentials)
	if err != nil {
		return fmt.Errorf("the gateway keeps its certificate: %w", err)
	}
	a.certificate.Store(cert)
	a.log.Info("gateway certificate read again", "not_after", cert.Leaf.NotAfter)
	return nil
}

// quarantineKey seals requests that crashed their Component. It comes from the one
// secret that every SFU has alone.
func (a *assembler) quarantineKey() []byte {
	sum := sha256.Sum256(append([]byte("rrts quarantine"), a.secrets.Interconnect[:]...))
	return sum[:]
}

// close releases what assemble took, after the engine has ended.
func (s *sfu) close() error {
	s.turn.release()
	s.sockets.Close()
	return s.release()
}

// addComponents adds what the SFU's type wants, in the order in which they start;
// they stop in the reverse order, so that the way out of the cluster goes last.
func (a *assembler) addComponents() error {
	add := []func() (engine.Component, error){a.connector, a.monitor}
	if a.cfg.Self.Type.Transactions() {
		add = append(add, a.transactions)
	}
	if a.cfg.Self.Type.Gateway() {
		if !a.cfg.SFU.Login.Elsewhere {
			add = append(add, a.login)
		}
		add = append(add, a.gateway)
	}
	if a.cfg.Self.Type.Effects() && a.cfg.SFU.Mail.Relay != "" {
		add = append(add, a.mail)
	}
	for _, make := range add {
		if err := a.engine.Add(make); err != nil {
			return err
		}
	}
	if err := a.addDataSources(); err != nil {
		return err
	}
	if err := a.addPayments(); err != nil {
		return err
	}
	return a.addSite()
}

// permit says which methods SFUs of a type may call here: those without
// transactions have no business in a group's own talk, and do not know who is in the
// cluster better than others.
func permit(_ uint16, fromType string, service, _ uint16) bool {
	from := config.Type(fromType)
	switch service {
	case txnpb.ReplicaService:
		return fromType == "" || from.Transactions() || from.Gateway()
	case txnpb.RosterKeeperService:
		return fromType == "" || from.Transactions()
	}
	return true
}

// lockState makes sure that one process at a time uses a state directory.
func lockState(dir, name string) (release func() error, err error) {
	lock, err := vfs.Default.Lock(filepath.Join(dir, "LOCK"))
	if err != nil && scarce(err) {
		return nil, fmt.Errorf("the state directory: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is in use: SFU %s runs already on this machine (systemctl status rrts@%s): %w", dir, name, name, err)
	}
	return lock.Close, nil
}

// transactions makes the transaction Component.
func (a *assembler) transactions() (engine.Component, error) {
	dir := a.cfg.SFU.StateDir
	birth, err := genesis.Unborn(dir)
	if err != nil {
		return nil, err
	}
	keys, err := a.nodeKeys(birth)
	if err != nil {
		return nil, err
	}
	c := a.cfg.Cluster
	disk := patientfs.New(vfs.Default, a.log)
	state := func() store.Config {
		s := statedir.Store(dir, disk, keys)
		s.CacheBytes, s.Log = a.cfg.SFU.Txn.Cache, a.log
		return s
	}
	cfg := txn.Config{
		Group: group, Epoch: c.Epoch, Node: uint64(a.cfg.Self.Number), Seed: members.Roster(a.seed),
		Valid: a.validRoster, Roster: a.keeper.offer,
		Tick: c.Transactions.Tick, Heartbeat: c.Transactions.Heartbeat, Election: c.Transactions.ElectionTimeout,
		Birth: birth, Born: func() error { return genesis.Born(dir) },
		FS: directfs.New(vfs.Default), Dir: statedir.Journal(dir), Keys: keys, Rotation: keys, Cluster: [16]byte(c.ID),
		SegmentBytes: a.cfg.SFU.Txn.JournalSegment, WitnessBytes: a.cfg.SFU.Txn.WitnessLog,
		Full: disk.Full, Stopping: disk.Stop, Clocks: a.networks.clocks, Timer: timer.Kernel,
		OpenStore:   func() (store.Store, error) { return store.Open(state()) },
		OpenDamaged: func(why string) (store.Store, error) { return store.OpenDamaged(state(), why) },
		Backup:      a.backups(),
		Machine:     machine.Config{Window: c.Transactions.DedupeWindow, Ledger: ledger.Config{MaxCachedAccounts: a.cfg.SFU.Txn.Balances}},
	}
	if a.cfg.Self.Type == config.TypeWitness {
		cfg.OpenMarker = func() (*marker.File, error) { return statedir.Marker(dir, disk, keys) }
	}
	t := txn.New(cfg)
	a.keeper.setReplica(t)
	return t, nil
}

// validRoster holds a roster against the rules of the configuration, which every SFU
// writes it into.
func (a *assembler) validRoster(r *txnpb.Roster) error {
	_, err := members.Cluster(a.cfg.Cluster, r)
	return err
}

// nodeKeys loads the keys that seal journal and store. They are made when the SFU
// is born, and never again: what was sealed under lost keys is lost.
func (a *assembler) nodeKeys(birth bool) (*statedir.Keys, error) {
	keys, err := statedir.LoadKeys(a.cfg.SFU.StateDir, a.secrets.Store)
	if errors.Is(err, fs.ErrNotExist) && birth {
		return statedir.NewKeys(a.cfg.SFU.StateDir, a.secrets.Store)
	}
	return keys, err
}

// backups says how backups are sealed; nil in a cluster that makes none.
func (a *assembler) backups() *txn.BackupConfig {
	c := a.cfg.Cluster
	if c.BackupKey == (config.PublicKey{}) {
		return nil
	}
	return &txn.BackupConfig{
		Keys:    backup.Keys{Recipient: c.BackupKey, Secret: config.BackupSecret(a.secrets.PSK)},
		Cluster: c.Name, Software: version,
	}
}

// tokens opens and seals session tokens.
func (a *assembler) tokens() (*token.Keyring, error) {
	return token.NewKeyring([16]byte(a.cfg.Cluster.ID), a.secrets.Token[:])
}

func wall() int64 { return time.Now().UnixNano() }

func (a *assembler) login() (engine.Component, error) {
	tokens, err := a.tokens()
	if err != nil {
		return nil, err
	}
	c := a.cfg.Cluster.Clients
	return login.New(login.Config{
		Pepper: a.secrets.Pepper[:], Tokens: tokens, Validity: c.SessionValidity,
		Cluster: [16]byte(a.cfg.Cluster.ID), Signer: config.LoginSigner(a.secrets.Pepper), Rotation: c.LoginRotation, Epoch: a.keeper.epoch,
		MemoryKiB: uint32(c.Argon2Memory >> 10), Passes: c.Argon2Passes, Wall: wall,
	})
}

func (a *assembler) gateway() (engine.Component, error) {
	tokens, err := a.tokens()
	if err != nil {
		return nil, err
	}
	clients, err := authorities("gateway.client_ca", a.cfg.SFU.Gateway.ClientCA)
	if err != nil {
		return nil, err
	}
	c, self := a.cfg.Cluster, a.cfg.Self
	return gateway.New(gateway.Config{
		Listen: func() ([]net.Listener, error) {
			return a.sockets.Listen("gateway", a.cfg.SFU.Gateway.Listen, "gateway.listen in sfu/"+self.Name+".toml")
		},
		ListenAdmin: a.listenControl, AdminGroup: adminGroup(),
		Certificate: func() (*tls.Certificate, error) { return a.certificate.Load(), nil },
		ClientCAs:   clients,
		Tokens:      tokens, Wall: wall,
		Cluster: c.Name, ClusterID: [16]byte(c.ID), Epoch: a.keeper.epoch, Group: group,
		Gateways: a.keeper.gateways, Own: self.Gateways, SFUs: a.keeper.numbers,
		Heartbeat: c.Clients.Heartbeat, MaxConnections: a.cfg.SFU.Gateway.MaxConnections, Window: a.cfg.SFU.Gateway.Window,
	})
}

// authorities reads the certificates that the value of a key names; nil where there is none.
func authorities(key, path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s: %s holds no certificate: write those of the authorities as PEM", key, path)
	}
	return pool, nil
}

// mail makes the Component that sends mails.
func (a *assembler) mail() (engine.Component, error) {
	m := &a.cfg.SFU.Mail
	cas, err := authorities("mail.ca", m.CA)
	if err != nil {
		return nil, err
	}
	return mail.New(mail.Config{
		Relay: m.Relay, Security: smtp.Security(m.Security), User: m.User, Password: a.secrets.Relay, CAs: cas, From: m.From,
		Templates: m.Templates, ClientTemplates: m.ClientTemplates, Parallel: m.Parallel, PerDomain: m.PerDomain,
		AddressKey: mail.AddressKey(a.secrets.Pepper[:]),
	}), nil
}

// adminGroup is the group whose members operate the cluster; 0 where there is none.
func adminGroup() uint32 {
	g, err := user.LookupGroup("rrts")
	if err != nil {
		return 0
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(id)
}

// listenControl opens the socket at which operators on this machine are answered.
func (a *assembler) listenControl() (net.Listener, error) {
	path := a.cfg.ControlSocket(a.cfg.Self.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	// The state directory's lock is held: what lies there was left behind.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	return l, nil
}
