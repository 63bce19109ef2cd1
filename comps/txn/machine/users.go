package machine

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// maxPublicName bounds a public name, in bytes: it is shown in lists.
	maxPublicName = 64
	// loginHashBytes is the length of an HMAC-SHA-256.
	loginHashBytes = 32
	// maxSealedAddress bounds where mails for a user go, sealed.
	maxSealedAddress = 512
	// maxVerifier bounds a password verifier in PHC format.
	maxVerifier = 256
)

// userChanges are the users that this entry changed, until the store has them.
type userChanges struct {
	list   []txnpb.User // one per user, its newest form
	number map[uint64]int
	login  map[string]int // index in list of who has the login hash; may be out of date
	name   map[string]int // likewise
	undo   []userUndo     // since the scope began
	kept   int            // length of list when the scope began
	last   uint64         // the greatest number then
}

type userUndo struct {
	at     int
	before txnpb.User
}

func (u *userChanges) reset() {
	*u = userChanges{number: map[uint64]int{}, login: map[string]int{}, name: map[string]int{}}
}

// begin opens a scope; last is the greatest user number so far.
func (u *userChanges) begin(last uint64) { u.undo, u.kept, u.last = u.undo[:0], len(u.list), last }

// rollback puts everything back as it was when the scope began, and returns the
// greatest user number of then.
func (u *userChanges) rollback() (last uint64) {
	if len(u.undo) == 0 && len(u.list) == u.kept {
		return u.last
	}
	for i := len(u.undo) - 1; i >= 0; i-- {
		u.list[u.undo[i].at] = u.undo[i].before
	}
	list, kept, last := u.list, u.kept, u.last
	u.reset()
	for _, v := range list[:kept] {
		u.put(v)
	}
	return last
}

// put adds a user or replaces its earlier form.
func (u *userChanges) put(v txnpb.User) {
	i, ok := u.number[v.Number]
	if ok {
		u.undo = append(u.undo, userUndo{i, u.list[i]})
		u.list[i] = v
	} else {
		i = len(u.list)
		u.list = append(u.list, v)
		u.number[v.Number] = i
	}
	u.login[string(v.LoginHash)], u.name[v.PublicName] = i, i
}

func (u *userChanges) appendTo(b *store.Batch) {
	for i := range u.list {
		v := &u.list[i]
		b.Users = append(b.Users, store.User{Number: v.Number, LoginHash: v.LoginHash, PublicName: v.PublicName, Row: message.Marshal(v)})
	}
}

// FindNamed returns the stored user who has that public name now, nil when nobody has.
func FindNamed(s store.State, name string) (*txnpb.User, error) {
	number, ok := s.UserByName(name)
	if !ok {
		return nil, nil
	}
	u, err := FindUser(s, number, nil)
	if u != nil && u.PublicName != name { // which the user had once
		return nil, err
	}
	return u, err
}

// FindUser returns the stored user of that number, or, when it is 0, of that login
// hash; nil when there is none.
func FindUser(s store.State, number uint64, loginHash []byte) (*txnpb.User, error) {
	byLogin := number == 0
	if byLogin {
		number, _ = s.UserByLogin(loginHash)
	}
	raw, ok := s.User(number)
	if !ok {
		return nil, nil
	}
	u := &txnpb.User{}
	if err := u.Parse(slices.Clone(raw)); err != nil {
		return nil, fmt.Errorf("machine: user %d: %w", number, err)
	}
	if byLogin && !bytes.Equal(u.LoginHash, loginHash) {
		return nil, nil // the login that the user had once
	}
	return u, nil
}

// maxStandings bounds the users whose standing is remembered; with more it is looked up
// anew.
const maxStandings = 65_536

// standing is what decides whether a session of a user holds.
type standing struct {
	version  uint32 // 0: there is no such user
	disabled bool
}

// sessionOver reports whether the session that a submission came in has ended: its user
// has changed since it began, or was disabled.
func (m *Machine) sessionOver(s *txnpb.Submission) bool {
	if s.UserVersion == 0 || m.entry.ApplyVersion < entry.VersionEffects {
		return false
	}
	st, ok := m.standings[s.Principal]
	if !ok {
		if u := m.user(s.Principal); u != nil {
			st = standing{u.Version, u.Disabled}
		}
		if len(m.standings) >= maxStandings {
			clear(m.standings)
		}
		m.standings[s.Principal] = st
	}
	return st.disabled || st.version != s.UserVersion
}

// TakeUsers returns how the users stand that have changed in the entries applied since
// it was last called, in the order of their changes.
func (m *Machine) TakeUsers() []txnpb.UserStanding {
	changed := m.changedUsers
	m.changedUsers = nil
	return changed
}

// noteUsers notes what the entry has changed of users.
func (m *Machine) noteUsers() {
	for i := range m.users.list {
		u := &m.users.list[i]
		m.changedUsers = append(m.changedUsers, txnpb.UserStanding{Number: u.Number, Version: u.Version, Disabled: u.Disabled})
	}
}

// changeUser creates or changes one user and returns its number.
func (m *Machine) changeUser(c *txnpb.UserChange, stamp uint64) (txnpb.UserStatus, uint64) {
	if !validUser(c) {
		return txnpb.UserStatusInvalid, 0
	}
	var u txnpb.User
	if c.Number != 0 {
		old := m.user(c.Number)
		if old == nil {
			return txnpb.UserStatusNotFound, 0
		}
		u = *old
	}
	if len(c.LoginHash) > 0 && !bytes.Equal(c.LoginHash, u.LoginHash) {
		if m.loginTaken(c.LoginHash) {
			return txnpb.UserStatusLoginExists, 0
		}
		u.LoginHash = slices.Clone(c.LoginHash)
	}
	if c.PublicName != "" && c.PublicName != u.PublicName {
		if m.nameTaken(c.PublicName) {
			return txnpb.UserStatusPublicNameExists, 0
		}
		u.PublicName = c.PublicName
	}
	if c.Verifier != "" {
		u.Verifier = c.Verifier
	}
	if c.Role != 0 {
		u.Role = c.Role
	}
	switch len(c.SealedAddress) {
	case 0:
	case 1:
		u.SealedAddress = nil
	default:
		u.SealedAddress = slices.Clone(c.SealedAddress)
	}
	if !addressOnly(c, &u) {
		u.Version++
	}
	if !c.KeepStanding {
		u.Disabled = c.Disabled
	}
	status := txnpb.UserStatusUpdated
	if c.Number == 0 {
		m.meta.LastUser++
		u.Number, u.Created = m.meta.LastUser, stamp
		status = txnpb.UserStatusCreated
	}
	m.users.put(u)
	delete(m.standings, u.Number)
	return status, u.Number
}

// addressOnly reports whether a change gives a user another address and nothing else: then
// its sessions go on.
func addressOnly(c *txnpb.UserChange, u *txnpb.User) bool {
	return len(c.SealedAddress) > 0 && c.Number != 0 && len(c.LoginHash) == 0 && c.PublicName == "" && c.Verifier == "" && c.Role == 0 && (c.KeepStanding || c.Disabled == u.Disabled)
}

// validUser reports whether a change is well-formed; a new user needs all of it.
func validUser(c *txnpb.UserChange) bool {
	if c.Number == 0 && (len(c.LoginHash) == 0 || c.PublicName == "" || c.Verifier == "" || c.Role == 0) {
		return false
	}
	role := message.Role(c.Role)
	return len(c.SealedAddress) <= maxSealedAddress && (len(c.LoginHash) == 0 || len(c.LoginHash) == loginHashBytes) &&
		len(c.PublicName) <= maxPublicName && utf8.ValidString(c.PublicName) && len(c.Verifier) <= maxVerifier &&
		(c.Role == 0 || role == message.RoleClient || role == message.RoleOperator || role == message.RoleAuditor)
}

// user returns a user as of now, or nil.
func (m *Machine) user(number uint64) *txnpb.User {
	if i, ok := m.users.number[number]; ok {
		return &m.users.list[i]
	}
	u, err := FindUser(m.store, number, nil)
	if err != nil {
		panic(&ledger.ReadError{Op: "user", Err: err})
	}
	return u
}

// loginTaken and nameTaken look at who had the login or the name last, here and
// in the store: one that was given up is free.
func (m *Machine) loginTaken(hash []byte) bool {
	has := func(u *txnpb.User) bool { return u != nil && bytes.Equal(u.LoginHash, hash) }
	if i, ok := m.users.login[string(hash)]; ok && has(&m.users.list[i]) {
		return true
	}
	n, ok := m.store.UserByLogin(hash)
	return ok && has(m.user(n))
}

func (m *Machine) nameTaken(name string) bool {
	has := func(u *txnpb.User) bool { return u != nil && u.PublicName == name }
	if i, ok := m.users.name[name]; ok && has(&m.users.list[i]) {
		return true
	}
	n, ok := m.store.UserByName(name)
	return ok && has(m.user(n))
}
