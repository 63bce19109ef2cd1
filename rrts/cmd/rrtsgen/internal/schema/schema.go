// Package schema is the model of .proto files as rrtsgen understands them: what
// the Go code, the lock file and the reference are made from.
//
// Load compiles files with protocompile; FromDescriptors takes what protoc hands
// to a plugin. Both end in the same model, and both refuse, with one line
// file:line:col, what the codec does not support: proto2 and editions, groups,
// maps, oneof, extensions, streams, unpacked repeated scalars, and messages of
// files that rrtsgen does not generate (google/protobuf/*).
package schema

// Schema is a set of files and all that they import.
type Schema struct {
	// Files are the files that were asked for, in the order of their paths.
	Files []*File
	// Imports are the files that only others import.
	Imports []*File
}

// File is one .proto file: one Go package.
type File struct {
	Path      string // relative to the root folder, with slashes
	Proto     string // protobuf package
	GoImport  string // Go import path
	GoPackage string // Go package name
	Doc       string
	Imports   []*File    // direct imports other than options
	Messages  []*Message // nested ones too, each after the message that holds it
	Enums     []*Enum
	Services  []*Service
}

// Message is one message type.
type Message struct {
	File      *File
	Name      string // full protobuf name
	Go        string // Go type name
	Doc       string
	Fields    []*Field // as in the source
	Reserved  Reserved
	Sensitive bool // it or a message below it has a sensitive field
}

// Field is one field of a message.
type Field struct {
	Name      string
	Go        string
	Doc       string
	Number    int
	Kind      Kind
	Message   *Message // of KindMessage
	Enum      *Enum    // of KindEnum
	Repeated  bool
	Optional  bool // declared optional: absent and zero are told apart
	Sensitive bool
	MaxItems  int // 0 is no bound
}

// Enum is one enum type.
type Enum struct {
	File     *File
	Name     string
	Go       string
	Doc      string
	Values   []*Value
	Reserved Reserved
}

// Value is one value of an enum.
type Value struct {
	Name   string // as in the source
	Go     string // Go constant
	Text   string // what String returns: lower case, without the enum's prefix
	Doc    string
	Number int
}

// Service is one service.
type Service struct {
	File     *File
	Name     string // full protobuf name
	Go       string
	Doc      string
	Number   int
	Policy   Policy
	Methods  []*Method // in the order of their numbers
	Reserved []int     // numbers of removed methods, sorted
}

// Method is one method of a service.
type Method struct {
	Name       string
	Go         string
	Doc        string
	Number     int
	Lane       Lane
	Idempotent bool
	Notice     bool
	Sensitive  bool
	MaxBytes   int
	In         *Message
	Out        *Message // nil for a notice
}

// Reserved are the numbers and names that a message or enum shall not use again.
type Reserved struct {
	Ranges []Range
	Names  []string
}

// Range is a range of numbers, both ends included.
type Range struct{ First, Last int }

// Has reports whether number is reserved.
func (r Reserved) Has(number int) bool {
	for _, x := range r.Ranges {
		if x.First <= number && number <= x.Last {
			return true
		}
	}
	return false
}

// Kind is the type of a field as the codec sees it.
type Kind int

const (
	KindBool Kind = iota + 1
	KindInt32
	KindInt64
	KindUint32
	KindUint64
	KindSint32
	KindSint64
	KindFixed32
	KindFixed64
	KindSfixed32
	KindSfixed64
	KindFloat
	KindDouble
	KindString
	KindBytes
	KindUint128
	KindEnum
	KindMessage
)

var kindNames = [...]string{"", "bool", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
	"sfixed32", "sfixed64", "float", "double", "string", "bytes", "uint128", "enum", "message"}

func (k Kind) String() string { return kindNames[k] }

// Type returns the field's type as people write it: "repeated uint64",
// "optional rrts.txn.State", "uint128".
func (f *Field) Type() string {
	t := f.Kind.String()
	switch f.Kind {
	case KindMessage:
		t = f.Message.Name
	case KindEnum:
		t = f.Enum.Name
	}
	switch {
	case f.Repeated:
		return "repeated " + t
	case f.Optional:
		return "optional " + t
	}
	return t
}

// Policy and Lane have the numbers of package message and of options.proto.
type (
	Policy int
	Lane   int
)

// The policies and lanes that this package itself asks about.
const (
	PolicyAll   Policy = 3
	LaneRequest Lane   = 2
)

var (
	policyNames = [...]string{"any", "leader", "key", "all", "named"}
	laneNames   = [...]string{"control", "commit", "request", "bulk"}
)

func (p Policy) String() string { return policyNames[p] }
func (l Lane) String() string   { return laneNames[l] }

// Bounds of what options may say.
const (
	// MaxNumber is the largest number of a service or method: they are uint16.
	MaxNumber = 65535
	// FirstSite is the first service number of the site's own services; those
	// below belong to the protobuf packages rrts.*.
	FirstSite = 1000
	// DefaultBytes bounds a request when the method does not say: 1 MiB is more
	// than any request for people, and small beside a machine's memory.
	DefaultBytes = 1 << 20
	// LimitBytes is the largest bound that a method may ask for: 64 MiB, what a
	// mailbox of such requests could still hold.
	LimitBytes = 64 << 20
)
