package gateway_test

import (
	"testing"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func TestPayment(t *testing.T) {
	w := newWorld(t).start(1).register()
	c := w.open()
	tx := payment(c)
	o, err := c.Submit(t.Context(), tx)
	if err != nil || o.State != txnpb.StateCommitted || o.Id != tx.Id || o.Csn == 0 {
		t.Fatalf("%v, %v", o, err)
	}
	s := c.Session()
	if s.PublicName != "Till 1" || s.User != 1000 || s.Role != uint32(message.RoleClient) || s.Gateway != w.sfus[0].address || s.Cluster != "test" {
		t.Errorf("session %+v", s)
	}
	if got := w.batches[len(w.batches)-1][0]; got.Principal != 1000 || got.Role != uint32(message.RoleClient) {
		t.Errorf("submission on behalf of %d, role %d", got.Principal, got.Role)
	}
}
