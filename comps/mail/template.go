package mail

import (
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	texttemplate "text/template"
	"unicode/utf8"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Bounds of what a mail may come to.
const (
	maxSubject      = 500     // bytes: longer ones are cut off by readers, and 998 is SMTP's line
	maxBody         = 1 << 20 // bytes of each part
	maxTemplateFile = 1 << 18 // bytes
)

// template is one kind of mail.
type template struct {
	name    string
	subject *texttemplate.Template
	text    *texttemplate.Template // nil without
	html    *htmltemplate.Template // nil without
}

// content is a mail without its header.
type content struct{ subject, text, html string }

var templateName = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)

// loadTemplates reads all templates of a directory. The error has a line for each that
// cannot be used.
func loadTemplates(dir string) (map[string]*template, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("mail: the directory of templates: %w", err)
	}
	all := map[string]*template{}
	var faults []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".subject")
		if !ok || e.IsDir() {
			continue
		}
		if !templateName.MatchString(name) {
			faults = append(faults, fmt.Errorf("mail: template %q: a name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-'", name))
			continue
		}
		t, err := loadTemplate(dir, name)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		all[name] = t
	}
	if len(all) == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("mail: there is no template in %s: write NAME.subject and NAME.txt", dir))
	}
	return all, errors.Join(faults...)
}

func loadTemplate(dir, name string) (*template, error) {
	t := &template{name: name}
	read := func(ext string) (string, bool, error) {
		f, err := os.Open(filepath.Join(dir, name+ext))
		if errors.Is(err, os.ErrNotExist) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxTemplateFile+1))
		switch {
		case err != nil:
		case len(b) > maxTemplateFile:
			err = fmt.Errorf("longer than %d bytes", maxTemplateFile)
		case !utf8.Valid(b):
			err = errors.New("not UTF-8")
		}
		return string(b), true, err
	}
	fault := func(ext string, err error) error {
		return fmt.Errorf("mail: template %s: %w", filepath.Join(dir, name+ext), err)
	}
	subject, _, err := read(".subject")
	if err == nil {
		t.subject, err = texttemplate.New(name + ".subject").Option("missingkey=error").Parse(strings.TrimSpace(subject))
	}
	if err != nil {
		return nil, fault(".subject", err)
	}
	text, hasText, err := read(".txt")
	if err == nil && hasText {
		t.text, err = texttemplate.New(name + ".txt").Option("missingkey=error").Parse(text)
	}
	if err != nil {
		return nil, fault(".txt", err)
	}
	html, hasHTML, err := read(".html")
	if err == nil && hasHTML {
		t.html, err = htmltemplate.New(name + ".html").Option("missingkey=error").Parse(html)
	}
	if err != nil {
		return nil, fault(".html", err)
	}
	if !hasText && !hasHTML {
		return nil, fmt.Errorf("mail: template %s has neither %s.txt nor %s.html in %s", name, name, name, dir)
	}
	return t, nil
}

// render makes the mail of an effect's arguments. The error names the field.
func (t *template) render(args effects.Args) (c content, err error) {
	values := make(map[string]string, len(args))
	for i := range args {
		a := &args[i]
		switch a.Kind {
		case txnpb.ArgumentKindBytes:
			return c, fmt.Errorf("argument %q: bytes cannot stand in a mail", a.Name)
		case txnpb.ArgumentKindText, txnpb.ArgumentKindNull:
			if i := strings.IndexFunc(string(a.Value), unprintable); i >= 0 {
				return c, fmt.Errorf("argument %q: a control character at byte %d", a.Name, i)
			}
		}
		values[a.Name] = string(a.Value)
	}
	if c.subject, err = run(t.subject, values, maxSubject); err != nil {
		return c, fmt.Errorf("template %s: subject: %w", t.name, err)
	}
	if strings.ContainsFunc(c.subject, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		for name, v := range values { // any of them will do
			if strings.ContainsAny(v, "\r\n\t") && strings.Contains(c.subject, v) {
				return c, fmt.Errorf("argument %q: a line break would break the header Subject of template %s", name, t.name)
			}
		}
		return c, fmt.Errorf("template %s: a line break in the header Subject", t.name)
	}
	if t.text != nil {
		if c.text, err = run(t.text, values, maxBody); err != nil {
			return c, fmt.Errorf("template %s: text: %w", t.name, err)
		}
	}
	if t.html != nil {
		if c.html, err = run(t.html, values, maxBody); err != nil {
			return c, fmt.Errorf("template %s: html: %w", t.name, err)
		}
	}
	return c, nil
}

// unprintable is what must not stand in any text: all control characters but those that
// begin lines and columns.
func unprintable(r rune) bool {
	return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f || r == utf8.RuneError
}

// run executes a template of either kind.
func run(t interface{ Execute(io.Writer, any) error }, values map[string]string, most int) (string, error) {
	w := &bounded{most: most}
	if err := t.Execute(w, values); err != nil {
		return "", err
	}
	return w.String(), nil
}

// bounded takes text up to a bound.
type bounded struct {
	strings.Builder
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.most {
		return 0, fmt.Errorf("more than %d bytes", b.most)
	}
	return b.Builder.Write(p)
}
