package main

import (
	"strings"

	"virtualservicesinc.com/rrts/config"
)

// filePage is the page of a configuration file. example is the file that the
// package ships.
func filePage(stamp stamp, r config.Reference, example string) *page {
	where := config.DefaultDir + "/" + r.File
	switch r.File {
	case "sfu.toml":
		where = config.DefaultDir + "/sfu/NAME.toml"
	case "datasource.toml":
		where = config.DefaultDir + "/datasource/NAME.toml"
	case "payment.toml":
		where = config.DefaultDir + "/payment/NAME.toml"
	case "component.toml":
		where = config.DefaultDir + "/components.d/NAME.toml"
	}
	p := newPage(r.File, 5, stamp, "configuration of RRTS: "+subject[r.File])
	p.heading("synopsis")
	p.line(text(where))
	p.heading("description")
	p.line(text(strings.ReplaceAll(r.Comment, "A value that is commented out is the default.", "")))
	p.line(".PP\nThe file is TOML and read strictly: an unknown key, a wrong type, a missing key and a")
	p.line("bad value are faults, each reported with its place and its cure. What an absent key")
	p.line("means stands with it below.")
	for _, s := range r.Sections {
		switch {
		case s.Repeated:
			p.heading("tables [[" + s.Name + "]]")
		case s.Name != "":
			p.heading("table [" + s.Name + "]")
		default:
			p.heading("keys at the top")
		}
		if s.Comment != "" {
			p.line(text(s.Comment))
		}
		for _, k := range s.Settings {
			p.setting(k)
		}
	}
	p.heading("example")
	p.literal(example)
	return p
}

// subject completes the one line of each file's page.
var subject = map[string]string{
	"cluster.toml":    "the cluster and its SFUs",
	"machine.toml":    "this machine and its two interconnect NICs",
	"sfu.toml":        "one SFU of this machine",
	"component.toml":  "a program of your own that SFUs run",
	"datasource.toml": "a data source of SFUs",
	"payment.toml":    "a payment provider of SFUs",
}

func (p *page) setting(k config.Setting) {
	p.line(".TP\n" + bold(k.Name))
	if k.Comment != "" {
		p.line(text(k.Comment) + "\n.br")
	}
	form := sentence(k.Form)
	switch {
	case k.Required:
		form += " Required."
	case k.Default != "":
		form += " Default: " + k.Default
	}
	p.line(text(form))
}
