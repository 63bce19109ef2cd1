package main

import (
	"strings"

	"virtualservicesinc.com/packaging/man/describe"
)

// overview is the page of a program with its commands: what its package comment
// says, and a line for each command, or all of them at length when deep.
func overview(stamp stamp, about aboutProgram, tree []describe.Entry, deep bool) *page {
	root := tree[0]
	p := newPage(root.Path, 1, stamp, root.Short)
	p.heading("synopsis")
	p.line(bold(root.Path) + " " + italic("COMMAND") + " [" + italic("OPTION") + "]... [" + italic("ARGUMENT") + "]...")
	p.heading("description")
	p.prose(about.description)
	p.heading("commands")
	for _, e := range tree[1:] {
		switch {
		case deep:
			p.command(e, true)
		case topLevel(e):
			p.item(bold(e.Path), e.Short+"; see "+pageName(e.Path)+"(1)")
		}
	}
	p.options(root.Global, "options of every command")
	p.exitStatus(about.exitStatus)
	return p
}

// commandPage is the page of a top command: itself and the commands below it.
func commandPage(stamp stamp, program describe.Entry, tree []describe.Entry) *page {
	root := tree[0]
	p := newPage(pageName(root.Path), 1, stamp, root.Short)
	p.heading("synopsis")
	var uses []string
	for _, e := range tree {
		if e.Use != "" {
			uses = append(uses, synopsis(e))
		}
	}
	p.line(strings.Join(uses, "\n.br\n"))
	p.heading("description")
	p.command(root, false)
	if len(tree) > 1 {
		p.heading("commands")
		for _, e := range tree[1:] {
			p.command(e, true)
		}
	}
	p.options(program.Global, "options of every command")
	return p
}

// command writes what a command does, its flags and its example.
func (p *page) command(e describe.Entry, titled bool) {
	if titled {
		title := e.Path
		if e.Use != "" {
			title = strings.TrimSuffix(e.Use, " [flags]")
		}
		p.subheading(title)
	}
	switch {
	case e.Long != "":
		p.prose(e.Long)
	case e.Use != "" || titled:
		p.line(text(sentence(e.Short)))
	default:
		p.line(text(sentence(e.Short) + " One of the commands below says what is to be done."))
	}
	for _, f := range e.Flags {
		p.flag(f)
	}
	if strings.Contains(e.Path, " ") { // the program's own are of every command
		for _, f := range e.Global {
			p.flag(f)
		}
	}
	if e.Example != "" {
		p.line(".PP\nFor example:")
		p.literal(outdent(e.Example))
	}
}

// options writes a heading and flags.
func (p *page) options(flags []describe.Flag, title string) {
	p.heading(title)
	for _, f := range flags {
		p.flag(f)
	}
	p.item(bold("-h")+", "+bold("--help"), "A short help instead.")
}

func (p *page) flag(f describe.Flag) {
	tag := bold("--" + f.Name)
	if f.Shorthand != "" {
		tag = bold("-"+f.Shorthand) + ", " + tag
	}
	if f.Value != "" {
		tag += " " + italic(f.Value)
	}
	usage := sentence(f.Usage)
	if f.Default != "" {
		usage += " Default: " + f.Default + "."
	}
	p.item(tag, usage)
}

// synopsis sets a use line in the customary faces: what is typed as it is in bold.
func synopsis(e describe.Entry) string {
	rest := escaper.Replace(strings.TrimPrefix(e.Use, e.Path))
	return bold(e.Path) + strings.Replace(rest, "[flags]", "["+italic("OPTION")+"]...", 1)
}

func (p *page) exitStatus(s string) {
	if s != "" {
		p.heading("exit status")
		p.line(text(s))
	}
}

// sentence makes one of a short description.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return ""
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// outdent removes the blanks that all lines begin with.
func outdent(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	least := -1
	for _, l := range lines {
		if n := len(l) - len(strings.TrimLeft(l, " ")); strings.TrimSpace(l) != "" && (least < 0 || n < least) {
			least = n
		}
	}
	for i, l := range lines {
		lines[i] = l[min(max(least, 0), len(l)):]
	}
	return strings.Join(lines, "\n")
}

// pageName is the name of a command's page, as in rrts-user(1).
func pageName(path string) string { return strings.ReplaceAll(path, " ", "-") }

// topLevel reports whether a command stands right below the program.
func topLevel(e describe.Entry) bool { return strings.Count(e.Path, " ") == 1 }

// under returns a command and the commands below it.
func under(tree []describe.Entry, path string) []describe.Entry {
	var all []describe.Entry
	for _, e := range tree {
		if e.Path == path || strings.HasPrefix(e.Path, path+" ") {
			all = append(all, e)
		}
	}
	return all
}
