package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	// MaxComponents bounds the components of a machine: an engine has room for 64
	// Components with its own.
	MaxComponents = 32
	// maxComponentServices bounds the services of one component.
	maxComponentServices = 64
	// firstSite is the first service number of a site.
	firstSite = 1000
)

// ComponentUser is under which user a component's program runs.
const (
	UserDynamic = "dynamic" // one that nobody else of the machine has
	UserSelf    = "self"    // the SFU's own, which sees what the SFU sees: for development
)

// Component is components.d/NAME.toml: a program of the site that SFUs of this machine
// run as a Component.
type Component struct {
	Name       string // the file's
	Executable string
	Arguments  []string
	User       string
	SFUs       []string // on which it runs; empty: on every one of this machine but witnesses
	Calls      []string // what it may call: "Txn.Submit", "Stock.*"
	Role       ComponentRole
	Principal  uint64 // the user in whose name it calls; 0 is none
	Services   []ComponentService
	Limits     ComponentLimits
}

// ComponentRole is whose rights a component has when it calls in its own name.
type ComponentRole string

const (
	ComponentNone     ComponentRole = "none" // it calls for users who have called it, and services of the site
	ComponentClient   ComponentRole = "client"
	ComponentOperator ComponentRole = "operator"
	ComponentAuditor  ComponentRole = "auditor"
)

// ComponentService is a service that a component may answer, and the methods of it that
// gateways pass for clients of each role; "*" is all of them.
type ComponentService struct {
	Number                    uint16
	Client, Operator, Auditor []string
}

// ComponentLimits bounds what a component's program may use.
type ComponentLimits struct {
	Memory    int64 // bytes
	Files     int
	Processes int // and threads
	Nice      int
	InFlight  int // requests that it has and has not answered
}

const componentComment = `A program of your own that SFUs of this machine run as a Component. Its name is the file's name.
A value that is commented out is the default.`

// methodName is a method by its service's and its own name.
var methodName = matching(`a method or all of a service, in quotes, such as "Txn.Submit" or "Stock.*"`, regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,63}\.([A-Z][A-Za-z0-9]{0,63}|\*)$`))

// ownMethod is a method of a service that is known already.
var ownMethod = matching(`the name of a method as in the .proto file, or "*" for all, in quotes`, regexp.MustCompile(`^([A-Z][A-Za-z0-9]{0,63}|\*)$`))

// argument is any text that a program can be given.
var argument = quoted("text in quotes, of at most 4096 bytes and without zero bytes", func(s string) (string, string) {
	if len(s) > 4096 || strings.ContainsRune(s, 0) {
		return "", fmt.Sprintf("is %d bytes long, or has a zero byte", len(s))
	}
	return s, ""
}, func(s string) string { return s })

var userName = matching(`"dynamic", "self" or the name of a user of this machine, in quotes`, regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`))

func (c *Component) keys(k *keys) {
	key(k, "executable", &c.Executable, must[string](`write executable = "/usr/local/lib/orders/orders"`), absolute,
		"The program. It speaks the protocol of an SFU's child processes: rrtsgen new makes one.")
	key(k, "arguments", &c.Arguments, optional[[]string](`["--verbose"]`), list(argument, 64),
		"What it is given on its command line.")
	key(k, "user", &c.User, otherwise(UserDynamic), userName,
		`Under which user it runs: "dynamic" for one that nobody else has; "self" for the SFU's own, which sees what the SFU sees, in development.`)
	key(k, "sfus", &c.SFUs, optional[[]string](`["alpha"]`), list(sfuName, MaxSFUs),
		"The SFUs that run it. Default: every one of this machine but witnesses.")
	key(k, "calls", &c.Calls, optional[[]string](`["Txn.Submit", "Txn.Read"]`), list(methodName, 64),
		"What it may call, by the names in the .proto files. Nothing else.")
	key(k, "role", &c.Role, otherwise(ComponentNone), oneOf(ComponentNone, ComponentClient, ComponentOperator, ComponentAuditor),
		"Whose rights it has in its own name. In the name of a user whose request it is answering it has that user's rights in any case.")
	key(k, "principal", &c.Principal, optional[uint64]("1001"), integer[uint64](1, 1<<62),
		"The number of the user in whose name it calls then; rrts user add prints it. A client needs one.")
	k.sections("service", "The services that it may answer, one [[service]] each, and the methods of it that clients may call through gateways, by role.", len(c.Services),
		func(n int) { c.Services = make([]ComponentService, n) },
		func(i int, k *keys) {
			if k.ref != nil && len(c.Services) == 0 {
				c.Services = make([]ComponentService, 1)
			}
			c.Services[i].keys(k)
		})
	k.section("limits", "What the program may use.", c.Limits.keys)
}

func (s *ComponentService) keys(k *keys) {
	key(k, "number", &s.Number, must[uint16]("write the service's number from its .proto file, 1000 or higher"), integer[uint16](firstSite, 65535),
		"The service's number, as in its .proto file.")
	key(k, "client", &s.Client, optional[[]string](`["*"]`), list(ownMethod, 256),
		"Methods that clients may call.")
	key(k, "operator", &s.Operator, optional[[]string](`["*"]`), list(ownMethod, 256),
		"Methods that operators may call.")
	key(k, "auditor", &s.Auditor, optional[[]string](`["Find"]`), list(ownMethod, 256),
		"Methods that auditors may call.")
}

func (l *ComponentLimits) keys(k *keys) {
	key(k, "memory", &l.Memory, otherwise(256*mib), size(16*mib, 1024*gib),
		"What it can allocate.")
	key(k, "files", &l.Files, otherwise(256), integer(16, 1<<20),
		"Open files and sockets.")
	key(k, "processes", &l.Processes, otherwise(64), integer(8, 65536),
		"Processes and threads of its user.")
	key(k, "nice", &l.Nice, otherwise(5), integer(0, 19),
		"How far it stands behind the SFU when processors are short.")
	key(k, "in_flight", &l.InFlight, otherwise(1024), integer(1, 65536),
		"Requests that it has and has not answered; one more is answered OVERLOADED.")
}

// Marshal returns the file.
func (c *Component) Marshal() []byte { return writeFile(componentComment, c.keys) }

// RunsOn reports whether an SFU of this machine runs it.
func (c *Component) RunsOn(m *Member) bool {
	if len(c.SFUs) > 0 {
		return slices.Contains(c.SFUs, m.Name)
	}
	return m.Type != TypeWitness
}

// ComponentFile is where the directory has the file of a component.
func ComponentFile(dir, name string) string { return filepath.Join(dir, "components.d", name+".toml") }

// ComponentNames returns the names of the components of this machine; none is no error.
func ComponentNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "components.d"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{faults{openFault(filepath.Join(dir, "components.d"), err, "run as root or as a member of the group rrts")}}
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".toml"); ok && !e.IsDir() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > MaxComponents {
		return names[:MaxComponents], &Error{faults{{File: filepath.Join(dir, "components.d"), Problem: fmt.Sprintf("has %d components, at most %d run", len(names), MaxComponents), Cure: "join some"}}}
	}
	return names, nil
}

// LoadComponent reads the file of one component.
func LoadComponent(dir, name string) (*Component, error) {
	d, fs := readDocument(ComponentFile(dir, name), "make one with rrtsgen new")
	if d == nil {
		return nil, fs.err()
	}
	c := decodeComponent(d, name)
	return c, d.faults.err()
}

// ParseComponent reads the file of a component. The name stands in faults.
func ParseComponent(file string, data []byte, name string) (*Component, error) {
	d, fs := parseDocument(file, data)
	if d == nil {
		return nil, fs.err()
	}
	c := decodeComponent(d, name)
	return c, d.faults.err()
}

func decodeComponent(d *document, name string) *Component {
	c := &Component{Name: name}
	readNamed(d, name, c.keys)
	if slices.Contains(ownComponents, name) {
		d.faults.add(Fault{File: d.file, Problem: "the file's name is that of a Component of RRTS", Cure: "call it otherwise"})
	}
	if len(c.Services) > maxComponentServices {
		d.fault("service", fmt.Sprintf("has %d services, at most %d", len(c.Services), maxComponentServices), "spread them over components")
	}
	seen := map[uint16]bool{}
	for i, s := range c.Services {
		if s.Number != 0 && seen[s.Number] {
			d.fault(fmt.Sprintf("service[%d].number", i), fmt.Sprintf("is %d, as of another [[service]]", s.Number), "join the two")
		}
		seen[s.Number] = true
	}
	if c.Role == ComponentClient && c.Principal == 0 && !d.hasFault("principal") {
		d.fault("principal", "missing, although role is \"client\"", "write principal = NUMBER of the user whose accounts it moves; rrts user add makes one")
	}
	if c.Role != ComponentClient && c.Principal != 0 {
		d.fault("principal", fmt.Sprintf("is set, although role is %q", c.Role), `write role = "client", or remove it`)
	}
	return c
}

// ownComponents are the names that Components of RRTS have.
var ownComponents = []string{"connector", "monitor", "txn", "login", "gateway", "datasource", "odbc", "mail", "payment", "engine"}
