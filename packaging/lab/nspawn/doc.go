// Package nspawn makes a site of real systemd machines on this one: Debian root file
// systems booted by systemd-nspawn, joined by bridges in a network namespace of its
// own. It knows nothing of what the machines are for.
//
//	site, err := nspawn.New(nspawn.Config{Name: "three", Root: root, Dir: dir, Bridges: …})
//	defer site.Close()
//	m, err := site.Machine(nspawn.Spec{Name: "pc1", NICs: []nspawn.NIC{{Name: "enp2s0", Bridge: "netA"}, …}})
//	err = m.Boot(ctx)
//	out, err := m.Output(ctx, "systemctl", "is-active", "ssh")
//	err = m.Kill() // the plug is pulled
//	err = m.Boot(ctx)
//
// A machine is
//
//	DIR/NAME/root      what it sees: the shared root under a layer of its own (overlay)
//	DIR/NAME/disk      that layer; it survives Kill and Boot, and goes with the site
//	DIR/NAME/console   what it printed
//	rrts-lab-SITE      the network namespace that holds the bridges and the machines' cables
//
// and a process, systemd-nspawn, in a control group of its own: without one, two
// machines would manage the same groups. Whatever the caller's fate, nothing is left
// behind: the machines end with the process that booted them, unless the site is to
// stay (Config.Stay), and Sweep removes what a killed one left of directories, mounts
// and namespaces.
//
// What is not like metal: all machines share this kernel and its page cache, so a
// killed machine loses what was in its memory but nothing that it had written; they
// share its clock; and they have no hardware watchdog.
package nspawn
