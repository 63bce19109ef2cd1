package gengo

import (
	"fmt"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

// Names in package message, by number.
var (
	policies = [...]string{"PolicyAny", "PolicyLeader", "PolicyKey", "PolicyAll", "PolicyNamed"}
	lanes    = [...]string{"LaneControl", "LaneCommit", "LaneRequest", "LaneBulk"}
)

func (g *generator) service(s *schema.Service) {
	g.p("")
	g.p("// The numbers by which engines route to %s.", s.Go)
	g.p("const (")
	g.p("%sService uint16 = %d", s.Go, s.Number)
	for _, m := range s.Methods {
		g.p("%s%sMethod uint16 = %d", s.Go, m.Go, m.Number)
	}
	g.p(")")
	g.p("")
	g.p("// %sDescriptor is what routing knows of %s.", s.Go, s.Go)
	g.p("var %sDescriptor = %s{", s.Go, g.rt("ServiceDescriptor"))
	g.p("Number: %sService,", s.Go)
	g.p("Name: %q,", s.Go)
	g.p("Policy: %s,", g.rt(policies[s.Policy]))
	g.p("Methods: []%s{", g.rt("MethodDescriptor"))
	for _, m := range s.Methods {
		g.methodDescriptor(s, m)
	}
	g.p("},")
	g.p("}")
	g.handler(s)
	g.serve(s)
	g.client(s)
}

func (g *generator) methodDescriptor(s *schema.Service, m *schema.Method) {
	g.p("{")
	g.p("Number: %s%sMethod,", s.Go, m.Go)
	g.p("Name: %q,", m.Go)
	g.p("Lane: %s,", g.rt(lanes[m.Lane]))
	for _, flag := range []struct {
		name string
		set  bool
	}{{"Idempotent", m.Idempotent}, {"Notice", m.Notice}, {"Sensitive", m.Sensitive}} {
		if flag.set {
			g.p("%s: true,", flag.name)
		}
	}
	g.p("MaxBytes: %d,", m.MaxBytes)
	g.p("Request: %q,", m.In.Name)
	if !m.Notice {
		g.p("Reply: %q,", m.Out.Name)
	}
	g.p("},")
}

func (g *generator) in(m *schema.Method) string  { return g.typeName(m.In.File, m.In.Go) }
func (g *generator) out(m *schema.Method) string { return g.typeName(m.Out.File, m.Out.Go) }

func (g *generator) handler(s *schema.Service) {
	g.p("")
	g.doc(s.Doc, "")
	if s.Doc != "" {
		g.p("//")
	}
	g.p("// %sHandler is what a Component implements to answer it. A request belongs to its", s.Go)
	g.p("// handler until it is answered; in aliases the request's bytes.")
	g.p("type %sHandler interface {", s.Go)
	for _, m := range s.Methods {
		g.doc(m.Doc, "")
		if m.Notice {
			g.p("%s(r %s, in *%s)", m.Go, g.rt("Request"), g.in(m))
		} else {
			g.p("%s(r %s[*%s], in *%s)", m.Go, g.rt("Responder"), g.out(m), g.in(m))
		}
	}
	g.p("}")
}

func (g *generator) serve(s *schema.Service) {
	g.p("")
	g.p("// Serve%s gives r to the method of h that it is for. A malformed request is", s.Go)
	g.p("// answered Invalid, an unknown method NoMethod.")
	g.p("func Serve%s(h %sHandler, r %s) {", s.Go, s.Go, g.rt("Request"))
	g.p("switch r.Envelope().Method {")
	for i, m := range s.Methods {
		g.p("case %s%sMethod:", s.Go, m.Go)
		g.p("in := new(%s)", g.in(m))
		g.p("if %s(r, &%sDescriptor.Methods[%d], in) {", g.rt("Accept"), s.Go, i)
		if m.Notice {
			g.p("h.%s(r, in)", m.Go)
		} else {
			g.p("h.%s(%s[*%s]{Request: r}, in)", m.Go, g.rt("Responder"), g.out(m))
		}
		g.p("}")
	}
	g.p("default:")
	g.p("%s(r, &%sDescriptor)", g.rt("Refuse"), s.Go)
	g.p("}")
	g.p("}")
}

func (g *generator) client(s *schema.Service) {
	g.p("")
	g.p("// %sClient calls %s. Errors are *message.Error, or the context's.", s.Go, s.Go)
	g.p("type %sClient struct{ %s }", s.Go, g.rt("Caller"))
	for i, m := range s.Methods {
		g.p("")
		g.doc(m.Doc, fmt.Sprintf("%s calls %s.%s.", m.Go, s.Go, m.Go))
		ctx := g.pkg("context", "context")
		method := fmt.Sprintf("&%sDescriptor.Methods[%d]", s.Go, i)
		if m.Notice {
			g.p("func (c %sClient) %s(ctx %s.Context, in *%s) error {", s.Go, m.Go, ctx, g.in(m))
			g.p("_, err := c.Call(ctx, %s, %sService, %s(in))", method, s.Go, g.rt("Marshal"))
			g.p("return err")
			g.p("}")
			continue
		}
		g.p("func (c %sClient) %s(ctx %s.Context, in *%s) (*%s, error) {", s.Go, m.Go, ctx, g.in(m), g.out(m))
		g.p("body, err := c.Call(ctx, %s, %sService, %s(in))", method, s.Go, g.rt("Marshal"))
		g.p("if err != nil { return nil, err }")
		g.p("out := new(%s)", g.out(m))
		g.p("if err := %s(%s, body, out); err != nil { return nil, err }", g.rt("Finish"), method)
		g.p("return out, nil")
		g.p("}")
	}
}
