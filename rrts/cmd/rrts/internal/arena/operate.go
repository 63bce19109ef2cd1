package arena

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/drill"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// User is a login of the arena.
type User struct{ LoginName, Password string }

// Register creates n users with the role of a client.
func Register(ctx context.Context, operator *client.Client, n int) ([]User, error) {
	var users []User
	for i := range n {
		u := User{LoginName: fmt.Sprintf("arena-login-%d", i+1), Password: fmt.Sprintf("arena-password-%d", i+1)}
		answer, err := operator.Register(ctx, &loginpb.RegisterRequest{
			LoginName: u.LoginName, Password: u.Password, PublicName: fmt.Sprintf("client %d", i+1),
			Role: uint32(message.RoleClient), TransactionId: operator.NewID(),
		})
		switch {
		case err != nil:
			return nil, fmt.Errorf("arena: registering user %d: %w", i+1, err)
		case answer.Refused != "":
			return nil, fmt.Errorf("arena: registering user %d: %s", i+1, answer.Refused)
		}
		users = append(users, u)
	}
	return users, nil
}

// Login opens a client of the cluster.
func (a *Arena) Login(ctx context.Context, u User) (*client.Client, error) {
	kit := a.Kit()
	c, err := client.Open(ctx, client.Config{
		Gateways: kit.Gateways, RootCAs: kit.Pool(), ClusterID: [16]byte(kit.ID), LoginKey: kit.Signer(),
		LoginName: u.LoginName, Password: u.Password,
	})
	if err != nil {
		return nil, fmt.Errorf("arena: %w", err)
	}
	return c, nil
}

// Operator opens an operator's connection at SFU i.
func (a *Arena) Operator(ctx context.Context, i int) (*client.Client, error) {
	c, err := client.Open(ctx, client.Config{Gateways: []string{"unix:" + a.ControlSocket(i)}})
	if err != nil {
		return nil, fmt.Errorf("arena: %s: %w", a.Name(i), err)
	}
	return c, nil
}

// Leader returns the SFU that leads the transaction group, counted from 0.
func (a *Arena) Leader(ctx context.Context) (int, error) {
	var errs []error
	for i, s := range a.sfus {
		if s.number == 0 {
			continue
		}
		st, err := a.replica(ctx, i)
		if err == nil && st.Leader != 0 {
			return slices.IndexFunc(a.sfus, func(s *sfu) bool { return s.number == uint16(st.Leader) }), nil
		}
		errs = append(errs, err)
	}
	return 0, fmt.Errorf("arena: no SFU names a leader: %w", errors.Join(errs...))
}

// replica asks SFU i for its replica's status.
func (a *Arena) replica(ctx context.Context, i int) (*txnpb.ReplicaStatus, error) {
	op, err := a.Operator(ctx, i)
	if err != nil {
		return nil, err
	}
	defer op.Close()
	return txnpb.ReplicaClient{Caller: op.To(a.sfus[i].number)}.Status(ctx, &txnpb.ReplicaStatusRequest{})
}

// Join adds SFU i to the cluster, in the place of SFU `instead` if that is not -1, and
// writes what it starts from. It is not started.
func (a *Arena) Join(ctx context.Context, op *client.Client, i, instead int) error {
	s := a.sfus[i]
	record := members.Record(&a.material.Cluster.SFUs[i])
	record.Number = 0
	add := &txnpb.AddMember{Member: &record}
	if instead >= 0 {
		add.Replaces = uint32(a.sfus[instead].number)
	}
	answer, err := txnpb.MembersClient{Caller: op}.Add(ctx, add)
	switch {
	case err != nil:
		return fmt.Errorf("arena: adding %s: %w", s.name, err)
	case answer.Refused != "":
		return fmt.Errorf("arena: adding %s: %s", s.name, answer.Refused)
	}
	c, err := members.Cluster(a.material.Cluster, answer.Roster)
	if err != nil {
		return fmt.Errorf("arena: adding %s: %w", s.name, err)
	}
	s.number = uint16(answer.Added)
	if instead >= 0 {
		a.sfus[instead].number = 0
	}
	return s.writeCluster(c)
}

// Remove removes SFU i from the cluster.
func (a *Arena) Remove(ctx context.Context, op *client.Client, i int) error {
	s := a.sfus[i]
	answer, err := txnpb.MembersClient{Caller: op}.Remove(ctx, &txnpb.RemoveMember{Number: uint32(s.number)})
	switch {
	case err != nil:
		return fmt.Errorf("arena: removing %s: %w", s.name, err)
	case answer.Refused != "":
		return fmt.Errorf("arena: removing %s: %s", s.name, answer.Refused)
	}
	s.number = 0
	return nil
}

// WaitVoters waits until the group has n voters and is between no two sets of them.
func (a *Arena) WaitVoters(ctx context.Context, op *client.Client, n int) error {
	for {
		answer, err := txnpb.MembersClient{Caller: op}.List(ctx, &txnpb.ListMembers{})
		voters := 0
		if err == nil {
			for _, s := range answer.Seats {
				if s == txnpb.SeatVoter {
					voters++
				}
			}
			if voters == n && len(answer.Roster.Members) == len(answer.Seats) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("arena: %d SFUs vote, not %d: %w", voters, n, errors.Join(ctx.Err(), err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Agree reports whether all replicas are in the same state; detail says how far
// each is.
func (a *Arena) Agree(ctx context.Context) (equal bool, detail string, err error) {
	var first *txnpb.StateDigest
	var far []string
	equal = true
	for i, s := range a.sfus {
		if s.number == 0 {
			continue
		}
		op, err := a.Operator(ctx, i)
		if err != nil {
			return false, strings.Join(far, ", "), err
		}
		d, err := txnpb.ReplicaClient{Caller: op.To(s.number)}.Digest(ctx, &txnpb.DigestRequest{})
		op.Close()
		if err != nil {
			return false, strings.Join(far, ", "), fmt.Errorf("arena: %s: %w", a.Name(i), err)
		}
		far = append(far, fmt.Sprintf("%s has applied %d", a.Name(i), d.AppliedIndex))
		if first == nil {
			first = d
		}
		equal = equal && d.AppliedIndex == first.AppliedIndex && bytes.Equal(d.Chain, first.Chain)
	}
	return equal, strings.Join(far, ", "), nil
}

// OpenStore opens the store of SFU i, which must not run.
func (a *Arena) OpenStore(i int) (store.Store, error) {
	s := a.sfus[i]
	if s.cmd != nil {
		return nil, fmt.Errorf("arena: %s runs", s.name)
	}
	return drill.OpenStore(s.config, s.name, s.state)
}
