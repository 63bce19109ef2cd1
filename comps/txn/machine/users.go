package machine

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// maxPublicName bounds a public name, in bytes: it is shown in lists.
	maxPublicName = 64
	// loginHashBytes is the length of an HMAC-SHA-256.
	loginHashBytes = 32
	// maxVerifier bounds a password verifier in PHC format.
	maxVerifier = 256
)

// userChanges are the users that this entry changed, until the store has them.
type userChanges struct {
	list []txnpb.User // one per user, its newest form
	undo []txnpb.User // list as it was when the scope began
}

func (u *userChanges) begin()    { u.undo = slices.Clone(u.list) }
func (u *userChanges) rollback() { u.list = u.undo }
func (u *userChanges) reset()    { u.list, u.undo = nil, nil }

func (u *userChanges) appendTo(b *store.Batch) {
	for i := range u.list {
		v := &u.list[i]
		b.Users = append(b.Users, store.User{Number: v.Number, LoginHash: v.LoginHash, PublicName: v.PublicName, Row: message.Marshal(v)})
	}
}

// find returns the changed user that f accepts.
func (u *userChanges) find(f func(*txnpb.User) bool) *txnpb.User {
	for i := range u.list {
		if f(&u.list[i]) {
			return &u.list[i]
		}
	}
	return nil
}

// put adds a user or replaces its earlier form.
func (u *userChanges) put(v txnpb.User) {
	if old := u.find(func(x *txnpb.User) bool { return x.Number == v.Number }); old != nil {
		*old = v
		return
	}
	u.list = append(u.list, v)
}

// FindUser returns the stored user of that number, or else of that login hash.
func FindUser(s store.State, number uint64, loginHash []byte) (*txnpb.User, error) {
	if number == 0 {
		n, ok := s.UserByLogin(loginHash)
		if !ok {
			return nil, nil
		}
		number = n
	}
	raw, ok := s.User(number)
	if !ok {
		return nil, nil
	}
	u := &txnpb.User{}
	if err := u.Parse(slices.Clone(raw)); err != nil {
		return nil, fmt.Errorf("machine: user %d: %w", number, err)
	}
	return u, nil
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
	u.Disabled = c.Disabled
	u.Version++
	status := txnpb.UserStatusUpdated
	if c.Number == 0 {
		m.meta.LastUser++
		u.Number, u.Created = m.meta.LastUser, stamp
		status = txnpb.UserStatusCreated
	}
	m.users.put(u)
	return status, u.Number
}

// validUser reports whether a change is well-formed; a new user needs all of it.
func validUser(c *txnpb.UserChange) bool {
	if c.Number == 0 && (len(c.LoginHash) == 0 || c.PublicName == "" || c.Verifier == "" || c.Role == 0) {
		return false
	}
	role := message.Role(c.Role)
	return (len(c.LoginHash) == 0 || len(c.LoginHash) == loginHashBytes) &&
		len(c.PublicName) <= maxPublicName && utf8.ValidString(c.PublicName) && len(c.Verifier) <= maxVerifier &&
		(c.Role == 0 || role == message.RoleClient || role == message.RoleOperator || role == message.RoleAuditor)
}

// user returns a user as of now, or nil.
func (m *Machine) user(number uint64) *txnpb.User {
	if u := m.users.find(func(u *txnpb.User) bool { return u.Number == number }); u != nil {
		return u
	}
	u, err := FindUser(m.store, number, nil)
	if err != nil {
		panic(&ledger.ReadError{Op: "user", Err: err})
	}
	return u
}

func (m *Machine) loginTaken(hash []byte) bool {
	if m.users.find(func(u *txnpb.User) bool { return bytes.Equal(u.LoginHash, hash) }) != nil {
		return true
	}
	n, ok := m.store.UserByLogin(hash)
	return ok && m.user(n) != nil && bytes.Equal(m.user(n).LoginHash, hash)
}

func (m *Machine) nameTaken(name string) bool {
	if m.users.find(func(u *txnpb.User) bool { return u.PublicName == name }) != nil {
		return true
	}
	n, ok := m.store.UserByName(name)
	return ok && m.user(n) != nil && m.user(n).PublicName == name
}
