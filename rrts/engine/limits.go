package engine

import (
	"errors"
	"time"
)

// What is fixed here has its reason beside it; what an owner may want to change
// stands in Config.
const (
	// DefaultMailbox is the bound on waiting requests of a service on one lane. A
	// Component that takes 10 µs a request is 40 ms behind when it is full.
	DefaultMailbox = 4096
	// DefaultTimeout answers a Call that names none. Longer than any election or
	// restart that the engine rides out, short enough that nothing piles up.
	DefaultTimeout = 10 * time.Second
	// MaxTimeout bounds what a caller may ask for: a forgotten call must end.
	MaxTimeout = 10 * time.Minute
)

// ErrFull is what a Transport returns when it has no room: the caller gets
// Overloaded.
var ErrFull = errors.New("engine: transport is full")
