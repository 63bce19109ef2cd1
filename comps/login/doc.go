// Package login is the Component that knows whether somebody is who they say. It
// answers the service Login on every SFU that has gateways; gateways bring logins
// to the nearest one.
//
// # What is secret
//
// A user has two names. The public name is what others see. The login name is
// known to the user alone: it stands in the login request and nowhere else. What
// the cluster stores is
//
//	HMAC-SHA-256(pepper, "rrts login name 1" 0x00 normalized login name)
//
// under a pepper that lies outside the replicated state, so that a copy of the
// state does not even say who has an account. Neither name nor password is ever
// logged, kept or passed on; only the hash leaves this package.
//
// Of the password an Argon2id verifier is stored, as a PHC string:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt, 16 bytes, base64>$<hash, 32 bytes, base64>
//
// The salt is derived from the transaction that stores it, so that the same
// registration, sent twice, is the same transaction.
//
// # What an attacker learns
//
// An unknown login name, a wrong password and a disabled user get the same answer
// after the same work: where there is no verifier a dummy is checked. After a few
// wrong passwords a login name, known or not, is locked for a time that doubles
// with each further one, and an address after some more. Every SFU counts for
// itself and forgets when it restarts.
//
// Checking a password takes memory by intent (19 MiB), so only as many are checked
// at once as there are processors; a bounded number waits, the rest is answered
// Overloaded at once.
package login
