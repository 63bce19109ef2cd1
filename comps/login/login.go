package login

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/sealed"
	"virtualservicesinc.com/rrts/message/token"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Defaults of Config.
const (
	DefaultValidity  = 12 * time.Hour
	DefaultMemoryKiB = 19 << 10
	DefaultPasses    = 2
	// DefaultRotation is how often a login schema follows another.
	DefaultRotation = 10 * time.Minute
)

const (
	// maxWaiting bounds the logins that are under way or wait: at 30 ms each the last
	// one waits some seconds, and then nobody would wait any longer.
	maxWaiting = 256
	// maxTime answers a login whose client named no deadline.
	maxTime = 30 * time.Second
)

// Config says under which keys logins are checked.
type Config struct {
	// Pepper is the key of login names' hashes, PepperSize bytes.
	Pepper []byte
	// Cluster is the cluster's id, and Signer the key with which its login services sign
	// their schemas.
	Cluster [16]byte
	Signer  ed25519.PrivateKey
	// Rotation is how often a login schema follows another. 0 means DefaultRotation.
	Rotation time.Duration
	// Epoch is the cluster's, of which sessions are. It is called from any goroutine and
	// must not block.
	Epoch func() uint32
	// Tokens seals session tokens.
	Tokens *token.Keyring
	// Validity is how long a session is good. 0 means DefaultValidity.
	Validity time.Duration
	// MemoryKiB and Passes are the cost of new password verifiers; a stored one keeps
	// its own. 0 means DefaultMemoryKiB and DefaultPasses.
	MemoryKiB uint32
	Passes    uint32
	// Concurrency is how many passwords are checked at once; each takes MemoryKiB. 0
	// means the number of processors.
	Concurrency int
	// Wall is wall time, nanoseconds since 1970.
	Wall func() int64
	// Rand is the source of tokens' nonces. nil means the operating system's.
	Rand io.Reader
}

func (c Config) withDefaults() Config {
	if c.Validity == 0 {
		c.Validity = DefaultValidity
	}
	if c.MemoryKiB == 0 {
		c.MemoryKiB = DefaultMemoryKiB
	}
	if c.Passes == 0 {
		c.Passes = DefaultPasses
	}
	if c.Rotation == 0 {
		c.Rotation = DefaultRotation
	}
	if c.Concurrency == 0 {
		c.Concurrency = runtime.GOMAXPROCS(0)
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return c
}

func (c *Config) validate() error {
	var errs []error
	fault := func(bad bool, format string, a ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("login: "+format, a...))
		}
	}
	fault(len(c.Pepper) != PepperSize, "Pepper is %d bytes, need %d", len(c.Pepper), PepperSize)
	fault(len(c.Signer) != ed25519.PrivateKeySize, "Signer is %d bytes, need %d", len(c.Signer), ed25519.PrivateKeySize)
	fault(c.Rotation < time.Second, "Rotation is %v, at least 1s", c.Rotation)
	fault(c.Epoch == nil, "Epoch is missing")
	fault(c.Tokens == nil, "Tokens is missing")
	fault(c.Wall == nil, "Wall is missing")
	fault(c.Validity < 0, "Validity is %v, must be positive", c.Validity)
	fault(c.MemoryKiB < 8 || c.MemoryKiB > maxMemoryKiB, "MemoryKiB is %d, need 8 to %d", c.MemoryKiB, maxMemoryKiB)
	fault(c.Passes > maxPasses, "Passes is %d, need 1 to %d", c.Passes, maxPasses)
	fault(c.Concurrency < 0, "Concurrency is %d, must be positive", c.Concurrency)
	return errors.Join(errs...)
}

// Login is the Component.
type Login struct {
	cfg   Config
	cost  cost
	dummy verifier // of no password: for login names that nobody has
	host  engine.Host
	log   *slog.Logger
	txn   txnpb.TxnClient

	schemas schemas
	rotated chan struct{} // a schema was made out of its turn

	waiting atomic.Int64
	slots   chan struct{} // one token for each password that is being checked

	mu        sync.Mutex
	names     *lockout
	addresses *lockout
}

var (
	_ engine.Component     = (*Login)(nil)
	_ loginpb.LoginHandler = (*Login)(nil)
)

// New makes the Component. The error lists every fault of cfg.
func New(cfg Config) (*Login, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := cost{memoryKiB: cfg.MemoryKiB, passes: cfg.Passes}
	return &Login{
		cfg: cfg, schemas: schemas{every: cfg.Rotation}, rotated: make(chan struct{}, 1), cost: c, dummy: verifier{cost: c, lanes: lanes},
		slots: make(chan struct{}, cfg.Concurrency),
		names: newLockout(freeByName), addresses: newLockout(freeByAddress),
	}, nil
}

// Name implements engine.Component.
func (l *Login) Name() string { return "login" }

// Services implements engine.Component.
func (l *Login) Services() []engine.Service {
	return []engine.Service{{Descriptor: &loginpb.LoginDescriptor, Mailbox: maxWaiting}}
}

// Provision implements engine.Component.
func (l *Login) Provision(h engine.Host) error {
	l.host, l.log = h, h.Log()
	l.txn = txnpb.TxnClient{Caller: h.Caller(0)}
	l.schemas.make = func(epoch uint64) (*sealed.Keys, error) {
		return sealed.NewKeys(l.cfg.Cluster, h.SFU(), epoch, l.cfg.Signer)
	}
	return nil
}

// Validate implements engine.Component; New has done it.
func (l *Login) Validate() error { return nil }

// Start implements engine.Component.
func (l *Login) Start(context.Context) error {
	if _, err := l.schemas.rotate(l.host.Now(), l.cfg.Wall(), false); err != nil {
		return err
	}
	l.host.Go("schemas", l.keepSchemas)
	l.host.Ready(true)
	return nil
}

// Drain implements engine.Component: logins under way are finished; they are short.
func (l *Login) Drain(ctx context.Context) error {
	ticker := time.NewTicker(drainTick)
	defer ticker.Stop()
	for l.waiting.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// drainTick is how often Drain looks whether logins are under way.
const drainTick = 10 * time.Millisecond

// Stop implements engine.Component; what Host.Go started ends with its context.
func (l *Login) Stop() {}

// Serve implements engine.Component.
func (l *Login) Serve(batch []message.Request) {
	for _, r := range batch {
		loginpb.ServeLogin(l, r)
	}
}

// work runs f, which may take long, if there is room, with the request's deadline.
func (l *Login) work(r message.Request, f func(ctx context.Context)) {
	if l.waiting.Add(1) > maxWaiting {
		l.waiting.Add(-1)
		r.Fail(message.Overloaded, "login: too many logins at once: try again in some seconds")
		return
	}
	limit := maxTime
	if ms := r.Envelope().RemainingMillis; ms > 0 {
		limit = min(limit, time.Duration(ms)*time.Millisecond)
	}
	l.host.Go("login", func(ctx context.Context) {
		defer l.waiting.Add(-1)
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		f(ctx)
	})
}

// Login implements loginpb.LoginHandler.
func (l *Login) Login(r message.Responder[*loginpb.LoginReply], in *loginpb.LoginRequest) {
	l.work(r.Request, func(ctx context.Context) {
		reply, err := l.login(ctx, in)
		if err != nil {
			fail(r.Request, err)
			return
		}
		r.Reply(reply)
	})
}

// errDenied is the one answer to an unknown login name, a wrong password and a
// disabled user.
var errDenied = message.Errorf(message.Denied, "login: login name or password is wrong")

func (l *Login) login(ctx context.Context, in *loginpb.LoginRequest) (*loginpb.LoginReply, error) {
	user, err := l.authenticate(ctx, in.LoginName, in.Password, in.Address)
	if err != nil {
		return nil, err
	}
	return l.session(user)
}

// authenticate returns the user whose login name and password these are, or errDenied.
func (l *Login) authenticate(ctx context.Context, loginName, password, address string) (*txnpb.User, error) {
	name, err := normalize(loginName)
	if err != nil {
		name = "" // nobody's: what follows takes the same time as for any other
	}
	hash := hashName(l.cfg.Pepper, name)
	if err := l.begin(hash, address); err != nil {
		return nil, err
	}
	user, right, err := l.prove(ctx, hash, password)
	if err != nil {
		l.abort(hash, address)
		return nil, err
	}
	l.end(hash, address, right)
	if !right {
		l.log.Info("login refused", "address", address)
		return nil, errDenied
	}
	return user, nil
}

// prove says whether the user of a login hash has that password.
func (l *Login) prove(ctx context.Context, hash []byte, password string) (*txnpb.User, bool, error) {
	a, err := l.txn.FindUser(ctx, &txnpb.UserQuery{LoginHash: hash})
	if err != nil {
		return nil, false, err
	}
	user := a.User
	v := l.dummy
	if user != nil {
		if v, err = parseVerifier(user.Verifier); err != nil {
			l.log.Error("a user's password verifier is damaged: set the password anew", "user", user.Number, "err", err)
			v, user = l.dummy, nil
		}
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	right := v.check(password)
	<-l.slots
	return user, right && user != nil && !user.Disabled, nil
}

// session makes the session of a user who is who they say.
func (l *Login) session(u *txnpb.User) (*loginpb.LoginReply, error) {
	var random [token.NonceSize + token.SessionSize]byte
	if _, err := io.ReadFull(l.cfg.Rand, random[:]); err != nil {
		return nil, fmt.Errorf("login: no randomness: %w", err)
	}
	now := l.cfg.Wall()
	sealed := l.cfg.Tokens.Seal(token.Claims{
		User: u.Number, Role: message.Role(u.Role), Version: u.Version, Epoch: l.cfg.Epoch(),
		Issued: now, Expires: now + int64(l.cfg.Validity),
		Session: [token.SessionSize]byte(random[token.NonceSize:]),
	}, [token.NonceSize]byte(random[:]))
	l.log.Info("login", "user", u.Number)
	return &loginpb.LoginReply{Token: sealed, User: u.Number, PublicName: u.PublicName, Role: u.Role,
		ValidMillis: uint64(l.cfg.Validity.Milliseconds())}, nil
}

// begin counts an attempt in, or refuses it: the same for names that exist and
// names that do not.
func (l *Login) begin(hash []byte, address string) error {
	now := l.host.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	wait, ok := l.addresses.begin(now, address)
	if ok {
		if wait, ok = l.names.begin(now, string(hash)); !ok {
			l.addresses.abort(address)
		}
	}
	switch {
	case ok:
		return nil
	case wait > 0:
		return message.Errorf(message.Overloaded, "login: too many wrong attempts: try again in %v", max(wait.Round(time.Second), time.Second))
	}
	return message.Errorf(message.Overloaded, "login: too many attempts at once: try again in a moment")
}

func (l *Login) end(hash []byte, address string, right bool) {
	now := l.host.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names.end(now, string(hash), right, true)
	// A right password of one's own must not buy guesses at others.
	l.addresses.end(now, address, right, false)
}

func (l *Login) abort(hash []byte, address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names.abort(string(hash))
	l.addresses.abort(address)
}

// fail answers r with err.
func fail(r message.Request, err error) {
	var e *message.Error
	switch {
	case errors.As(err, &e):
		r.Fail(e.Code, e.Detail)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		r.Fail(message.Expired, "login: no answer in time")
	default:
		r.Fail(message.Internal, err.Error())
	}
}
