package engine

import (
	"context"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// OwnCaller is the message.Caller of a Component that calls services of its own SFU, as the SFU:
// those of its child process, as a rule.
type OwnCaller struct{ Host Host }

// Call implements message.Caller. The error is what was answered, or that ctx ended first.
func (o OwnCaller) Call(ctx context.Context, method *message.MethodDescriptor, service uint16, body []byte) ([]byte, error) {
	call := Call{Service: service, Method: method.Number, Target: o.Host.SFU(), Role: message.RoleSFU, Body: body}
	if deadline, ok := ctx.Deadline(); ok {
		if call.Timeout = time.Until(deadline); call.Timeout <= 0 {
			return nil, context.DeadlineExceeded
		}
	}
	answer := make(chan Reply, 1)
	call.Done = func(r Reply) { answer <- r }
	o.Host.Call(call)
	select {
	case r := <-answer:
		return r.Body, r.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
