package gengo

import (
	"encoding/binary"
	"fmt"
	"strings"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

// tagBytes returns the encoded tag of f as arguments of append.
func tagBytes(f *schema.Field, wireType int) string {
	var s []string
	for _, c := range binary.AppendUvarint(nil, tag(f, wireType)) {
		s = append(s, fmt.Sprintf("%#02x", c))
	}
	return strings.Join(s, ", ")
}

func tagSize(f *schema.Field) int { return len(binary.AppendUvarint(nil, tag(f, 0))) }

// appendField writes the statements that append f.
func (g *generator) appendField(f *schema.Field) {
	x := "m." + f.Go
	switch {
	case f.Repeated && wire(f) == wireBytes:
		g.p("for i := range %s {", x)
		g.appendValue(f, x+"[i]")
		g.p("}")
	case f.Repeated:
		g.appendPacked(f, x)
	default:
		g.p("if %s {", g.present(f, x))
		g.appendValue(f, g.deref(f, x))
		g.p("}")
	}
}

// appendPacked writes the statements that append the repeated scalars x.
func (g *generator) appendPacked(f *schema.Field, x string) {
	g.p("if len(%s) > 0 {", x)
	w := wire(f)
	if w == wireVarint && f.Kind != schema.KindBool {
		g.p("b = append(b, %s, 0)", tagBytes(f, wireBytes))
		g.p("at := len(b)")
		switch f.Kind {
		case schema.KindInt32, schema.KindInt64, schema.KindUint32, schema.KindUint64:
			g.p("b = %s(b, %s)", g.rt("AppendVarints"), x)
		default:
			g.p("for _, v := range %s {", x)
			g.p("b = %s(b, %s)", g.rt("AppendVarint"), varintOf(g, f, "v"))
			g.p("}")
		}
		g.p("b = %s(b, at)", g.rt("CloseBytes"))
		g.p("}")
		return
	}
	g.p("b = %s(append(b, %s), uint64(%s))", g.rt("AppendVarint"), tagBytes(f, wireBytes), times(width(f), "len("+x+")"))
	g.p("for _, v := range %s {", x)
	switch w {
	case wireVarint:
		g.p("b = append(b, byte(%s(v)))", g.rt("Bool"))
	case wireFixed32:
		g.p("b = %s(b, %s)", g.rt("AppendFixed32"), g.fixedOf(f, "v"))
	case wireFixed64:
		g.p("b = %s(b, %s)", g.rt("AppendFixed64"), g.fixedOf(f, "v"))
	}
	g.p("}")
	g.p("}")
}

// width returns the length of a packed element of fixed length, in bytes.
func width(f *schema.Field) int {
	switch wire(f) {
	case wireFixed32:
		return 4
	case wireFixed64:
		return 8
	}
	return 1 // bool
}

func times(n int, x string) string {
	if n == 1 {
		return x
	}
	return fmt.Sprintf("%d*%s", n, x)
}

// appendValue writes the statements that append one tag and the value x.
func (g *generator) appendValue(f *schema.Field, x string) {
	t := tagBytes(f, wire(f))
	switch wire(f) {
	case wireVarint:
		if f.Kind == schema.KindBool && !f.Optional {
			g.p("b = append(b, %s, 1)", t)
			return
		}
		g.p("b = %s(append(b, %s), %s)", g.rt("AppendVarint"), t, varintOf(g, f, x))
	case wireFixed32:
		g.p("b = %s(append(b, %s), %s)", g.rt("AppendFixed32"), t, g.fixedOf(f, x))
	case wireFixed64:
		g.p("b = %s(append(b, %s), %s)", g.rt("AppendFixed64"), t, g.fixedOf(f, x))
	case wireBytes:
		switch f.Kind {
		case schema.KindString:
			g.p("b = %s(append(b, %s), %s)", g.rt("AppendString"), t, x)
		case schema.KindBytes:
			g.p("b = %s(append(b, %s), %s)", g.rt("AppendBytes"), t, x)
		case schema.KindUint128:
			g.p("b = %s(append(b, %s), %s)", g.rt("AppendU128"), t, x)
		case schema.KindMessage:
			// In a block of its own for the variable at.
			g.p("b = append(b, %s, 0)", t)
			g.p("at := len(b)")
			g.p("b = %s(%s.AppendTo(b), at)", g.rt("CloseBytes"), x)
		}
	}
}

// varintOf returns the value x as the uint64 of its varint.
func varintOf(g *generator, f *schema.Field, x string) string {
	switch f.Kind {
	case schema.KindBool:
		return g.rt("Bool") + "(" + x + ")"
	case schema.KindUint64:
		return x
	case schema.KindEnum:
		return "uint64(int32(" + x + "))" // protobuf extends the sign of an enum
	case schema.KindSint32:
		return g.rt("Zigzag") + "(int64(" + x + "))"
	case schema.KindSint64:
		return g.rt("Zigzag") + "(" + x + ")"
	}
	return "uint64(" + x + ")"
}

// fixedOf returns the value x as the unsigned number of its fixed form.
func (g *generator) fixedOf(f *schema.Field, x string) string {
	switch f.Kind {
	case schema.KindFloat, schema.KindDouble:
		return g.bits(f, x)
	case schema.KindSfixed32:
		return "uint32(" + x + ")"
	case schema.KindSfixed64:
		return "uint64(" + x + ")"
	}
	return x
}

// sizeField writes the statements that add the size of f to n.
func (g *generator) sizeField(f *schema.Field) {
	x := "m." + f.Go
	g.p("if %s {", g.present(f, x))
	defer g.p("}")
	switch {
	case f.Repeated && wire(f) == wireBytes:
		g.p("n += %s", times(tagSize(f), "len("+x+")"))
		g.p("for i := range %s {", x)
		g.p("n += %s", g.sizeOf(f, x+"[i]"))
		g.p("}")
	case f.Repeated && wire(f) == wireVarint && f.Kind != schema.KindBool:
		g.p("p := 0")
		g.p("for _, v := range %s {", x)
		g.p("p += %s", g.sizeOf(f, "v"))
		g.p("}")
		g.p("n += %d + %s(p)", tagSize(f), g.rt("SizeBytes"))
	case f.Repeated:
		g.p("n += %d + %s(%s)", tagSize(f), g.rt("SizeBytes"), times(width(f), "len("+x+")"))
	default:
		g.p("n += %d + %s", tagSize(f), g.sizeOf(f, g.deref(f, x)))
	}
}

// sizeOf returns the length of the value x without its tag.
func (g *generator) sizeOf(f *schema.Field, x string) string {
	switch wire(f) {
	case wireFixed32:
		return "4"
	case wireFixed64:
		return "8"
	case wireVarint:
		if f.Kind == schema.KindBool {
			return "1"
		}
		return g.rt("SizeVarint") + "(" + varintOf(g, f, x) + ")"
	}
	switch f.Kind {
	case schema.KindUint128:
		return "1 + " + strings.TrimPrefix(x, "*") + ".WireSize()"
	case schema.KindMessage:
		return g.rt("SizeBytes") + "(" + x + ".Size())"
	}
	return g.rt("SizeBytes") + "(len(" + x + "))"
}
