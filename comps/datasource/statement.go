package datasource

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Statement is a named statement of a data source.
type Statement struct {
	Name string
	// SQL is one statement with a '?' for each parameter.
	SQL string
	// Parameters stand in the order of their '?'. One that stands there twice has two
	// entries with the same name, and is given once.
	Parameters []Field
	// Columns are what a read answers, in their order; none means that it is a write.
	Columns []Field
	// Rows is how many rows a write must change; -1 means any number. When it changes
	// another, it is rolled back and the effect has failed.
	Rows int64
	// Timeout bounds one execution; 0 means that of the Source.
	Timeout time.Duration
}

// Write reports whether the statement is for effects.
func (s *Statement) Write() bool { return len(s.Columns) == 0 }

// Validate reports what is wrong with the statement itself.
func (s *Statement) Validate() error {
	marks, words, err := scan(s.SQL)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return errors.New("is empty")
	}
	if marks != len(s.Parameters) {
		return fmt.Errorf("has %d question marks and %d parameters", marks, len(s.Parameters))
	}
	byName := map[string]Field{}
	for _, p := range s.Parameters {
		if other, ok := byName[p.Name]; ok && other != p {
			return fmt.Errorf("declares parameter %s twice, differently", p.Name)
		}
		byName[p.Name] = p
	}
	names := map[string]bool{}
	for _, c := range s.Columns {
		if names[c.Name] {
			return fmt.Errorf("declares column %s twice", c.Name)
		}
		names[c.Name] = true
	}
	return nil
}

// Argument is a named value.
type Argument struct {
	Name  string
	Value Value
}

// ErrRefused is an error of values that do not fit a statement: the same ones never will.
var ErrRefused = errors.New("datasource: refused")

// Bind puts the arguments into the order of the parameters. Each error names the
// parameter and is an ErrRefused.
func (s *Statement) Bind(args []Argument) ([]any, error) {
	given := make(map[string]Value, len(args))
	for _, a := range args {
		if _, twice := given[a.Name]; twice {
			return nil, fmt.Errorf("%w: statement %s: parameter %.64q is given twice", ErrRefused, s.Name, a.Name)
		}
		given[a.Name] = a.Value
	}
	out := make([]any, len(s.Parameters))
	used := 0
	for i := range s.Parameters {
		p := &s.Parameters[i]
		v, ok := given[p.Name]
		if !ok {
			return nil, fmt.Errorf("%w: statement %s: parameter %s is missing", ErrRefused, s.Name, p.Name)
		}
		x, err := p.Bind(v)
		if err != nil {
			return nil, fmt.Errorf("%w: statement %s: parameter %s %w", ErrRefused, s.Name, p.Name, err)
		}
		out[i] = x
		if !s.before(i) {
			used++
		}
	}
	if used < len(given) {
		for _, a := range args {
			if !s.has(a.Name) {
				return nil, fmt.Errorf("%w: statement %s: has no parameter %.64q", ErrRefused, s.Name, a.Name)
			}
		}
	}
	return out, nil
}

// before reports whether parameter i stands at an earlier place, too.
func (s *Statement) before(i int) bool {
	for _, p := range s.Parameters[:i] {
		if p.Name == s.Parameters[i].Name {
			return true
		}
	}
	return false
}

func (s *Statement) has(name string) bool {
	for _, p := range s.Parameters {
		if p.Name == name {
			return true
		}
	}
	return false
}

// names reports whether the statement's text has a name in it, in any case of letters.
func (s *Statement) names(table string) bool {
	_, words, err := scan(s.SQL)
	if err != nil {
		return true
	}
	for _, w := range words {
		if strings.EqualFold(w, table) {
			return true
		}
	}
	return false
}

// scan counts the question marks of one SQL statement and returns its words: names and
// key words, quoted ones without their quotes. Strings and comments are skipped.
func scan(sql string) (marks int, words []string, err error) {
	for i := 0; i < len(sql); {
		c, rest := sql[i], sql[i:]
		switch {
		case strings.HasPrefix(rest, "--"):
			i += cmp.Or(strings.IndexByte(rest, '\n')+1, len(rest))
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest, "*/")
			if end < 0 {
				return 0, nil, errors.New("has a comment without an end")
			}
			i += end + 2
		case c == '\'' || c == '"' || c == '`':
			end := strings.IndexByte(rest[1:], c)
			if end < 0 {
				return 0, nil, fmt.Errorf("has a %c without its end", c)
			}
			if c != '\'' {
				words = append(words, rest[1:1+end])
			}
			i += end + 2
		case c == ';':
			if strings.TrimSpace(rest[1:]) != "" {
				return 0, nil, errors.New("has more than one statement in it: make each a statement of its own")
			}
			i++
		case c == '?':
			marks++
			i++
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80:
			n := strings.IndexFunc(rest, func(r rune) bool {
				return !(r == '_' || r == '$' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= 0x80)
			})
			if n < 0 {
				n = len(rest)
			}
			words = append(words, rest[:n])
			i += n
		default:
			i++
		}
	}
	return marks, words, nil
}
