// Package config reads and writes the files that describe a cluster.
//
// One directory, by default /etc/rrts, holds them on every machine:
//
//	cluster.toml     the cluster; the same file on every machine
//	machine.toml     this machine: its name and its two interconnect NICs
//	sfu/NAME.toml    one SFU of this machine: its directories, bounds, log level
//	sfu/NAME.crt     the certificate of its gateway, signed by the cluster's CA
//	datasource/NAME.toml    one data source of the SFUs of this machine
//	payment/NAME.toml       one payment provider of the SFUs of this machine
//	components.d/NAME.toml  one program of the site that SFUs of this machine run
//	keys/NAME/       the secrets of one SFU, one file each (see Secrets)
//	tls/NAME.crt     optional: the owner's own gateway certificate, and NAME.key
//	client-kit.toml  what a client needs to find and trust the gateways
//	master/          only where the cluster was made: the CA's key and the secrets
//	                 from which keys/ is filled for new SFUs; no SFU reads it
//
// Load reads what one SFU needs, resolves every default and checks every
// relation. Reading is strict: an unknown key, a wrong type, a missing key and a
// bad value are faults, all of them are reported at once, and each is one line:
//
//	/etc/rrts/cluster.toml:12:1: key sfu[0].nmae: unknown key; did you mean name?
//
// The keys of a file, their order, defaults, bounds and comments stand in one
// place, the keys method of its type; reading, writing and the commented example
// files in the package all come from there.
//
// The package keeps no state and starts nothing; it reads and writes files.
package config
