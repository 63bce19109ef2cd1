package main

import (
	"fmt"
	"go/doc/comment"
	"strings"
)

// page is a manual page in the language of man(7).
type page struct{ strings.Builder }

// escaper keeps roff from reading text as its own: a backslash begins its escapes,
// and a bare "-" may come out as a hyphen that no shell takes for a minus.
var escaper = strings.NewReplacer(`\`, `\e`, `-`, `\-`)

// text escapes what stands at the beginning of a line, where "." and "'" begin
// requests.
func text(s string) string {
	s = escaper.Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func bold(s string) string   { return `\fB` + escaper.Replace(s) + `\fR` }
func italic(s string) string { return `\fI` + escaper.Replace(s) + `\fR` }

// newPage begins a page with its title and its one line.
func newPage(name string, section int, stamp stamp, short string) *page {
	p := &page{}
	fmt.Fprintf(p, ".TH %s %d \"%s\" \"rrts %s\" RRTS\n", escaper.Replace(strings.ToUpper(name)), section, stamp.date, stamp.version)
	p.heading("NAME")
	p.line(text(name) + ` \- ` + escaper.Replace(strings.TrimSuffix(short, ".")))
	return p
}

func (p *page) heading(s string)    { fmt.Fprintf(p, ".SH %s\n", text(strings.ToUpper(s))) }
func (p *page) subheading(s string) { fmt.Fprintf(p, ".SS %s\n", text(s)) }

// line writes one line of text that is escaped already.
func (p *page) line(s string) { p.WriteString(s + "\n") }

// item writes a tag, escaped already, and its explanation.
func (p *page) item(tag, explanation string) {
	p.line(".TP\n" + tag)
	p.line(text(explanation))
}

// literal writes lines that stand as they are.
func (p *page) literal(s string) {
	p.line(".PP\n.RS 4\n.EX")
	for line := range strings.Lines(strings.Trim(s, "\n")) {
		p.line(text(strings.TrimRight(line, "\n")))
	}
	p.line(".EE\n.RE")
}

// prose writes text in the form of Go's doc comments: paragraphs, indented lines
// that stand as they are, lists.
func (p *page) prose(s string) {
	var parser comment.Parser
	p.blocks(parser.Parse(s).Content)
}

func (p *page) blocks(blocks []comment.Block) {
	for _, b := range blocks {
		switch b := b.(type) {
		case *comment.Paragraph:
			p.line(".PP")
			p.line(flat(b.Text))
		case *comment.Code:
			p.literal(b.Text)
		case *comment.Heading:
			p.subheading(flat(b.Text))
		case *comment.List:
			for _, it := range b.Items {
				mark := it.Number + "."
				if it.Number == "" {
					mark = `\(bu`
				}
				p.line(".IP " + mark + " 4")
				for _, c := range it.Content {
					p.line(flat(c.(*comment.Paragraph).Text)) // a list holds nothing else
				}
			}
		}
	}
}

// flat returns the text of a paragraph, escaped.
func flat(parts []comment.Text) string {
	var b strings.Builder
	for _, part := range parts {
		switch t := part.(type) {
		case comment.Plain:
			b.WriteString(string(t))
		case comment.Italic:
			b.WriteString(string(t))
		case *comment.Link:
			b.WriteString(unescaped(t.Text))
		case *comment.DocLink:
			b.WriteString(unescaped(t.Text))
		}
	}
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = text(line)
	}
	return strings.Join(lines, "\n")
}

func unescaped(parts []comment.Text) string {
	var b strings.Builder
	for _, part := range parts {
		switch t := part.(type) {
		case comment.Plain:
			b.WriteString(string(t))
		case comment.Italic:
			b.WriteString(string(t))
		}
	}
	return b.String()
}
