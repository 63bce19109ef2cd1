package config

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// keys walks the keys of one table in their order, reading them from a document,
// writing them as text or describing them. A type names its keys once, for all three.
type keys struct {
	doc   *document      // reading: where faults go
	table map[string]any // reading: the table's values
	known []string       // reading: the keys asked for so far

	out   *bytes.Buffer // writing
	brief bool          // writing: leave comments and unset keys out

	ref *Reference // describing: grows

	path string // of the table
}

// rule says what it means when a key is absent.
type rule[T any] struct {
	missing string // a required key: the cure for its absence
	value   T      // otherwise: what its absence means
	example string // writing: shown, commented out, for a key without a default
}

// must is the rule of a key that has to be there.
func must[T any](cure string) rule[T] { return rule[T]{missing: cure} }

// otherwise is the rule of a key with a default.
func otherwise[T any](v T) rule[T] { return rule[T]{value: v} }

// optional is the rule of a key whose absence means the zero value.
func optional[T any](example string) rule[T] { return rule[T]{example: example} }

// key reads, writes or describes one key. p keeps the rule's value when the key is
// absent, faulty or only described: keys below it may have it for their default.
func key[T any](k *keys, name string, p *T, r rule[T], kd kind[T], comment string) {
	if k.out != nil {
		v := *p
		if isZero(v) && r.missing == "" {
			v = r.value // zero means default, but false means false
		}
		k.write(name, kd.show(v), kd.show(r.value), r.missing != "", r.example, comment)
		return
	}
	if k.ref != nil {
		*p = r.value
		e := Setting{Name: name, Form: kd.form, Required: r.missing != "", Comment: comment}
		if !isZero(r.value) {
			e.Default = kd.show(r.value)
		}
		last := &k.ref.Sections[len(k.ref.Sections)-1]
		last.Settings = append(last.Settings, e)
		return
	}
	k.known = append(k.known, name)
	*p = r.value
	raw, ok := k.table[name]
	if !ok {
		if r.missing != "" {
			k.doc.fault(join(k.path, name), "missing", r.missing)
		}
		return
	}
	v, problem := kd.read(raw)
	if problem != "" {
		k.doc.fault(join(k.path, name), problem, "write "+kd.form)
		return
	}
	*p = v
}

func isZero(v any) bool {
	_, isBool := v.(bool)
	return !isBool && reflect.ValueOf(v).IsZero()
}

// section walks a sub-table. An absent one is an empty one.
func (k *keys) section(name, comment string, each func(*keys)) {
	if k.out != nil {
		sub := &keys{out: &bytes.Buffer{}, path: name}
		each(sub)
		fmt.Fprintf(k.out, "\n%s[%s]\n", remark(comment), name)
		k.out.Write(sub.out.Bytes())
		return
	}
	if k.ref != nil {
		k.ref.Sections = append(k.ref.Sections, Section{Name: name, Comment: comment})
		each(k)
		return
	}
	k.known = append(k.known, name)
	table, ok := k.table[name].(map[string]any)
	if raw, there := k.table[name]; there && !ok {
		k.doc.fault(join(k.path, name), "is "+describe(raw), "write a table: ["+name+"] and its keys below it")
	}
	readTable(k.doc, join(k.path, name), table, each)
}

// sections walks an array of tables. n is their number when writing; when reading,
// resize is called with their number first.
func (k *keys) sections(name, comment string, n int, resize func(int), each func(int, *keys)) {
	if k.out != nil {
		for i := range n {
			sub := &keys{out: &bytes.Buffer{}, brief: i > 0}
			each(i, sub)
			c := ""
			if i == 0 {
				c = remark(comment)
			}
			fmt.Fprintf(k.out, "\n%s[[%s]]\n", c, name)
			k.out.Write(sub.out.Bytes())
		}
		return
	}
	if k.ref != nil {
		k.ref.Sections = append(k.ref.Sections, Section{Name: name, Repeated: true, Comment: comment})
		each(0, k)
		return
	}
	k.known = append(k.known, name)
	raw, there := k.table[name]
	list, ok := raw.([]any)
	if there && !ok {
		k.doc.fault(join(k.path, name), "is "+describe(raw), "write tables: [["+name+"]] and its keys below it")
	}
	resize(len(list))
	for i, v := range list {
		path := fmt.Sprintf("%s[%d]", join(k.path, name), i)
		table, ok := v.(map[string]any)
		if !ok {
			k.doc.fault(path, "is "+describe(v), "write tables: [["+name+"]] and its keys below it")
			continue
		}
		readTable(k.doc, path, table, func(sub *keys) { each(i, sub) })
	}
}

// readTable walks a table and then faults the keys that nobody asked for.
func readTable(d *document, path string, table map[string]any, each func(*keys)) {
	k := &keys{doc: d, table: table, path: path}
	each(k)
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if slices.Contains(k.known, name) {
			continue
		}
		cure := "remove it; keys here are " + strings.Join(k.known, ", ")
		if near := nearest(name, k.unset()); near != "" {
			cure = "did you mean " + near + "?"
		}
		d.fault(join(path, name), "unknown key", cure)
	}
}

// unset returns the known keys that do not stand in the table that is being read.
func (k *keys) unset() []string {
	var names []string
	for _, name := range k.known {
		if _, ok := k.table[name]; !ok {
			names = append(names, name)
		}
	}
	return names
}

// write writes one key: set when it must be or differs from the default, shown as
// a comment otherwise.
func (k *keys) write(name, value, unset string, required bool, example, comment string) {
	set := required || value != unset
	if k.brief {
		if set {
			fmt.Fprintf(k.out, "%s = %s\n", name, value)
		}
		return
	}
	if comment != "" && k.out.Len() > 0 && !bytes.HasSuffix(k.out.Bytes(), []byte("\n\n")) {
		k.out.WriteByte('\n')
	}
	k.out.WriteString(remark(comment))
	switch {
	case set:
		fmt.Fprintf(k.out, "%s = %s\n", name, value)
	case example != "":
		fmt.Fprintf(k.out, "# %s = %s\n", name, example)
	default:
		fmt.Fprintf(k.out, "# %s = %s\n", name, value)
	}
}

// remark lays a comment out in lines of at most 80 columns.
func remark(text string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		if column > 0 && column+1+len(word) > 80 {
			b.WriteByte('\n')
			column = 0
		}
		if column == 0 {
			b.WriteByte('#')
			column = 1
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	if column > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

// readFile walks the whole of a document.
func readFile(d *document, each func(*keys)) { readTable(d, "", d.root, each) }

// readNamed is readFile for a file whose name is that of what it describes.
func readNamed(d *document, name string, each func(*keys)) {
	readFile(d, each)
	if _, problem := sfuName.read(name); problem != "" {
		d.faults.add(Fault{File: d.file, Problem: "the file's name " + problem, Cure: "call it by " + sfuName.form + ", and .toml"})
	}
}

// writeFile renders a file.
func writeFile(comment string, each func(*keys)) []byte {
	k := &keys{out: &bytes.Buffer{}}
	for line := range strings.Lines(comment) {
		k.out.WriteString(remark(line))
	}
	k.out.WriteByte('\n')
	each(k)
	return k.out.Bytes()
}

// nearest returns the known word that a mistyped one was probably meant to be.
func nearest(word string, known []string) string {
	best, distance := "", 3 // two slips are a typing error, three are another word
	for _, w := range known {
		if n := slips(word, w); n < distance && n < len(w) {
			best, distance = w, n
		}
	}
	return best
}

// slips counts the letters to insert, remove, replace or swap with the next one
// to turn a into b.
func slips(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
