// Package gendoc writes the reference of a schema in Markdown: every service,
// message and enum with the words of its .proto file.
package gendoc

import (
	"bytes"
	"fmt"
	"strings"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

// Schema returns the reference of s.
func Schema(s *schema.Schema) []byte {
	w := new(writer)
	w.p("# Message reference")
	w.p("")
	w.p("Made by `rrtsgen doc` from the .proto files. Bytes on the wire are standard protobuf; `uint128` is a")
	w.p("`bytes` field that holds a big-endian number without leading zero bytes. A sensitive field never")
	w.p("reaches a log.")
	for _, f := range s.Files {
		w.file(f)
	}
	return w.b.Bytes()
}

type writer struct{ b bytes.Buffer }

func (w *writer) p(format string, a ...any) { fmt.Fprintf(&w.b, format+"\n", a...) }

// text writes a comment as a paragraph of its own.
func (w *writer) text(doc string) {
	if doc != "" {
		w.p("")
		w.p("%s", doc)
	}
}

func (w *writer) file(f *schema.File) {
	w.p("")
	w.p("## %s", f.Proto)
	w.p("")
	w.p("`%s`, Go package `%s`", f.Path, f.GoImport)
	w.text(f.Doc)
	for _, s := range f.Services {
		w.service(s)
	}
	for _, m := range f.Messages {
		w.message(m)
	}
	for _, e := range f.Enums {
		w.enum(e)
	}
}

func (w *writer) service(s *schema.Service) {
	w.p("")
	w.p("### Service %s", s.Name)
	w.p("")
	w.p("Number %d, policy %s.", s.Number, s.Policy)
	w.text(s.Doc)
	w.p("")
	w.p("| number | method | request | reply | lane | | request at most |")
	w.p("| --- | --- | --- | --- | --- | --- | --- |")
	for _, m := range s.Methods {
		reply, idempotent := "none: a notice", ""
		if m.Out != nil {
			reply = link(m.Out.Name)
		}
		if m.Idempotent {
			idempotent = "idempotent"
		}
		w.p("| %d | `%s` | %s | %s | %s | %s | %d bytes |", m.Number, m.Name, link(m.In.Name), reply, m.Lane, idempotent, m.MaxBytes)
	}
	for _, m := range s.Methods {
		if m.Doc != "" {
			w.text("`" + m.Name + "`: " + m.Doc)
		}
	}
}

func (w *writer) message(m *schema.Message) {
	w.p("")
	w.p("### %s", m.Name)
	w.text(m.Doc)
	w.p("")
	if len(m.Fields) == 0 {
		w.p("No fields.")
		return
	}
	w.p("| number | field | type | |")
	w.p("| --- | --- | --- | --- |")
	for _, f := range m.Fields {
		var notes []string
		if f.Doc != "" {
			notes = append(notes, cell(f.Doc))
		}
		if f.MaxItems > 0 {
			notes = append(notes, fmt.Sprintf("At most %d.", f.MaxItems))
		}
		if f.Sensitive {
			notes = append(notes, "Sensitive.")
		}
		w.p("| %d | `%s` | %s | %s |", f.Number, f.Name, typeOf(f), strings.Join(notes, " "))
	}
}

func (w *writer) enum(e *schema.Enum) {
	w.p("")
	w.p("### Enum %s", e.Name)
	w.text(e.Doc)
	w.p("")
	w.p("| number | value | |")
	w.p("| --- | --- | --- |")
	for _, v := range e.Values {
		w.p("| %d | `%s` | %s |", v.Number, v.Text, cell(v.Doc))
	}
}

func typeOf(f *schema.Field) string {
	switch f.Kind {
	case schema.KindMessage:
		return strings.Replace(f.Type(), f.Message.Name, link(f.Message.Name), 1)
	case schema.KindEnum:
		return strings.Replace(f.Type(), f.Enum.Name, linkTo(f.Enum.Name, "enum-"), 1)
	}
	return f.Type()
}

func link(name string) string { return linkTo(name, "") }

// linkTo returns a link to a heading: Markdown's anchors are the heading in lower
// case without dots.
func linkTo(name, prefix string) string {
	return fmt.Sprintf("[%s](#%s%s)", name, prefix, strings.ToLower(strings.ReplaceAll(name, ".", "")))
}

// cell returns a comment as one line of a table.
func cell(doc string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(doc), " "), "|", "\\|")
}
