package stripe

import (
	"context"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// Server answers the service PaymentProvider. Each request may wait, so each is to be given
// on a goroutine of its own.
type Server struct {
	context func(message.Request) context.Context

	mu       sync.RWMutex
	revision uint64 // 0: there were no settings yet
	accounts map[string]*account
}

// NewServer returns a Server without accounts. context tells until when a request is waited
// for.
func NewServer(context func(message.Request) context.Context) *Server {
	return &Server{context: context}
}

var _ paymentpb.PaymentProviderHandler = (*Server)(nil)

// trusted answers a request that is not of the SFU itself.
func trusted(r message.Request) bool {
	if r.Envelope().Role == message.RoleSFU {
		return true
	}
	r.Fail(message.Denied, "stripe: only the SFU itself may call this")
	return false
}

// Configure implements paymentpb.PaymentProviderHandler.
func (s *Server) Configure(r message.Responder[*paymentpb.ProviderSettingsReply], in *paymentpb.ProviderSettings) {
	if !trusted(r.Request) {
		return
	}
	accounts := map[string]*account{}
	for i := range in.Accounts {
		accounts[in.Accounts[i].Name] = newAccount(&in.Accounts[i])
	}
	s.mu.Lock()
	s.accounts, s.revision = accounts, in.Revision
	s.mu.Unlock()
	r.Reply(&paymentpb.ProviderSettingsReply{})
}

// account returns a provider's under a revision of the settings; nil: they are not known.
func (s *Server) account(revision uint64, name string) *account {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if revision == 0 || revision != s.revision {
		return nil
	}
	return s.accounts[name]
}

// Do implements paymentpb.PaymentProviderHandler.
func (s *Server) Do(r message.Responder[*paymentpb.CallReply], in *paymentpb.CallRequest) {
	if !trusted(r.Request) {
		return
	}
	out := &paymentpb.CallReply{}
	if a := s.account(in.Revision, in.Provider); a == nil {
		out.Stale = true
	} else {
		c, err := a.do(s.context(r.Request), in)
		out.Charge, out.Fault = c, faultOf(err)
	}
	r.Reply(out)
}

// Find implements paymentpb.PaymentProviderHandler.
func (s *Server) Find(r message.Responder[*paymentpb.FindReply], in *paymentpb.FindRequest) {
	if !trusted(r.Request) {
		return
	}
	out := &paymentpb.FindReply{}
	if a := s.account(in.Revision, in.Provider); a == nil {
		out.Stale = true
	} else {
		all, err := a.find(s.context(r.Request), in.Payment, in.Reference)
		out.Charges, out.Fault = all, faultOf(err)
	}
	r.Reply(out)
}

// Charges implements paymentpb.PaymentProviderHandler.
func (s *Server) Charges(r message.Responder[*paymentpb.ChargesReply], in *paymentpb.ChargesRequest) {
	if !trusted(r.Request) {
		return
	}
	out := &paymentpb.ChargesReply{}
	if a := s.account(in.Revision, in.Provider); a == nil {
		out.Stale = true
	} else {
		all, next, err := a.charges(s.context(r.Request), time.Unix(0, int64(in.Since)), time.Unix(0, int64(in.Until)), in.Cursor)
		out.Charges, out.Cursor, out.Fault = all, next, faultOf(err)
	}
	r.Reply(out)
}

// Events implements paymentpb.PaymentProviderHandler.
func (s *Server) Events(r message.Responder[*paymentpb.EventsReply], in *paymentpb.EventsRequest) {
	if !trusted(r.Request) {
		return
	}
	out := &paymentpb.EventsReply{}
	if a := s.account(in.Revision, in.Provider); a == nil {
		out.Stale = true
	} else {
		all, next, err := a.events(s.context(r.Request), time.Unix(0, int64(in.Since)), in.Cursor)
		out.Events, out.Cursor, out.Fault = all, next, faultOf(err)
	}
	r.Reply(out)
}
