package gengo

import (
	"fmt"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

// parse writes the body of ParseNested.
func (g *generator) parse(m *schema.Message, fields []*schema.Field) {
	g.p("if depth <= 0 { return %s }", g.bad(m, nil, "nested too deeply"))
	g.p("for i := 0; i < len(b); {")
	g.p("tag := uint64(b[i])")
	g.p("if tag < 0x80 { i++ } else if tag, i = %s(b, i); i < 0 { return %s }", g.rt("Varint"), g.bad(m, nil, "tag"))
	if len(fields) > 0 {
		g.p("switch tag {")
		for i, f := range fields {
			g.parseField(m, f)
			if i+1 < len(fields) && !f.Repeated {
				g.next(fields[i+1])
			}
		}
		g.p("default:")
	}
	g.p("if i = %s(b, i, tag); i < 0 { return %s }", g.rt("Skip"), g.bad(m, nil, "unknown field"))
	if len(fields) > 0 {
		g.p("}")
	}
	g.p("}")
	g.p("return nil")
}

// bad returns the error for a field of m, or for m itself.
func (g *generator) bad(m *schema.Message, f *schema.Field, why string) string {
	name := m.Name
	if f != nil {
		name += "." + f.Name
	}
	if why != "" {
		name += ": " + why
	}
	return fmt.Sprintf("%s(%q)", g.rt("BadField"), name)
}

func (g *generator) parseField(m *schema.Message, f *schema.Field) {
	w := wire(f)
	if f.Repeated && w != wireBytes {
		g.p("case %#02x: // %s, packed", tag(f, wireBytes), f.Name)
		g.parsePacked(m, f)
	}
	g.p("case %#02x: // %s", tag(f, w), f.Name)
	if !f.Repeated {
		g.parseSingle(m, f)
		return
	}
	g.parseElement(m, f)
}

// next writes the end of a case, which goes on into that of the next field where that
// follows: whoever encodes does so in the order of numbers, and one guess that is right
// costs less than the way around the loop and through the switch.
func (g *generator) next(f *schema.Field) {
	w := wire(f)
	if f.Repeated {
		w = wireBytes
	}
	if t := tag(f, w); t < 0x80 {
		g.p("if i == len(b) || b[i] != %#02x { continue }", t)
		g.p("i++")
		g.p("fallthrough")
	}
}

// read writes the statement that reads one value at src[i] into a new variable v
// (p for bytes, strings and messages), and the checks that it needs.
func (g *generator) read(m *schema.Message, f *schema.Field, src, i string) {
	bad := g.bad(m, f, "")
	reader, typ, v := "", "", "v"
	switch wire(f) {
	case wireVarint:
		reader, typ = "Varint", "uint64"
	case wireFixed32:
		reader, typ = "Fixed32", "uint32"
	case wireFixed64:
		reader, typ = "Fixed64", "uint64"
	case wireBytes:
		reader, typ, v = "Bytes", "[]byte", "p"
		if f.Kind == schema.KindUint128 {
			reader, typ, v = "U128", g.pkg(u128Import, "u128")+".Int", "v"
		}
	}
	g.p("var %s %s", v, typ)
	if reader == "Varint" { // most numbers take one byte; a call would cost more than they do
		g.p("if %s < len(%s) && %s[%s] < 0x80 { v, %s = uint64(%s[%s]), %s+1 } else", i, src, src, i, i, src, i, i)
	}
	g.p("if %s, %s = %s(%s, %s); %s < 0 { return %s }", v, i, g.rt(reader), src, i, i, bad)
	if f.Kind == schema.KindString {
		g.p("if !%s.Valid(p) { return %s }", g.pkg("unicode/utf8", "utf8"), g.bad(m, f, "not UTF-8"))
	}
}

// converted returns what was read, as a value of f's Go type.
func (g *generator) converted(f *schema.Field) string {
	switch f.Kind {
	case schema.KindBool:
		return "v != 0"
	case schema.KindSint32:
		return "int32(" + g.rt("Unzigzag") + "(v & (1<<32 - 1)))"
	case schema.KindSint64:
		return g.rt("Unzigzag") + "(v)"
	case schema.KindFloat:
		return g.pkg("math", "math") + ".Float32frombits(v)"
	case schema.KindDouble:
		return g.pkg("math", "math") + ".Float64frombits(v)"
	case schema.KindString:
		return "string(p)"
	case schema.KindBytes:
		return "p"
	case schema.KindUint64, schema.KindFixed32, schema.KindFixed64, schema.KindUint128:
		return "v"
	}
	return g.elemType(f) + "(v)"
}

func (g *generator) parseSingle(m *schema.Message, f *schema.Field) {
	g.read(m, f, "b", "i")
	x := "m." + f.Go
	switch {
	case f.Kind == schema.KindMessage:
		g.p("if %s == nil { %s = new(%s) }", x, x, g.elemType(f))
		g.p("if err := %s.ParseNested(p, depth-1); err != nil { return err }", x)
	case pointer(f):
		g.p("%s = new(%s)", x, g.elemType(f))
		g.p("*%s = %s", x, g.converted(f))
	default:
		g.p("%s = %s", x, g.converted(f))
	}
}

// parseElement writes the statements that read one element of a repeated field.
func (g *generator) parseElement(m *schema.Message, f *schema.Field) {
	x := "m." + f.Go
	if f.MaxItems > 0 {
		g.p("if len(%s) == %d { return %s }", x, f.MaxItems, g.tooMany(m, f))
	}
	g.read(m, f, "b", "i")
	if wire(f) == wireBytes {
		g.p("if len(%s) == cap(%s) {", x, x)
		run := fmt.Sprintf("%s(b, i, %#02x)", g.rt("CountRun"), tag(f, wireBytes))
		if f.MaxItems > 0 {
			run = fmt.Sprintf("min(%s, %d-len(%s))", run, f.MaxItems, x)
		}
		g.p("%s = %s.Grow(%s, %s)", x, g.pkg("slices", "slices"), x, run)
		g.p("}")
	}
	if f.Kind != schema.KindMessage {
		g.p("%s = append(%s, %s)", x, x, g.converted(f))
		return
	}
	g.p("n := len(%s)", x)
	g.p("%s = %s[:n+1]", x, x)
	g.p("%s[n].Reset()", x)
	g.p("if err := %s[n].ParseNested(p, depth-1); err != nil { return err }", x)
}

func (g *generator) tooMany(m *schema.Message, f *schema.Field) string {
	return g.bad(m, f, fmt.Sprintf("more than %d items", f.MaxItems))
}

// parsePacked writes the statements that read all elements of a packed field.
func (g *generator) parsePacked(m *schema.Message, f *schema.Field) {
	x := "m." + f.Go
	bad := g.bad(m, f, "")
	g.p("var p []byte")
	g.p("if p, i = %s(b, i); i < 0 { return %s }", g.rt("Bytes"), bad)
	count := g.rt("CountVarints") + "(p)"
	if wire(f) != wireVarint {
		g.p("if len(p)%%%d != 0 { return %s }", width(f), bad)
		count = fmt.Sprintf("len(p)/%d", width(f))
	}
	if f.MaxItems > 0 {
		g.p("if %s > %d-len(%s) { return %s }", count, f.MaxItems, x, g.tooMany(m, f))
	}
	if wire(f) == wireVarint {
		reader := "Varints"
		switch f.Kind {
		case schema.KindBool:
			reader = "Bools"
		case schema.KindSint32, schema.KindSint64:
			reader = "Zigzags"
		}
		g.p("var ok bool")
		g.p("if %s, ok = %s(%s, p); !ok { return %s }", x, g.rt(reader), x, bad)
		return
	}
	g.p("%s = %s.Grow(%s, %s)", x, g.pkg("slices", "slices"), x, count)
	g.p("for j := 0; j < len(p); {")
	g.read(m, f, "p", "j")
	g.p("%s = append(%s, %s)", x, x, g.converted(f))
	g.p("}")
}
