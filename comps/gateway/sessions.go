package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/token"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// A session ends when its user changes: a new password, another role, disabled, or an
// operator's wish. The replicated state knows each user's version, a token the one at
// which its session began.
//
//	a transaction    carries the version; where it is applied it must be the user's
//	a new session    waits until the leader has said that it holds, unless it said so of
//	                 the user a moment ago
//	all others       the leader is asked every sessionsTick which users have changed, and
//	                 the connections of those whose sessions are over are cut
//
// So a revocation takes effect at once for transactions and within a second for reads, at
// every gateway that reaches the leader. One that does not hears of nothing, and serves
// nothing but reads that are labelled stale.
type sessionWatch struct {
	kick chan struct{}

	// Guarded by Gateway.mu.
	instance, counter uint64 // of the last answer
	asking            bool
	fresh             time.Duration // when it was asked what was answered last
	waiting           []*entering   // in the order in which they came
	unsure            []uint64      // users to be asked for
	epoch             uint32        // the cluster's, at which sessions were last looked through
	sleeps            bool          // there is nobody to ask about
}

// entering is a connection whose session waits for the leader's word.
type entering struct {
	c      *conn
	call   uint64
	claims token.Claims
	since  time.Duration
}

// errOver answers the token of a session that has ended.
var errOver = errors.New("gateway: the session has ended: log in again")

// session is who the client is.
type session struct {
	user    *user
	role    message.Role
	expires time.Duration // of the host's clock
	version uint32        // of the user; 0 for operators at the machine
	epoch   uint32
}

// holds reports whether a session of a user's version holds, as the user stands.
func (u *user) holds(version uint32) bool { return !u.disabled && u.version == version }

// openToken returns what a token says, unless it is of an epoch that is over.
func (g *Gateway) openToken(sealed []byte) (token.Claims, error) {
	claims, err := g.cfg.Tokens.Open(sealed, g.cfg.Wall())
	if err == nil && claims.Epoch < g.cfg.Epoch() {
		err = errOver
	}
	return claims, err
}

// sign gives c the session of a token's claims. It fails if the token has expired, or
// the connection has ended meanwhile.
func (g *Gateway) sign(c *conn, claims *token.Claims) (*session, error) {
	left := time.Duration(claims.Expires - g.cfg.Wall())
	if left <= 0 {
		return nil, token.ErrExpired
	}
	s := g.signed(c, claims.User, session{role: claims.Role, expires: g.host.Now() + left, version: claims.Version, epoch: claims.Epoch})
	if s == nil {
		return nil, errOver
	}
	c.widen()
	return s, nil
}

// signed gives c a session of a user; nil if c has ended.
func (g *Gateway) signed(c *conn, number uint64, s session) *session {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.conns[c]; !ok {
		return nil
	}
	u := g.users[number]
	if u == nil {
		u = &user{number: number}
		g.users[number] = u
	}
	if g.watch.sleeps && g.watchedLocked() {
		g.wakeWatch()
	}
	u.sessions++
	s.user = u
	if former := c.session.Swap(&s); former != nil {
		g.leaveLocked(former.user)
	} else {
		g.openedLocked(c)
	}
	return &s
}

// resumeSession answers Resume, now or when the leader has said that the session holds.
func (g *Gateway) resumeSession(c *conn, call uint64, claims token.Claims) {
	now := g.host.Now()
	en := &entering{c: c, call: call, claims: claims, since: now}
	g.mu.Lock()
	u, w := g.users[claims.User], &g.watch
	certain := u != nil && u.version != 0 && w.instance != 0 && now-w.fresh < sessionsFresh
	holds := certain && u.holds(claims.Version)
	if !certain {
		w.waiting = append(w.waiting, en)
	}
	g.mu.Unlock()
	if certain {
		g.entered(en, holds)
		return
	}
	g.wakeWatch()
}

// entered answers a Resume.
func (g *Gateway) entered(en *entering, holds bool) {
	c := en.c
	c.discharge(0)
	s, err := (*session)(nil), errOver
	if holds {
		s, err = g.sign(c, &en.claims)
	}
	if err != nil {
		c.fail(en.call, message.Unsigned, err.Error())
		return
	}
	g.mu.Lock()
	if s.user.version == 0 { // it is the user's first session here
		s.user.version = s.version
	}
	g.mu.Unlock()
	c.replyMessage(en.call, &gatewaypb.ResumeReply{User: s.user.number, Role: uint32(s.role),
		ValidMillis: uint64((s.expires - g.host.Now()).Milliseconds())})
}

func (g *Gateway) wakeWatch() {
	select {
	case g.watch.kick <- struct{}{}:
	default:
	}
}

// watchSessions asks the leader about sessions until ctx ends. It sleeps while there are none.
func (g *Gateway) watchSessions(ctx context.Context) {
	ticker := time.NewTicker(sessionsTick)
	defer ticker.Stop()
	for awake := true; ; {
		if watched := g.sessionsWatched(); watched != awake {
			if awake = watched; awake {
				ticker.Reset(sessionsTick)
			} else {
				ticker.Stop()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-g.watch.kick:
		}
		g.endEpoch()
		g.askSessions()
	}
}

// askSessions asks the leader what has changed, and for the users of whom it is not
// known how they stand, if anybody has or wants a session.
func (g *Gateway) askSessions() {
	now := g.host.Now()
	g.mu.Lock()
	w := &g.watch
	late := g.lateLocked(now)
	ask := !w.asking && (len(w.waiting)+len(w.unsure) > 0 || g.watchedLocked())
	var in txnpb.SessionsRequest
	if ask {
		in = txnpb.SessionsRequest{Instance: w.instance, Counter: w.counter}
		for _, en := range w.waiting[:min(len(w.waiting), maxSessionUsers)] {
			in.Users = append(in.Users, en.claims.User)
		}
		n := min(len(w.unsure), maxSessionUsers-len(in.Users))
		in.Users = append(in.Users, w.unsure[:n]...)
		w.unsure = w.unsure[n:]
		slices.Sort(in.Users)
		in.Users = slices.Compact(in.Users)
		w.asking = true
	} else if !w.asking {
		w.instance = 0 // what changes from now on nobody hears
	}
	g.mu.Unlock()
	for _, en := range late {
		en.c.discharge(0)
		en.c.fail(en.call, message.Unavailable, "gateway: no leader says whether the session holds: try again")
		en.c.fc.Flush()
	}
	if !ask {
		return
	}
	g.host.Call(engine.Call{
		Service: txnpb.TxnService, Method: txnpb.TxnSessionsMethod, Role: message.RoleSFU, Epoch: g.cfg.Epoch(), Group: g.cfg.Group,
		Timeout: sessionsTimeout, Body: message.Marshal(&in),
		Done: func(r engine.Reply) { g.sessionsAnswered(now, &in, &r) },
	})
}

// sessionsWatched reports whether the leader is to be asked again; if not, the first to have
// a session wakes the watch.
func (g *Gateway) sessionsWatched() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := &g.watch
	// instance: what was heard before is still to be forgotten.
	w.sleeps = !w.asking && w.instance == 0 && len(w.waiting)+len(w.unsure) == 0 && !g.watchedLocked()
	return !w.sleeps
}

// watchedLocked reports whether anybody has a session that can end.
func (g *Gateway) watchedLocked() bool {
	n := len(g.users)
	if _, ok := g.users[0]; ok { // operators at the machine
		n--
	}
	return n > 0
}

// lateLocked takes out those that have waited too long.
func (g *Gateway) lateLocked(now time.Duration) (late []*entering) {
	w := &g.watch
	for len(w.waiting) > 0 && now-w.waiting[0].since > resumeTime {
		late = append(late, w.waiting[0])
		w.waiting = w.waiting[1:]
	}
	return late
}

// sessionsAnswered takes the leader's word.
func (g *Gateway) sessionsAnswered(asked time.Duration, in *txnpb.SessionsRequest, r *engine.Reply) {
	var a txnpb.SessionsAnswer
	err := r.Err()
	if err == nil {
		err = a.Parse(r.Body)
	}
	g.mu.Lock()
	w := &g.watch
	w.asking = false
	if err != nil { // the next tick asks again
		w.unsure = append(w.unsure, in.Users...)
		g.mu.Unlock()
		return
	}
	w.fresh = asked
	if a.Afresh {
		w.unsure = slices.Collect(maps.Keys(g.users))
		w.unsure = slices.DeleteFunc(w.unsure, func(n uint64) bool { return n == 0 })
		for _, u := range g.users {
			u.version = 0
		}
	}
	w.instance, w.counter = a.Instance, a.Counter
	stand := make(map[uint64]*user, len(a.Users))
	for _, s := range a.Users {
		u := g.users[s.Number]
		if u == nil {
			u = &user{number: s.Number}
		}
		u.version, u.disabled = s.Version, s.Disabled
		stand[s.Number] = u
	}
	var over []*conn
	if len(stand) > 0 {
		over = g.overLocked(func(s *session) bool {
			u := stand[s.user.number]
			return u != nil && !u.holds(s.version)
		})
	}
	var decided []*entering
	w.waiting = slices.DeleteFunc(w.waiting, func(en *entering) bool {
		if stand[en.claims.User] == nil {
			return false
		}
		decided = append(decided, en)
		return true
	})
	more := len(w.waiting)+len(w.unsure) > 0
	g.mu.Unlock()
	g.cutSessions(over)
	for _, en := range decided {
		g.entered(en, stand[en.claims.User].holds(en.claims.Version))
		en.c.fc.Flush()
	}
	if more {
		g.wakeWatch()
	}
}

// overLocked returns the connections whose sessions have ended.
func (g *Gateway) overLocked(ended func(*session) bool) (over []*conn) {
	for c := range g.conns {
		if s := c.session.Load(); s != nil && s.version != 0 && ended(s) {
			over = append(over, c)
		}
	}
	return over
}

// cutSessions ends connections whose sessions have ended.
func (g *Gateway) cutSessions(over []*conn) {
	for _, c := range over {
		if s := c.session.Load(); !c.ended.Load() {
			g.log.Info("session ended", "user", s.user.number, "address", c.address)
			c.cut(message.Unsigned, errOver.Error())
		}
	}
}

// endEpoch ends the sessions of before a forced recovery.
func (g *Gateway) endEpoch() {
	epoch := g.cfg.Epoch()
	g.mu.Lock()
	var over []*conn
	if epoch > g.watch.epoch {
		g.watch.epoch = epoch
		over = g.overLocked(func(s *session) bool { return s.epoch < epoch })
	}
	g.mu.Unlock()
	g.cutSessions(over)
}

// loggedIn gives the connection the session that a login's reply holds. The login
// service asked the leader a moment ago; what has changed since is asked for.
func (c *conn) loggedIn(sealed []byte) error {
	g := c.g
	claims, err := g.openToken(sealed)
	if err != nil {
		return errors.New("gateway: the login's token does not open here: " + err.Error())
	}
	if _, err := g.sign(c, &claims); err != nil {
		return err
	}
	g.mu.Lock()
	g.watch.unsure = append(g.watch.unsure, claims.User)
	g.mu.Unlock()
	return nil
}
