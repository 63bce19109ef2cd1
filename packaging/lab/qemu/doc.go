// Package qemu runs one Debian machine with hardware of its own in QEMU: a kernel, disks
// and a watchdog that resets it. It emulates the processor, so it needs no KVM, and a
// second core of this machine at most. It knows nothing of what the machine is for.
//
//	err := qemu.Build(ctx, qemu.Image{Root: root, Disk: disk, Size: …, Furnish: …})
//	m, err := qemu.Start(qemu.Config{Root: root, Disks: []string{disk, state}, Dir: dir})
//	defer m.Close()
//	boot, err := m.Up(ctx)
//	out, err := m.Run(ctx, "systemctl is-active ssh")
//	boot, err = m.Up(ctx) // once it has reset itself
//
// Root is a directory with a Debian root file system that has a kernel, an initrd and
// udev. Build makes a disk of it, which gets a service that runs what it is told over a
// serial port of the machine:
//
//	from the machine   "up 0 " base64(boot id) LF             once it is up
//	to the machine     ID SP base64(script) LF
//	from the machine   ID SP STATUS SP base64(output) LF
//
// What the hardware does is seen from outside, through QEMU's own monitor (QMP): Fired
// counts the resets that the watchdog made.
package qemu
