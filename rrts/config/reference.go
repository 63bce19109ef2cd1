package config

import "strings"

// Reference describes one configuration file, for its manual page.
type Reference struct {
	File     string // such as "cluster.toml"
	Comment  string // what it is
	Sections []Section
}

// Section is a table of a file. The first one of a file has no name: its keys stand
// at the top.
type Section struct {
	Name     string
	Repeated bool // [[name]] instead of [name]
	Comment  string
	Settings []Setting
}

// Setting is one key of a table.
type Setting struct {
	Name     string
	Form     string // what may be written
	Required bool
	Default  string // as a TOML value; empty when the key may be absent and has none
	Comment  string // empty when the key above says it for both
}

// References describes every file that an operator may edit.
func References() []Reference {
	c := &Cluster{SFUs: make([]Member, 1)}
	return []Reference{
		reference("cluster.toml", clusterComment, c.keys),
		reference("machine.toml", machineComment, (&Machine{}).keys),
		reference("sfu.toml", sfuComment, (&SFU{}).keys("NAME", nil)),
		reference("component.toml", componentComment, (&Component{}).keys),
		reference("datasource.toml", dataSourceComment, (&DataSource{}).keys),
		reference("payment.toml", paymentComment, (&PaymentProvider{}).keys),
	}
}

func reference(file, comment string, each func(*keys)) Reference {
	r := Reference{File: file, Comment: strings.ReplaceAll(comment, "\n", " "), Sections: []Section{{}}}
	each(&keys{ref: &r})
	return r
}
