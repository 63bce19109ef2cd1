package main

import (
	"fmt"
	"os"

	"virtualservicesinc.com/comps/payment"
	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/comps/payment/sandbox"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/child"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// stripeProgram is the child process with Stripe's SDK, of the package rrts-stripe;
// RRTS_STRIPE names another, in development.
func stripeProgram() string {
	if path := os.Getenv("RRTS_STRIPE"); path != "" {
		return path
	}
	return "/usr/lib/rrts/rrts-stripe"
}

// stripeMemory bounds what the child can allocate.
const stripeMemory = 1 << 30

// addPayments adds the payment Component, where the SFU has payment providers, and the
// child where one of them needs it. What is wrong with them is their failure, and never the
// SFU's.
func (a *assembler) addPayments() error {
	all, err := a.cfg.PaymentProviders()
	if err == nil && len(all) == 0 {
		return nil
	}
	for _, p := range all {
		if p.Kind != config.PaymentKindStripe {
			continue
		}
		if err := a.engine.AddApart(a.stripe); err != nil {
			return err
		}
		break
	}
	return a.engine.AddApart(func() (engine.Component, error) {
		providers, err := a.paymentProviders()
		return payment.New(providers, err), nil
	})
}

// stripe makes one life of the child process.
func (a *assembler) stripe() (engine.Component, error) {
	const name = "stripe"
	log := a.log.With("sfu", a.cfg.Self.Number, "component", name)
	c := &config.Component{Name: name, Executable: stripeProgram(), User: a.odbcUser(),
		Limits: config.ComponentLimits{Memory: stripeMemory, Files: 1024, Processes: 1024}}
	return child.New(child.Config{
		Name: name, SFUName: a.cfg.Self.Name, Own: []*message.ServiceDescriptor{&paymentpb.PaymentProviderDescriptor},
		Launch: func() (child.Process, error) {
			if _, err := os.Stat(c.Executable); err != nil {
				return nil, fmt.Errorf("%w: install the package rrts-stripe", err)
			}
			return a.launch(c, log)
		},
	})
}

// paymentProviders are the providers as the files are now.
func (a *assembler) paymentProviders() ([]payment.ProviderConfig, error) {
	all, err := a.cfg.PaymentProviders()
	if err != nil {
		return nil, err
	}
	var out []payment.ProviderConfig
	for _, p := range all {
		c := payment.ProviderConfig{
			Name: p.Name, Kind: payment.Kind(p.Kind), Currency: p.Currency,
			Accounts: life.Accounts{Ledger: p.Ledger, Code: p.Code, Clearing: accountID(p.Clearing), Settled: accountID(p.Settled), Fees: accountID(p.Fees)},
			Books:    sandbox.Config{Dir: p.Sandbox.Books, SettleAfter: p.Sandbox.SettleAfter}, URL: p.Stripe.URL,
			Timeout: p.Timeout, Parallel: p.Parallel, Attempts: uint32(p.Attempts), Poll: p.Poll, Reconcile: p.Reconcile, ReconcileBack: p.ReconcileBack,
		}
		if p.Kind == config.PaymentKindStripe {
			if c.Key, err = a.cfg.PaymentKey(a.credentials, p.Name); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// accountID is an account's number as the configuration has it; 0 for none.
func accountID(digits string) u128.Int {
	id, _ := u128.Parse(digits) // it was looked at when it was read
	return id
}
