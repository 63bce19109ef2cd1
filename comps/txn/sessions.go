package txn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// maxUserChanges bounds the changes of users that are remembered for gateways: a
	// second of a busy operator's work. A gateway that is further behind asks for each of
	// its users.
	maxUserChanges = 4096
	// maxSessionUsers bounds the users that one request asks for.
	maxSessionUsers = 4096
)

// sessions remembers which users have changed, so that gateways hear of it within a
// moment: a session holds as long as its user is as it was when the session began. It is
// knowledge of this process alone; another one has another instance.
type sessions struct {
	mu       sync.Mutex
	instance uint64 // 0 until it is first asked
	counter  uint64 // changes since then, those that are forgotten included
	recent   []txnpb.UserStanding
}

// changed notes changes of users that were applied.
func (s *sessions) changed(users []txnpb.UserStanding) {
	if len(users) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counter += uint64(len(users))
	s.recent = append(s.recent, users...)
	if over := len(s.recent) - maxUserChanges; over > 0 {
		s.recent = slices.Delete(s.recent, 0, over)
	}
}

// forget makes all who ask begin anew: another state has taken the place of this one.
func (s *sessions) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instance, s.counter, s.recent = 0, 0, nil
}

// since returns what has changed since an answer.
func (s *sessions) since(instance, counter uint64) *txnpb.SessionsAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == 0 {
		s.instance = rand.Uint64() | 1
	}
	a := &txnpb.SessionsAnswer{Instance: s.instance, Counter: s.counter}
	missed := s.counter - counter
	if instance != s.instance || counter > s.counter || missed > uint64(len(s.recent)) {
		a.Afresh = true
		return a
	}
	a.Users = slices.Clone(s.recent[uint64(len(s.recent))-missed:])
	return a
}

// Sessions implements txnpb.TxnHandler.
func (d txnService) Sessions(r message.Responder[*txnpb.SessionsAnswer], in *txnpb.SessionsRequest) {
	c := d.c
	if len(in.Users) > maxSessionUsers {
		r.Fail(message.Invalid, fmt.Sprintf("%d users, at most %d", len(in.Users), maxSessionUsers))
		return
	}
	d.linearizable(r.Request, func() {
		// What has changed is taken first: a change after that is told the next time.
		a := c.sessions.since(in.Instance, in.Counter)
		for _, number := range in.Users {
			st := txnpb.UserStanding{Number: number}
			u, err := machine.FindUser(c.store, number, nil)
			if err != nil {
				r.Fail(message.Internal, err.Error())
				return
			}
			if u != nil && u.Number == number {
				st.Version, st.Disabled = u.Version, u.Disabled
			}
			a.Users = append(a.Users, st)
		}
		r.Reply(a)
	})
}
