package config

import (
	"strings"
	"testing"
)

// TestReferences compares the references with the example files, which come of the
// same keys by another way: every key stands in both, in the same order.
func TestReferences(t *testing.T) {
	examples := map[string]string{"cluster.toml": "", "machine.toml": "", "sfu.toml": ""}
	c, m, s := parseGood(t)
	c.SFUs = c.SFUs[:1]
	examples["cluster.toml"] = string(c.Marshal())
	examples["machine.toml"] = string(m.Marshal())
	examples["sfu.toml"] = string(s.Marshal(&c.SFUs[0]))
	examples["component.toml"] = string(orders.Marshal())
	short := *shop
	short.Statements = short.Statements[:1]
	examples["datasource.toml"] = string(short.Marshal())
	examples["payment.toml"] = string(stripe.Marshal())
	refs := References()
	if len(refs) != len(examples) {
		t.Errorf("%d references, %d files", len(refs), len(examples))
	}
	for _, r := range refs {
		var got, want []string
		for _, sec := range r.Sections {
			switch {
			case sec.Repeated:
				got = append(got, "[["+sec.Name+"]]")
			case sec.Name != "":
				got = append(got, "["+sec.Name+"]")
			}
			for _, k := range sec.Settings {
				got = append(got, k.Name)
				if k.Form == "" || k.Required && k.Default != "" {
					t.Errorf("%s: %s: %+v", r.File, k.Name, k)
				}
			}
		}
		for line := range strings.Lines(examples[r.File]) {
			line = strings.TrimSpace(strings.TrimPrefix(line, "# "))
			name, _, isKey := strings.Cut(line, " = ")
			if isKey && !strings.Contains(name, " ") || strings.HasPrefix(line, "[") {
				want = append(want, name)
			}
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("%s: described:\n%s\n\nwritten:\n%s", r.File, g, w)
		}
	}
}

// TestReferenceDefaults sees that defaults which depend on other keys come out as
// those of an SFU that says nothing.
func TestReferenceDefaults(t *testing.T) {
	want := map[string]string{
		"number": "", "type": `"all"`, "voter": "true", "carrier": `"ethernet"`, "udp_a": "", "dead_after": `"1s"`,
		"ethertype_a": "0x88B5", "state_dir": `"/var/lib/rrts/NAME"`, "listen": "", "cache": `"64MiB"`,
	}
	for _, r := range References() {
		for _, sec := range r.Sections {
			for _, k := range sec.Settings {
				if w, ok := want[k.Name]; ok && k.Default != w {
					t.Errorf("%s: default of %s is %s, want %s", r.File, k.Name, k.Default, w)
				}
				delete(want, k.Name)
			}
		}
	}
	for name := range want {
		t.Errorf("%s is not described", name)
	}
}
