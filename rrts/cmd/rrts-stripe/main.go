// Command rrts-stripe is the child process in which Stripe's SDK runs for an SFU's payment
// providers: it answers the service PaymentProvider on the socket that the SFU gave it.
// rrtsd starts it.
package main

import (
	"virtualservicesinc.com/comps/payment/stripe"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/site"
)

// version is set by the build.
var version = "development"

func main() {
	site.Main("rrts-stripe "+version, func(h *site.Host) error {
		s := stripe.NewServer(site.Context)
		h.Answer(&paymentpb.PaymentProviderDescriptor, func(r message.Request) { paymentpb.ServePaymentProvider(s, r) })
		return nil
	})
}
