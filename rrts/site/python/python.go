// Package python holds rrts_site.py, with which a Component of a site is written in
// Python. rrtsgen new copies it beside the program.
package python

import _ "embed"

// Name is the file's name, by which generated code imports it.
const Name = "rrts_site.py"

// Runtime is its text.
//
//go:embed rrts_site.py
var Runtime []byte
