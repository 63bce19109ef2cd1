// Package mail hands the Monitor's messages to a mail server, for several people at once.
package mail

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"virtualservicesinc.com/comps/smtp"
)

// ErrRefused says that a message is not to be sent again: the server will not take it, or
// has taken it for some of those who should get it, and not for all. With any other error
// there is a use in sending it again: a server that is away, a wrong password, a mailbox
// that is full.
var ErrRefused = errors.New("mail: the server refuses the message")

// Send hands a message over. It returns nil once the server has taken it for all who
// should get it. Those for whom it does not take it do not keep the others from getting
// it.
func Send(ctx context.Context, r *smtp.Relay, m *smtp.Message) error {
	err := send(ctx, r, m)
	var failed *smtp.Error
	if len(m.To) == 1 || !errors.As(err, &failed) || failed.Phase != smtp.Recipient {
		return err
	}
	// One of them has stopped the session: each alone.
	var taken, later int
	var said []string
	for _, to := range m.To {
		one := *m
		one.To = []string{to}
		err := send(ctx, r, &one)
		switch {
		case err == nil:
			taken++
			continue
		case !errors.Is(err, ErrRefused):
			later++
		}
		said = append(said, err.Error())
	}
	switch all := strings.Join(said, "; "); {
	case len(said) == 0:
		return nil
	case taken == 0 && later > 0:
		return errors.New(all)
	default:
		return fmt.Errorf("%w: %d of %d got it: %s", ErrRefused, taken, len(m.To), all)
	}
}

// send hands a message over in one session. Whether the message is at fault, and not the
// session or the sender's account, is said about those who get it and about what it is.
func send(ctx context.Context, r *smtp.Relay, m *smtp.Message) error {
	err := r.Send(ctx, m)
	var failed *smtp.Error
	if errors.As(err, &failed) && failed.Final() {
		switch failed.Phase {
		case smtp.Compose, smtp.Recipient, smtp.Content:
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	return err
}
