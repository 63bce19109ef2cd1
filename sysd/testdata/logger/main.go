// Command logger logs four records as a daemon would. The test of package sysd
// builds it with journald's socket replaced by its own.
package main

import (
	"log/slog"

	"virtualservicesinc.com/sysd"
)

func main() {
	log := sysd.NewLogger(slog.LevelInfo).With("sfu", "alpha")
	log.Debug("not shown")
	log.Warn("network is down", sysd.AlarmKey, "network-down@3", slog.Group("link", "network", "A", "loss", 0.5))
	log.WithGroup("txn").Error("cannot\nwrite", "error", "no space left\non device")
	log.Info("armed", sysd.EventKey, "watchdog-armed")
}
