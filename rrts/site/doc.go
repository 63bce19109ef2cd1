// Package site is for those who write a Component of their own in Go: a program that an
// SFU runs as a child process, that answers services and calls those of RRTS.
//
//	type orders struct{ host *site.Host }
//
//	func (o *orders) Place(r message.Responder[*orderspb.Placed], in *orderspb.Order) {
//		outcome, err := o.host.For(r.Request).Submit(site.Context(r.Request), transaction(in))
//		…
//		r.Reply(&orderspb.Placed{Csn: outcome.Csn})
//	}
//
//	func main() {
//		site.Main("orders 1.0", func(h *site.Host) error {
//			o := &orders{host: h}
//			h.Answer(&orderspb.OrdersDescriptor, func(r message.Request) { orderspb.ServeOrders(o, r) })
//			return nil
//		})
//	}
//
// `rrtsgen new` makes such a program, with its .proto file and the file by which an SFU
// runs it. The SFU starts, watches and restarts it; what it writes to its standard error
// goes to the journal. Package rrts/engine/child describes the protocol on the socket.
//
// # What runs where
//
// Each request is answered by a goroutine of its own, so that a handler may wait: for a
// transaction, for another service, for a database. At most as many run at once as the
// SFU hands out, 1024 unless configured otherwise. A panic ends the program, as in every
// Go program; the SFU starts it again, and puts a request aside that has done so thrice.
//
// A method that is declared idempotent may be called again with the same request when a
// program or an SFU was lost with it. Make it so by deriving the ids of transactions from
// the request.
//
// # In whose name
//
// Host itself calls in the name of the user that the configuration gives to the
// Component. For returns a Caller in the name of the user who sent a request, good until
// that is answered. Either way the SFU passes only what the configuration grants.
package site
