// Command man writes RRTS's manual pages and shell completions.
//
//	man [--version V] [--date YYYY-MM-DD] --bin DIR --out DIR
//
// It runs in the root of the module. Nothing is written by hand: a program's page
// is made of its package comment, those of commands of what the programs rrts and
// rrtsgen in the --bin directory say of themselves, those of the configuration files
// of the key descriptions in rrts/config. Below --out it makes
//
//	man/rrts.1 man/rrts-init.1 … man/rrtsgen.1 man/rrtsd.8 man/rrts-watchdog.8 man/cluster.toml.5 …
//	completions/bash/rrts completions/zsh/_rrts completions/fish/rrts.fish, and of rrtsgen
//
// The same programs, version and date give the same bytes.
package main

import (
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"virtualservicesinc.com/packaging/man/describe"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/watchdog"
)

// stamp is what stands at the foot of every page.
type stamp struct{ version, date string }

func main() {
	var s stamp
	bin := flag.String("bin", "", "directory of the programs rrts and rrtsgen, for this machine")
	out := flag.String("out", "", "directory to write into")
	flag.StringVar(&s.version, "version", "devel", "version of RRTS")
	flag.StringVar(&s.date, "date", "", "date of the pages")
	flag.Parse()
	if *bin == "" || *out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	files, err := generate(s, *bin)
	if err == nil {
		err = write(*out, files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// generate returns all files by their path.
func generate(s stamp, bin string) (map[string]string, error) {
	files := map[string]string{}
	pages := map[string]*page{}
	for _, program := range []string{"rrts", "rrtsgen"} {
		about, err := readAbout(program)
		if err != nil {
			return nil, err
		}
		tree, err := commands(filepath.Join(bin, program))
		if err != nil {
			return nil, err
		}
		deep := program == "rrtsgen" // few commands: one page
		pages[program+".1"] = overview(s, about, tree, deep)
		for _, e := range tree {
			if topLevel(e) && !deep {
				pages[pageName(e.Path)+".1"] = commandPage(s, tree[0], under(tree, e.Path))
			}
		}
		for shell, path := range map[string]string{"bash": program, "zsh": "_" + program, "fish": program + ".fish"} {
			script, err := output(filepath.Join(bin, program), "completion", shell)
			if err != nil {
				return nil, err
			}
			files[filepath.Join("completions", shell, path)] = script
		}
	}
	for daemon, files := range daemons {
		about, err := readAbout(daemon)
		if err != nil {
			return nil, err
		}
		pages[daemon+".8"] = daemonPage(s, daemon, about, files)
	}
	for _, r := range config.References() {
		example := filepath.Join("packaging/examples", r.File)
		switch r.File {
		case "sfu.toml":
			example = "packaging/examples/sfu/alpha.toml"
		case "datasource.toml":
			example = "packaging/examples/datasource/shop.toml"
		case "payment.toml":
			example = "packaging/examples/payment/stripe.toml"
		case "component.toml":
			example = "packaging/examples/components.d/orders.toml"
		}
		data, err := os.ReadFile(example)
		if err != nil {
			return nil, err
		}
		pages[r.File+".5"] = filePage(s, r, string(data))
	}
	for name, p := range pages {
		p.seeAlso(name, pages)
		files[filepath.Join("man", name)] = p.String()
	}
	return files, nil
}

// seeAlso names the other pages: all of them on the pages of programs and files, the
// program's on those of its commands.
func (p *page) seeAlso(own string, pages map[string]*page) {
	p.heading("see also")
	var refs []string
	for name := range pages {
		if name == own || strings.HasPrefix(own, "rrts-") && strings.HasPrefix(name, "rrts-") {
			continue
		}
		i := strings.LastIndexByte(name, '.')
		refs = append(refs, bold(name[:i])+"("+name[i+1:]+")")
	}
	slices.Sort(refs)
	p.line(strings.Join(refs, ",\n"))
}

// commands asks a program for its commands.
func commands(program string) ([]describe.Entry, error) {
	out, err := output(program, "describe")
	if err != nil {
		return nil, err
	}
	tree, err := describe.Read(strings.NewReader(out))
	if err == nil && len(tree) == 0 {
		err = fmt.Errorf("%s describe: said nothing", program)
	}
	return tree, err
}

func output(program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return string(out), nil
}

// aboutProgram is what a program's package comment says.
type aboutProgram struct {
	short       string // what the program does
	synopsis    string // its use, as written
	description string
	exitStatus  string
}

// readAbout reads the package comment of a program below rrts/cmd: "Command NAME
// does this. …", its use in indented lines, paragraphs, of which one may begin with
// "Exit status:".
func readAbout(program string) (aboutProgram, error) {
	file := filepath.Join("rrts/cmd", program, "main.go")
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
	if err != nil {
		return aboutProgram{}, fmt.Errorf("%w; run in the root of the module", err)
	}
	paragraphs := strings.Split(strings.TrimSpace(f.Doc.Text()), "\n\n")
	first, found := strings.CutPrefix(paragraphs[0], "Command "+program+" ")
	if !found || len(paragraphs) < 2 || !strings.HasPrefix(paragraphs[1], "\t") {
		return aboutProgram{}, fmt.Errorf("%s: the package comment should begin with \"Command %s …\" and lines of its use", file, program)
	}
	a := aboutProgram{short: strings.ReplaceAll(first, "\n", " "), synopsis: paragraphs[1]}
	var rest []string
	for _, s := range paragraphs[2:] {
		if status, found := strings.CutPrefix(s, "Exit status: "); found {
			a.exitStatus = strings.ReplaceAll(status, "\n", " ")
			continue
		}
		rest = append(rest, s)
	}
	a.description = program + " " + first + "\n\n" + strings.Join(rest, "\n\n")
	return a, nil
}

// item is a file and what it is for.
type item struct{ path, text string }

// daemons are the programs that systemd runs, and their files.
var daemons = map[string][]item{
	"rrtsd": {
		{config.DefaultDir, "The configuration: cluster.toml, machine.toml, sfu/NAME.toml, and the keys of the machine's SFUs."},
		{"/var/lib/rrts/NAME", "The state of the SFU: journal and store, sealed. It stays when the package is purged."},
		{"/run/rrts", "Sockets."},
	},
	"rrts-watchdog": {
		{watchdog.StateDir, "The operator's order, and the resets of the last hour."},
		{watchdog.RunDir, "What it does now."},
	},
}

// daemonPage is the page of a program that systemd runs.
func daemonPage(s stamp, name string, about aboutProgram, files []item) *page {
	p := newPage(name, 8, s, about.short)
	p.heading("synopsis")
	p.literal(outdent(strings.ReplaceAll(about.synopsis, "\t", " ")))
	p.heading("description")
	p.prose(about.description)
	p.exitStatus(about.exitStatus)
	p.heading("files")
	for _, f := range files {
		p.item(italic(f.path), f.text)
	}
	return p
}

func write(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
