package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Image is a disk to be made of a root directory, which stays as it is.
type Image struct {
	Root string // directory with a root file system
	Disk string // file to make
	Size string // of the disk, as mke2fs takes it
	// Furnish changes what comes onto the disk; dir is a root directory for it alone.
	Furnish func(ctx context.Context, dir string) error
}

// port is the name of the serial port over which the machine is told what to do.
const port = "lab"

// agent runs what comes in, one after the other.
const agent = `#!/bin/bash
# Says that the machine is up; then reads ID SP base64(script), answers ID SP STATUS SP
# base64(output).
exec 3<>/dev/virtio-ports/` + port + `
echo "up 0 $(base64 -w0 /proc/sys/kernel/random/boot_id)" >&3
while read -r id script <&3; do
  out=$(mktemp)
  base64 -d <<<"$script" | bash >"$out" 2>&1
  status=$?
  echo "$id $status $(base64 -w0 "$out")" >&3
  rm -f "$out"
done
`

const agentUnit = `[Unit]
Description=Runs what the lab wants
After=multi-user.target
StartLimitIntervalSec=0
[Service]
Type=idle
ExecStart=/usr/local/sbin/lab-agent
Environment=HOME=/root LANG=C.UTF-8 SYSTEMD_COLORS=0
Restart=always
[Install]
WantedBy=default.target
`

// Build makes a disk. It needs root: a root file system has owners and devices.
func Build(ctx context.Context, i Image) (err error) {
	work, err := os.MkdirTemp(filepath.Dir(i.Disk), "image-*")
	if err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	defer os.RemoveAll(work)
	dir := filepath.Join(work, "root")
	for _, d := range []string{"root", "layer", "work"} {
		if err := os.Mkdir(filepath.Join(work, d), 0o755); err != nil {
			return fmt.Errorf("qemu: %w", err)
		}
	}
	options := "lowerdir=" + i.Root + ",upperdir=" + work + "/layer,workdir=" + work + "/work"
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("qemu: mount: %w", err)
	}
	defer func() {
		if e := unix.Unmount(dir, unix.MNT_DETACH); e != nil {
			err = errors.Join(err, fmt.Errorf("qemu: unmount: %w", e))
		}
	}()
	for path, file := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"usr/local/sbin/lab-agent":             {agent, 0o755},
		"etc/systemd/system/lab-agent.service": {agentUnit, 0o644},
		"etc/fstab":                            {"/dev/vda / ext4 defaults 0 1\n", 0o644},
		"var/log/journal/.keep":                {"", 0o644}, // what happened before a reset is read after it
	} {
		path = filepath.Join(dir, path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(file.text), file.mode)
		}
		if err != nil {
			return fmt.Errorf("qemu: %w", err)
		}
	}
	if err := run(ctx, "systemctl", "--root="+dir, "enable", "--quiet", "lab-agent.service"); err != nil {
		return err
	}
	if err := i.Furnish(ctx, dir); err != nil {
		return err
	}
	return Format(ctx, i.Disk, i.Size, dir)
}

// Format makes a disk with an ext4 file system, which holds what is in dir; an empty
// one without.
func Format(ctx context.Context, disk, size, dir string) error {
	if err := os.Remove(disk); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("qemu: %w", err)
	}
	args := []string{"-q", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1"}
	if dir != "" {
		args = append(args, "-d", dir)
	}
	return run(ctx, "mke2fs", append(args, disk, size)...)
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("qemu: %s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
