// Package scaffold makes the first files of a Component of a site: a message, the program
// that answers it, what builds it, and the file by which an SFU runs it.
//
// The files are templates in the folders go and python, which end in .tmpl; "NAME" in a
// file's name becomes the Component's.
package scaffold

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

//go:embed go python
var templates embed.FS

// Component is what the files are made for.
type Component struct {
	Name   string // lower-case letters and digits, beginning with a letter
	Number int    // of its service
	RRTS   string // where the Go sources of RRTS are
}

// Title is the name as a service has it.
func (c Component) Title() string { return strings.ToUpper(c.Name[:1]) + c.Name[1:] }

// Upper is the name as Python's table of the service has it.
func (c Component) Upper() string { return strings.ToUpper(c.Name) }

var form = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}$`)

// Validate says what is wrong with a name or a number.
func (c Component) Validate() error {
	if !form.MatchString(c.Name) {
		return fmt.Errorf("rrtsgen: the name %q: take a letter a-z, and then at most 31 letters and digits", c.Name)
	}
	if c.Number < 1000 || c.Number > 65535 {
		return fmt.Errorf("rrtsgen: the service number %d: a site's are 1000 to 65535", c.Number)
	}
	return nil
}

// File is one file to be written.
type File struct {
	Name       string // relative, with slashes
	Data       []byte
	Executable bool
}

// Files returns the files of a Component in a language, "go" or "python".
func Files(language string, c Component) ([]File, error) {
	var files []File
	err := fs.WalkDir(templates, language, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := templates.ReadFile(p)
		if err != nil {
			return err
		}
		t, err := template.New(path.Base(p)).Delims("<<", ">>").Parse(string(text))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, c); err != nil {
			return err
		}
		rel, err := filepath.Rel(language, p)
		if err != nil {
			return err
		}
		name := strings.ReplaceAll(strings.TrimSuffix(filepath.ToSlash(rel), ".tmpl"), "NAME", c.Name)
		files = append(files, File{Name: name, Data: b.Bytes(), Executable: bytes.HasPrefix(b.Bytes(), []byte("#!"))})
		return nil
	})
	return files, err
}
