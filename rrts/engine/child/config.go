package child

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
)

const (
	// MaxBytes is the longest body that travels between engine and child, either way.
	MaxBytes = 16 << 20
	// MaxFrame is the longest frame.
	MaxFrame = MaxBytes + frame.Overhead
	// MaxServices bounds the services of one child.
	MaxServices = 64
	// MaxInFlight bounds Config.InFlight: what the engine itself lets a Component hold.
	MaxInFlight = 1 << 16

	// Defaults of Config.
	DefaultInFlight    = 1024
	DefaultStartWithin = 10 * time.Second
	DefaultHeartbeat   = time.Second
	DefaultSilent      = 10 * time.Second

	// backlog bounds what waits for a child that does not read, in bytes: one longest
	// frame and all that a child has in flight of ordinary requests. What is beyond is
	// answered Overloaded.
	backlog = MaxFrame + 4<<20
	// stall is how long a child may take for the next 64 KiB of it.
	stall = 10 * time.Second
	// stopGrace is what a child has between SIGTERM and SIGKILL. The engine itself waits
	// ten seconds for a Component to stop.
	stopGrace = 3 * time.Second
	// maxConditions bounds the alarms of one child that stand at a time.
	maxConditions = 8
	// maxAgent bounds what a child says that it is, in bytes.
	maxAgent = 128
	// lateGrace is how long after its deadline a request that a child has not answered is
	// answered for it: whoever asked knows already.
	lateGrace = time.Second
)

// Grant is a service that a child may answer.
type Grant struct {
	Number uint16
	// Clients says for which roles gateways pass its methods, by their names; "*" is all
	// methods.
	Clients map[string]message.Roles
}

// Config describes a child.
type Config struct {
	// Name is the Component's: it stands in logs, alarms and commands. Must be set.
	Name string
	// SFUName is told to the child.
	SFUName string
	// Launch starts the program. Must be set; see Program.
	Launch func() (Process, error)
	// Services are what the child may answer.
	Services []Grant
	// Own are services of RRTS itself that the child answers: with drivers in C, for one.
	// They need no Grant.
	Own []*message.ServiceDescriptor
	// Calls are what it may call: "Txn.Read" is a method, "Txn.*" all of a service, by
	// the names that they have in their .proto files.
	Calls []string
	// Principal and Role are in whose name it calls when it names nobody.
	Principal uint64
	Role      message.Role
	// Outward is asked for every call of the child that Calls grants, with principal and
	// role set. It may change the call, or refuse it. nil lets all pass.
	Outward func(*engine.Call) *message.Error

	// InFlight bounds the requests that the child has and has not answered, and its own
	// without an answer; one more is answered Overloaded. 0 means DefaultInFlight.
	InFlight int
	// StartWithin is how long the child may take to say Hello. 0 means DefaultStartWithin.
	StartWithin time.Duration
	// Heartbeat is how often it is asked for a sign of life, and Silent how long it may
	// take to give one; at least twice Heartbeat. 0 means DefaultHeartbeat, DefaultSilent.
	Heartbeat, Silent time.Duration
}

func (c Config) withDefaults() Config {
	if c.InFlight == 0 {
		c.InFlight = DefaultInFlight
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.StartWithin, DefaultStartWithin}, {&c.Heartbeat, DefaultHeartbeat}, {&c.Silent, DefaultSilent}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return c
}

func (c *Config) validate() error {
	var faults []error
	fault := func(bad bool, format string, a ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("child: "+format, a...))
		}
	}
	fault(c.Name == "", "Name must be set")
	fault(c.Launch == nil, "Launch must be set")
	fault(c.InFlight < 1 || c.InFlight > MaxInFlight, "InFlight %d, must be 1 to %d", c.InFlight, MaxInFlight)
	fault(c.StartWithin <= 0, "StartWithin %v must be positive", c.StartWithin)
	fault(c.Heartbeat <= 0, "Heartbeat %v must be positive", c.Heartbeat)
	fault(c.Silent < 2*c.Heartbeat, "Silent %v must be at least twice Heartbeat %v", c.Silent, c.Heartbeat)
	fault(len(c.Services) > MaxServices, "%d services, at most %d", len(c.Services), MaxServices)
	for _, g := range c.Services {
		fault(g.Number < engine.FirstSite, "service %d: those of a site begin at %d", g.Number, engine.FirstSite)
	}
	return errors.Join(faults...)
}

// own reports whether a service is one of RRTS itself that the child answers.
func (c *Config) own(number uint16) bool {
	return slices.ContainsFunc(c.Own, func(d *message.ServiceDescriptor) bool { return d.Number == number })
}

// grant returns what the configuration says of a service number.
func (c *Config) grant(number uint16) *Grant {
	for i := range c.Services {
		if c.Services[i].Number == number {
			return &c.Services[i]
		}
	}
	return nil
}

// clients returns the roles for which gateways pass a method.
func (g *Grant) clients(method string) message.Roles { return g.Clients["*"] | g.Clients[method] }

// mayCall reports whether the child may call a method.
func (c *Config) mayCall(service, method string) bool {
	for _, pattern := range c.Calls {
		s, m, _ := strings.Cut(pattern, ".")
		if s == service && (m == "*" || m == method) {
			return true
		}
	}
	return false
}

// subjectForm is what tells the alarms of one child apart.
var subjectForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
