package exec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"virtualservicesinc.com/rrts/message/u128"
)

// fault is what is wrong with a line: where, and what with its cure.
type fault struct{ path, problem string }

func (f *fault) Error() string {
	if f.path == "" {
		return f.problem
	}
	return f.path + ": " + f.problem
}

func faultf(format string, args ...any) error {
	return &fault{problem: fmt.Sprintf(format, args...)}
}

// within says of a fault that it lies within the named field.
func within(name string, err error) error {
	if f, ok := err.(*fault); ok {
		if f.path != "" && f.path[0] != '[' {
			name += "."
		}
		f.path = name + f.path
	}
	return err
}

// element says of a fault that it lies within element i of a list.
func element(i int, err error) error {
	if err == nil {
		return nil
	}
	return within("["+strconv.Itoa(i)+"]", err)
}

// maxQuoted bounds how much of a value an error repeats, in bytes: enough for any
// number that is almost right.
const maxQuoted = 48

// quoted returns the beginning of a value as an error repeats it.
func quoted(b []byte) string {
	if len(b) <= maxQuoted {
		return string(b)
	}
	b = b[:maxQuoted]
	for len(b) > 0 && !utf8.Valid(b) {
		b = b[:len(b)-1]
	}
	return string(b) + "…"
}

// scanner reads the values of a line one after another. The line was found to be
// one valid JSON value before, so the scanner looks only at what stands where.
type scanner struct {
	line []byte
	at   int
}

// newScanner returns a scanner at the only value of line.
func newScanner(line []byte) (scanner, error) {
	if !json.Valid(line) {
		var v json.RawMessage
		err := json.Unmarshal(line, &v)
		if s := (*json.SyntaxError)(nil); errors.As(err, &s) {
			return scanner{}, faultf("not JSON at byte %d: %v; write one request, such as %s", s.Offset, s, example)
		}
		panic(err) // what is not valid does not parse
	}
	return scanner{line: line}, nil
}

// next returns the byte with which the next value or delimiter begins.
func (s *scanner) next() byte {
	for {
		switch c := s.line[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
}

// example is what an error shows to somebody who knows nothing of the format.
const example = `{"lookup_accounts":["1"]}`

// wrongType says that the value that comes stands where want: another one belongs.
func (s *scanner) wrongType(want string) error {
	is := "a number"
	switch s.next() {
	case '{':
		is = "an object"
	case '[':
		is = "a list"
	case '"':
		is = "a string"
	case 't', 'f':
		is = "a boolean"
	case 'n':
		is = "null"
	}
	return faultf("%s stands where %s", is, want)
}

// object calls each with every key of the object that comes; each reads the value.
func (s *scanner) object(each func(key []byte) error) error {
	s.at++
	for s.next() != '}' {
		if s.next() == ',' {
			s.at++
			s.next()
		}
		key := s.text()
		s.next()
		s.at++ // the colon
		if err := each(key); err != nil {
			return err
		}
	}
	s.at++
	return nil
}

// list calls each with the index of every element of the list that comes; each
// reads the element.
func (s *scanner) list(want string, each func(i int) error) error {
	if s.next() != '[' {
		return s.wrongType(want)
	}
	s.at++
	for i := 0; s.next() != ']'; i++ {
		if s.next() == ',' {
			s.at++
		}
		if err := each(i); err != nil {
			return err
		}
	}
	s.at++
	return nil
}

// text reads the string that comes. The bytes are the line's, unless the string
// holds escapes.
func (s *scanner) text() []byte {
	from := s.at
	for s.at++; s.line[s.at] != '"'; s.at++ {
		if s.line[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
	if bytes.IndexByte(s.line[from:s.at], '\\') < 0 {
		return s.line[from+1 : s.at-1]
	}
	var v string
	if err := json.Unmarshal(s.line[from:s.at], &v); err != nil {
		panic(err) // the line is valid
	}
	return []byte(v)
}

// digits reads the number that comes, a JSON number or a string, as it is written.
func (s *scanner) digits() ([]byte, error) {
	c := s.next()
	if c == '"' {
		return s.text(), nil
	}
	if c != '-' && (c < '0' || c > '9') {
		return nil, s.wrongType("a number belongs")
	}
	from := s.at
	for s.at < len(s.line) && bytes.IndexByte(numberBytes, s.line[s.at]) >= 0 {
		s.at++
	}
	return s.line[from:s.at], nil
}

var numberBytes = []byte("0123456789+-.eE")

// digits64 is how many digits certainly fit in 64 bits.
const digits64 = 19

// number reads the number that comes, which must be whole and at most max.
func (s *scanner) number(max u128.Int) (u128.Int, error) {
	text, err := s.digits()
	if err != nil {
		return u128.Int{}, err
	}
	plain := len(text) > 0
	for _, c := range text {
		plain = plain && '0' <= c && c <= '9'
	}
	if !plain {
		return u128.Int{}, faultf("%q is not a whole number; write the digits from 0 to %v alone", quoted(text), max)
	}
	var n u128.Int
	if len(text) <= digits64 {
		for _, c := range text {
			n.Lo = n.Lo*10 + uint64(c-'0')
		}
	} else if n, err = u128.Parse(string(text)); err != nil {
		return u128.Int{}, faultf("%s is out of range; the greatest is %v", quoted(text), max)
	}
	if max.Less(n) {
		return u128.Int{}, faultf("%v is out of range; the greatest is %v", n, max)
	}
	return n, nil
}
