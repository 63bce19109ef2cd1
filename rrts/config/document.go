package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFileBytes bounds a configuration file: MaxSFUs entries with all their keys
// and comments are a tenth of it.
const maxFileBytes = 1 << 20

// place is where a key stands in a file.
type place struct{ line, column int }

// document is a parsed TOML file that remembers where each key stands.
type document struct {
	file   string
	root   map[string]any
	places map[string]place // by path: "interconnect.carrier", "sfu[0]", "sfu[0].gateways[1]"
	faults faults
}

// readDocument reads a file. A file that is absent, too large or not TOML is one
// fault and yields no document.
func readDocument(path, cure string) (*document, faults) {
	f, err := os.Open(path)
	if err != nil {
		return nil, faults{openFault(path, err, cure)}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, faults{openFault(path, err, cure)}
	}
	return parseDocument(path, data)
}

func openFault(path string, err error, cure string) Fault {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Fault{File: path, Problem: "file is missing", Cure: cure}
	case errors.Is(err, os.ErrPermission):
		return Fault{File: path, Problem: "file cannot be read: permission denied", Cure: "run as root or as a member of the group rrts"}
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return Fault{File: path, Problem: "file cannot be read: " + err.Error(), Cure: cure}
}

func parseDocument(file string, data []byte) (*document, faults) {
	if len(data) > maxFileBytes {
		return nil, faults{{File: file, Problem: fmt.Sprintf("file is longer than the limit of %d bytes", maxFileBytes), Cure: "this is not a file that rrts wrote; restore it"}}
	}
	d := &document{file: file, places: map[string]place{}}
	if err := toml.Unmarshal(data, &d.root); err != nil {
		f := Fault{File: file, Problem: strings.TrimPrefix(err.Error(), "toml: "), Cure: "correct the line"}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			f.Line, f.Column = de.Position()
		}
		return nil, faults{f}
	}
	if d.root == nil {
		d.root = map[string]any{}
	}
	d.locate(data)
	return d, nil
}

// locate fills places. The text has been parsed once without error.
func (d *document) locate(data []byte) {
	var p unstable.Parser
	p.Reset(data)
	arrays := map[string]int{} // array tables: how many elements so far
	table := ""
	for p.NextExpression() {
		n := p.Expression()
		switch n.Kind {
		case unstable.Table:
			table = d.header(&p, n, arrays)
		case unstable.ArrayTable:
			path := ""
			it := n.Key()
			for it.Next() {
				path = join(path, string(it.Node().Data))
				if !it.IsLast() {
					path = latest(path, arrays)
				}
			}
			arrays[path]++
			table = latest(path, arrays)
			it = n.Key()
			it.Next()
			d.mark(table, &p, it.Node())
		case unstable.KeyValue:
			d.keyValue(&p, n, table)
		}
	}
}

// header marks a [table] and the tables above it, and returns its path.
func (d *document) header(p *unstable.Parser, n *unstable.Node, arrays map[string]int) string {
	path := ""
	it := n.Key()
	for it.Next() {
		path = latest(join(path, string(it.Node().Data)), arrays)
		d.mark(path, p, it.Node())
	}
	return path
}

func (d *document) keyValue(p *unstable.Parser, n *unstable.Node, table string) {
	path := table
	it := n.Key()
	for it.Next() {
		path = join(path, string(it.Node().Data))
		d.mark(path, p, it.Node())
	}
	d.value(p, n.Value(), path)
}

// value marks what stands inside a list or an inline table.
func (d *document) value(p *unstable.Parser, v *unstable.Node, path string) {
	it := v.Children()
	switch v.Kind {
	case unstable.Array:
		for i := 0; it.Next(); i++ {
			element := fmt.Sprintf("%s[%d]", path, i)
			if it.Node().Raw.Length > 0 {
				d.mark(element, p, it.Node())
			}
			d.value(p, it.Node(), element)
		}
	case unstable.InlineTable:
		for it.Next() {
			d.keyValue(p, it.Node(), path)
		}
	}
}

func (d *document) mark(path string, p *unstable.Parser, n *unstable.Node) {
	if _, ok := d.places[path]; !ok {
		s := p.Shape(n.Raw).Start
		d.places[path] = place{line: s.Line, column: s.Column}
	}
}

// fault records what is wrong at a key. A key that does not stand in the file is
// placed at the nearest table above it.
func (d *document) fault(path, problem, cure string) {
	at, ok := d.places[path]
	for up := path; !ok && up != ""; {
		up = up[:max(strings.LastIndexAny(up, ".["), 0)]
		at, ok = d.places[up]
	}
	if !ok {
		at = place{1, 1}
	}
	d.faults.add(Fault{File: d.file, Line: at.line, Column: at.column, Key: path, Problem: problem, Cure: cure})
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// latest turns the path of an array of tables into that of its last element.
func latest(path string, arrays map[string]int) string {
	if n := arrays[path]; n > 0 {
		return fmt.Sprintf("%s[%d]", path, n-1)
	}
	return path
}

// hasFault reports whether a key has been faulted already.
func (d *document) hasFault(path string) bool {
	return slices.ContainsFunc(d.faults, func(f Fault) bool { return f.Key == path })
}

// anyFault reports whether any key with the prefix has been faulted already.
func (d *document) anyFault(prefix string) bool {
	return slices.ContainsFunc(d.faults, func(f Fault) bool { return strings.HasPrefix(f.Key, prefix) })
}
