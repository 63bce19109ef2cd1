package gengo

import (
	"cmp"
	"fmt"
	"slices"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

// Wire types of protobuf.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// message writes a message type and its methods.
func (g *generator) message(m *schema.Message) {
	g.p("")
	g.doc(m.Doc, fmt.Sprintf("%s is the message %s.", m.Go, m.Name))
	g.p("type %s struct {", m.Go)
	for _, f := range m.Fields {
		g.doc(f.Doc, "")
		g.p("%s %s", f.Go, g.fieldType(f))
	}
	g.p("}")

	fields := slices.Clone(m.Fields)
	slices.SortFunc(fields, func(a, b *schema.Field) int { return cmp.Compare(a.Number, b.Number) })

	g.p("")
	g.p("// AppendTo appends the encoded form of m to b.")
	g.p("func (m *%s) AppendTo(b []byte) []byte {", m.Go)
	for _, f := range fields {
		g.appendField(f)
	}
	g.p("return b")
	g.p("}")

	g.p("")
	g.p("// Size returns the length of the encoded form of m, in bytes.")
	g.p("func (m *%s) Size() int {", m.Go)
	if len(fields) == 0 {
		g.p("return 0")
	} else {
		g.p("n := 0")
		for _, f := range fields {
			g.sizeField(f)
		}
		g.p("return n")
	}
	g.p("}")

	g.p("")
	g.p("// Parse replaces m by what b holds, reusing its slices.%s", aliasing(m))
	g.p("// The error is message.ErrMalformed.")
	g.p("func (m *%s) Parse(b []byte) error {", m.Go)
	g.p("m.Reset()")
	g.p("return m.ParseNested(b, %s)", g.rt("MaxDepth"))
	g.p("}")

	g.p("")
	g.p("// ParseNested merges what b holds into m, in which messages may nest depth deep.")
	g.p("// It is for generated code.")
	g.p("func (m *%s) ParseNested(b []byte, depth int) error {", m.Go)
	g.parse(m, fields)
	g.p("}")

	g.reset(m)
	g.text(m)
}

func aliasing(m *schema.Message) string {
	for _, f := range m.Fields {
		if f.Kind == schema.KindBytes || f.Kind == schema.KindMessage {
			return " Fields of type []byte alias b."
		}
	}
	return ""
}

func (g *generator) reset(m *schema.Message) {
	g.p("")
	g.p("// Reset makes m empty, keeping the capacity of its slices.")
	g.p("func (m *%s) Reset() {", m.Go)
	g.p("*m = %s{", m.Go)
	for _, f := range m.Fields {
		if f.Repeated {
			g.p("%s: m.%s[:0],", f.Go, f.Go)
		}
	}
	g.p("}")
	g.p("}")
}

func (g *generator) text(m *schema.Message) {
	g.p("")
	g.p("// String returns m for people and logs%s.", map[bool]string{true: ", without its sensitive fields", false: ""}[m.Sensitive])
	g.p("func (m %s) String() string {", m.Go)
	g.p("t := %s(%q)", g.rt("NewText"), m.Go)
	for _, f := range m.Fields {
		g.p("if %s {", g.present(f, "m."+f.Go))
		switch {
		case f.Sensitive:
			g.p("t.Redact(%q)", f.Name)
		case f.Repeated:
			g.p("%s(&t, %q, m.%s)", g.rt("AddList"), f.Name, f.Go)
		default:
			g.p("t.Add(%q, %s)", f.Name, g.deref(f, "m."+f.Go))
		}
		g.p("}")
	}
	g.p("return t.String()")
	g.p("}")
	if !m.Sensitive {
		return
	}
	g.p("")
	g.p("// Format prints m as String does, whatever the verb.")
	g.p("func (m %s) Format(f %s.State, _ rune) { %s.WriteString(f, m.String()) }", m.Go, g.pkg("fmt", "fmt"), g.pkg("io", "io"))
	g.p("")
	g.p("// MarshalText returns String, so that no encoder of log attributes goes around it.")
	g.p("func (m %s) MarshalText() ([]byte, error) { return []byte(m.String()), nil }", m.Go)
}

// goTypes are the Go types of the kinds that need no import.
var goTypes = map[schema.Kind]string{
	schema.KindBool: "bool", schema.KindInt32: "int32", schema.KindInt64: "int64", schema.KindUint32: "uint32",
	schema.KindUint64: "uint64", schema.KindSint32: "int32", schema.KindSint64: "int64", schema.KindFixed32: "uint32",
	schema.KindFixed64: "uint64", schema.KindSfixed32: "int32", schema.KindSfixed64: "int64", schema.KindFloat: "float32",
	schema.KindDouble: "float64", schema.KindString: "string", schema.KindBytes: "[]byte",
}

// elemType returns the Go type of one value of f.
func (g *generator) elemType(f *schema.Field) string {
	switch f.Kind {
	case schema.KindUint128:
		return g.pkg(u128Import, "u128") + ".Int"
	case schema.KindEnum:
		return g.typeName(f.Enum.File, f.Enum.Go)
	case schema.KindMessage:
		return g.typeName(f.Message.File, f.Message.Go)
	}
	return goTypes[f.Kind]
}

func (g *generator) fieldType(f *schema.Field) string {
	t := g.elemType(f)
	switch {
	case f.Repeated:
		return "[]" + t
	case f.Kind == schema.KindMessage, pointer(f):
		return "*" + t
	}
	return t
}

// pointer reports whether f is a pointer to a scalar. An optional bytes field needs
// none: nil is absent.
func pointer(f *schema.Field) bool { return f.Optional && f.Kind != schema.KindBytes }

// deref returns the value of the field expression x.
func (g *generator) deref(f *schema.Field, x string) string {
	if pointer(f) {
		return "*" + x
	}
	return x
}

// present returns the condition under which the field expression x is on the wire.
func (g *generator) present(f *schema.Field, x string) string {
	switch {
	case f.Repeated:
		return "len(" + x + ") > 0"
	case f.Optional, f.Kind == schema.KindMessage:
		return x + " != nil"
	}
	switch f.Kind {
	case schema.KindBool:
		return x
	case schema.KindString:
		return x + ` != ""`
	case schema.KindBytes:
		return "len(" + x + ") > 0"
	case schema.KindUint128:
		return "!" + x + ".IsZero()"
	case schema.KindFloat, schema.KindDouble:
		return g.bits(f, x) + " != 0" // a negative zero is on the wire
	}
	return x + " != 0"
}

// bits returns the wire bits of a float.
func (g *generator) bits(f *schema.Field, x string) string {
	if f.Kind == schema.KindFloat {
		return g.pkg("math", "math") + ".Float32bits(" + x + ")"
	}
	return g.pkg("math", "math") + ".Float64bits(" + x + ")"
}

// wire returns the wire type of one value of f.
func wire(f *schema.Field) int {
	switch f.Kind {
	case schema.KindFixed32, schema.KindSfixed32, schema.KindFloat:
		return wireFixed32
	case schema.KindFixed64, schema.KindSfixed64, schema.KindDouble:
		return wireFixed64
	case schema.KindString, schema.KindBytes, schema.KindUint128, schema.KindMessage:
		return wireBytes
	}
	return wireVarint
}

// tag returns the tag of f under a wire type.
func tag(f *schema.Field, wireType int) uint64 { return uint64(f.Number)<<3 | uint64(wireType) }
