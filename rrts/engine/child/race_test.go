//go:build race

package child_test

// The race detector's own memory is far beyond any limit that is worth a test.
const memory, dataLimit = 0, 1<<64 - 1
