// Package payment is the payment Component: it makes the calls of payment providers that
// committed transactions owe, notes in the ledger what providers do by themselves, and
// finds where ledger and provider differ.
//
// # An effect
//
//	service     "payment"; the target is the provider
//	operation   "authorize", "capture", "void", "refund"
//	key         the payment's id in decimal digits: its calls are made one after the other
//	arguments   "payment", "amount", "refund": integers; "token", "description": texts
//
// What stands in the ledger beside it, and what follows it there, is the transaction's:
// package life says which transfers a payment is made of, rrts/client makes them. A call is
// made only for what the ledger holds: without a hold of the same amount nothing is
// authorized, and no more is given back than was taken.
//
// # What is promised
//
// Calls may repeat, charges may not. Each call carries the effect's key, the same at each
// attempt and of no other effect ever, as its idempotency key; and a call that follows
// another whose outcome is not known asks first what became of that. A time-out decides
// nothing: the money stays held in the ledger until the provider has said what is so, or an
// operator has looked.
//
//	the provider says      the effect
//	yes                    is done
//	no                     has failed: what the transaction said should follow happens
//	wrong key, no right    is in quarantine: mend it, then rrts effects retry
//	anything else, nothing is tried again, later and later, asking first; then in quarantine
//
// Of an authorization the Component notes first that it stands, with the provider's name
// for it, in a transaction of its own: a transfer of nothing, whose id is made of the
// payment's, so that it is there once.
//
// No card number comes in: package rrts/message/cardnumber finds them, the leader refuses
// transactions that have one, and what providers say is looked through before it is kept.
//
// # The parts
//
//	life       the rules, without I/O
//	sandbox    a provider that moves no money and fails on script
//	stripe     Stripe, by its own SDK, in the child process rrts-stripe
//	desk       one provider: its queue, its events, its differences
//	Component  all of them, and the service Payments
//
// One of the SFUs with providers, that with the least number, asks for events and looks for
// differences; if two do for a moment, the transfers that come of it are the same.
package payment
