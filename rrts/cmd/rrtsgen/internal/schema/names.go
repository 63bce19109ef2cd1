package schema

import (
	"strings"
	"unicode"
)

// camel returns the Go name of a snake_case or CamelCase name: every word begins
// with a capital. That id is Id and not ID needs no list of exceptions, and is what
// protoc-gen-go does.
func camel(name string) string {
	var s strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		if word != "" {
			s.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return s.String()
}

// upperSnake returns the UPPER_SNAKE form of a CamelCase name: the prefix that the
// values of an enum carry.
func upperSnake(name string) string {
	var s strings.Builder
	r := []rune(name)
	for i, c := range r {
		if i > 0 && unicode.IsUpper(c) && r[i-1] != '_' &&
			(!unicode.IsUpper(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			s.WriteByte('_')
		}
		s.WriteRune(unicode.ToUpper(c))
	}
	return s.String()
}

// methodNames are the names of generated methods; a field of such a Go name gets
// an underscore at its end, as in protoc-gen-go.
var methodNames = map[string]bool{
	"AppendTo": true, "Size": true, "Parse": true, "ParseNested": true, "Reset": true, "String": true,
	"Format": true, "MarshalText": true,
}

func fieldName(name string) string {
	g := camel(name)
	if methodNames[g] {
		g += "_"
	}
	return g
}
