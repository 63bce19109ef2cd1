//go:build !race

package child_test

const memory, dataLimit = 512 << 20, 512 << 20
