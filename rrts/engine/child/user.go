package child

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/user"
	"strconv"
)

// The range of user ids that systemd gives to services without a user of their own. A
// child's is taken from it in the same way, by a hash of its name, and belongs to nobody
// else of the machine.
const (
	firstDynamic = 61184
	lastDynamic  = 65519
)

// Names of users with a meaning of their own.
const (
	UserDynamic = "dynamic" // one that nobody else has
	UserSelf    = "self"    // the engine's own: for development
)

// FindUser returns the identity of the user of that name: UserDynamic, UserSelf or one
// of the machine. Component is the child's name.
func FindUser(name, component string) (*User, error) {
	if name == UserSelf {
		return nil, nil
	}
	var u *User
	if name == UserDynamic {
		u = dynamic(component)
	} else {
		found, err := user.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("child: user %q: %w", name, err)
		}
		uid, err1 := strconv.ParseUint(found.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(found.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("child: user %q: %w", name, err)
		}
		u = &User{UID: uint32(uid), GID: uint32(gid)}
		if u.UID == 0 {
			return nil, fmt.Errorf("child: user %q is root: a component runs without privileges", name)
		}
	}
	if os.Geteuid() == int(u.UID) {
		return nil, nil
	}
	return u, nil
}

// dynamic returns the first identity from the one on that the component's name hashes to
// that no user and no group of the machine has.
func dynamic(component string) *User {
	h := fnv.New32a()
	h.Write([]byte(component))
	const size = lastDynamic - firstDynamic + 1
	for i := range uint32(size) {
		id := firstDynamic + (h.Sum32()+i)%size
		text := strconv.FormatUint(uint64(id), 10)
		if _, err := user.LookupId(text); err == nil {
			continue
		}
		if _, err := user.LookupGroupId(text); err == nil {
			continue
		}
		return &User{UID: id, GID: id}
	}
	return &User{UID: lastDynamic, GID: lastDynamic} // four thousand users: not a machine that we know
}
